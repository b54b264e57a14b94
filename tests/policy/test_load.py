"""Tests for L{egress.policy.load}."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Decision, Verdict
from egress.policy.load import PolicyError, load_policy, load_starter, parse_policy
from egress.policy.paths import MAX_READINGS
from egress.policy.rules import RuleSet
from tests.policy.test_rules import request

FULL = """
version = 1
default = "allow"
private_addresses = "deny"

[[rules]]
id = "no-writes"
action = "deny"
reason = "nobody writes there"
hosts = ["example.com", "*.example.com"]
ports = [443, 8443]
schemes = ["https"]
methods = ["PUT", "POST"]
paths = ["/api/**"]

[[rules]]
action = "allow"
hosts = ["10.0.0.0/8"]
"""


def parse(text: str) -> RuleSet:
    """Read a policy that is called C{p.toml}."""
    return parse_policy(text, "p.toml", "policy p.toml")


class ParseTests(SynchronousTestCase):
    """What is understood."""

    def test_everything(self) -> None:
        policy = parse(FULL)
        self.assertEqual(policy.name, "policy p.toml")
        self.assertTrue(policy.blocks_private)
        self.assertIs(policy.default, Verdict.ALLOW)
        denial, permission = policy.rules
        self.assertEqual((denial.rule_id, denial.verdict), ("no-writes", Verdict.DENY))
        self.assertEqual(denial.reason.text(request("GET", "http://a.test/"), "x"), "nobody writes there")
        self.assertEqual(denial.ports, {443, 8443})
        self.assertEqual(denial.schemes, {"https"})
        self.assertEqual(denial.methods, {"PUT", "POST"})
        self.assertEqual((permission.rule_id, permission.verdict), ("rule-2", Verdict.ALLOW))
        self.assertEqual(permission.reason.text(request("GET", "http://a.test/"), "x"), "allowed by the rule rule-2")

    def test_decisions(self) -> None:
        policy = parse(FULL)
        for text, expected in {
            "PUT https://a.example.com/api/x": "no-writes",
            # A denial is read broadly.
            "put https://a.example.com/API": "no-writes",
            "GET https://a.example.com/api/x": "default",
            "GET http://10.0.0.1/": "rule-2",
        }.items():
            with self.subTest(text):
                self.assertEqual(policy.decide(request(*text.split())).rule_id, expected)

    def test_permissions_are_read_narrowly(self) -> None:
        policy = parse('version = 1\n[[rules]]\naction = "allow"\npaths = ["/api"]\n')
        for path, allowed in {"/api": True, "/API": False, "/api/": False}.items():
            with self.subTest(path):
                self.assertIs(policy.decide(request("GET", f"http://a.test{path}")).allowed, allowed)

    def test_little(self) -> None:
        policy = parse("version = 1")
        self.assertEqual(policy.rules, ())
        self.assertFalse(policy.blocks_private)
        self.assertIs(policy.default, Verdict.DENY)
        policy = parse('version = 1\ndefault = "deny"\nprivate_addresses = "allow"')
        self.assertFalse(policy.blocks_private)
        self.assertIs(policy.default, Verdict.DENY)

    def test_both_schemes_do_not_restrict(self) -> None:
        """Or tunnels, whose scheme nobody knows, would not be covered."""
        policy = parse('version = 1\n[[rules]]\naction = "allow"\nschemes = ["http", "https"]')
        self.assertTrue(policy.decide(request("CONNECT", "https://a.test")).allowed)


class RefusalTests(SynchronousTestCase):
    """What is not understood is refused, in one line that says where and what to do."""

    # A document, and the whole error after the name of the file.
    DOCUMENTS = {
        "": ("1: 'version' is missing; write version = 1"),
        "version = 2": ("1: 'version' is 2, which this proxy does not know; write version = 1"),
        'version = "1"': ("1: 'version' must be a whole number"),
        "version = true": ("1: 'version' must be a whole number"),
        "version = 1\nrule = []": ("2: 'rule' is not known here; did you mean 'rules'?"),
        "version = 1\nrules = []": ("2: 'rules' is empty; write [[rules]] before each of them, or leave it out"),
        "version = 1\n[rules]\nid = 'x'": ("2: 'rules' must be a list"),
        "version = 1\nrules = ['x']": ("2: rule 1: must be a table; write [[rules]] before it"),
        "version = 1\ndefault = 'no'": ("2: 'default' must be \"allow\" or \"deny\", not 'no'"),
        "version = 1\ndefault = 'ask'": ("2: 'default' must be \"allow\" or \"deny\", not 'ask'"),
        "version = 1\ndefault = 0": ("2: 'default' must be a string"),
        "version = 1\nprivate_addresses = 'Deny'": ("2: 'private_addresses' must be \"allow\" or \"deny\", not 'Deny'"),
        "version = 1\n[[rules]]\nid='x'\naction='allow'\n[[rules]]\nname='x'\naction='allow'": (
            "5: two rules have the name 'x', the other is at p.toml:2; give each its own"
        ),
        "version = 1\n[[rules]]\nid='rule-2'\naction='allow'\n[[rules]]\naction='allow'": (
            "5: two rules have the name 'rule-2', the other is at p.toml:2; give each its own"
        ),
        "version = 1\ninclude = ['x.toml']": ("2: 'include' is for files alone"),
        "version = 1\ninclude = [1]": ("2: 'include' must be a list, and each entry a string"),
        "version = 1\nttl = 'soon'": (
            '2: \'ttl\': a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"'
        ),
        "version = 1\nttl = 0": (
            '2: \'ttl\': a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"'
        ),
        "version = 1\ntimezone = 'Mars'": (
            "2: 'timezone': is no time zone that this machine knows; write one as in Europe/Berlin, or UTC"
        ),
        "version = 1\ntimezone = 1": ("2: 'timezone': write the name of a time zone, as in Europe/Berlin"),
        "version = 1\nvariables = 1": ("2: 'variables' must be a table"),
        "version = 1\n[variables]\n'a b' = 'x'": (
            "3: variable 'a b': write up to 64 of letters, digits, '.', '_' and '-'"
        ),
        "version = 1\n[variables]\na = 1": ("3: variable a: must be a string"),
        "version = 1\n[variables]\na = '${b}'": ("3: variable a: there are no variables inside variables"),
        "version = 1\ngroups = 1": ("2: 'groups' must be a table, with [groups.hosts] and [groups.clients]"),
        "version = 1\n[groups]\nhost = {}": ("3: 'host' is not known here; did you mean 'hosts'?"),
        "version = 1\n[groups]\nhosts = []": ("3: 'groups.hosts' must be a table of lists"),
        "version = 1\n[groups.hosts]\n'a b' = ['x']": (
            "3: group 'a b': write up to 64 of letters, digits, '.', '_' and '-'"
        ),
        "version = 1\n[groups.hosts]\na = 'x'": ("3: group a: must be a list that is not empty"),
        "version = 1\n[groups.hosts]\na = []": ("3: group a: must be a list that is not empty"),
        "version = 1\n[groups.hosts]\na = [1]": ("3: group a: each of its hosts must be a string"),
        "version = 1\n[groups.hosts]\na = ['ok',\n 'a..b']": ("4: group a: hosts 'a..b': 'a..b' is not a host name"),
        "version = 1\n[groups.hosts]\na = ['@b']\nb = ['@a']": ("3: group a: is a member of itself"),
        "version = 1\n[groups.hosts]\na = ['@c']": ("3: group a: the group '@c' is not known; use a"),
        "version = 1\n[groups.clients]\na = ['@c']\n": ("3: group a: the group '@c' is not known; use a"),
        "version = 1\n[groups.clients]\na = ['10.0.0.1/8']\n": (
            "3: group a: clients '10.0.0.1/8': 10.0.0.1/8 has host bits set; write an address, or a range as in 10.0.0.0/8"
        ),
        "version = 1\ntest = []": ("2: 'test' is empty; write [[test]] before each of them, or leave it out"),
        "version = 1\ntest = 1": ("2: 'test' must be a list"),
        "version = 1\ntest = ['x']": ("2: test 1: must be a table; write [[test]] before it"),
    }

    # The second rule of a document.
    RULES = {
        "": ('4: rule 2: \'action\' is missing; write "allow", "deny" or "ask"'),
        "id = 'x'": ('4: rule x: \'action\' is missing; write "allow", "deny" or "ask"'),
        "action = 'permit'": ('5: rule 2: \'action\' must be "allow", "deny" or "ask", not \'permit\''),
        "action = 'deny'": ("4: rule 2: 'reason' is missing; write why, for the person who meets the denial"),
        "action = 'deny'\nreason = ' '": (
            "6: rule 2: 'reason' must be one line of text; leave it out, or write it in a few words"
        ),
        "action = 'deny'\nreason = \"a\\nb\"": (
            "6: rule 2: 'reason' must be one line of text; leave it out, or write it in a few words"
        ),
        "action = 'allow'\nreason = 1": ("6: rule 2: 'reason' must be a string"),
        "action = 'deny'\nreason = 'no {hots}'": (
            "6: rule 2: 'reason': {hots} is not known here; did you mean {host}?"
        ),
        "action = 'deny'\nreason = 'no {query}'": (
            "6: rule 2: 'reason': {query} is not known here; did you mean {url}?"
        ),
        "action = 'deny'\nreason = 'no {'": (
            "6: rule 2: 'reason': a brace that is meant as such is written twice: {{ or }}"
        ),
        "action = 'allow'\nid = 2": ("6: rule 2: 'id' must be a string"),
        "action = 'allow'\nname = ''": (
            "6: rule 2: the name '' cannot be used; write up to 64 of letters, digits, '.', '_' and '-', and not 'default'"
        ),
        "action = 'allow'\nid = 'a b'": (
            "6: rule 2: the id 'a b' cannot be used; write up to 64 of letters, digits, '.', '_' and '-', and not 'default'"
        ),
        "action = 'allow'\nid = 'default'": (
            "6: rule default: the id 'default' cannot be used; write up to 64 of letters, digits, '.', '_' and '-', and not 'default'"
        ),
        "action = 'allow'\nname = 'x'\nid = 'x'": ("7: rule x: 'name' and 'id' are the same; leave one of them out"),
        "action = 'allow'\nname = 'x'\nmethod = ['a']": (
            "7: rule x: 'method' is not known here; did you mean 'methods'?"
        ),
        "action = 'allow'\nid = 'x'\nzzz = ['a']": (
            "7: rule x: 'zzz' is not known here; use action, addresses, clients, expires_in, headers, hosts, id, json, max_body, max_bytes, methods, min_body, name, paths, ports, query, reason, remove_headers, schemes, set_headers, times"
        ),
        "action = 'allow'\nhosts = 'a.test'": ("6: rule 2: 'hosts' must be a list"),
        "action = 'allow'\nhosts = []": (
            "6: rule 2: 'hosts' is empty and would match nothing; leave it out to match everything"
        ),
        "action = 'allow'\nhosts = [1]": ("6: rule 2: each of its hosts must be a string"),
        "action = 'allow'\nhosts = ['a..b']": ("6: rule 2: hosts 'a..b': 'a..b' is not a host name"),
        "action = 'allow'\nhosts = [\n  'a.test',\n  '*a.test']": (
            "8: rule 2: hosts '*a.test': * stands for everything, or before a dot for what is below a host, as in *.example.com"
        ),
        "action = 'allow'\nhosts = ['re:(']": (
            "6: rule 2: hosts 're:(': is no regular expression of RE2: missing ): ("
        ),
        "action = 'allow'\nhosts = ['@x']": ("6: rule 2: the group '@x' is not known; there is no [groups.hosts]"),
        "action = 'allow'\nports = ['443']": ("6: rule 2: ports '443': write a number, or a range as in \"8000-8999\""),
        "action = 'allow'\nports = [true]": ('6: rule 2: ports True: write a number, or a range as in "8000-8999"'),
        "action = 'allow'\nports = [0]": ("6: rule 2: ports 0: a port is 1 to 65535"),
        "action = 'allow'\nports = [65536]": ("6: rule 2: ports 65536: a port is 1 to 65535"),
        "action = 'allow'\nports = ['9-8']": ("6: rule 2: ports '9-8': the range is empty; write the lower port first"),
        "action = 'allow'\nports = ['1-70000']": ("6: rule 2: ports '1-70000': a port is 1 to 65535"),
        "action = 'allow'\nschemes = ['ftp']": ("6: rule 2: schemes 'ftp': a scheme is http or https"),
        "action = 'allow'\nschemes = [1]": ("6: rule 2: 'schemes' must be a list, and each entry a string"),
        "action = 'allow'\nmethods = ['get']": ("6: rule 2: methods 'get': write a method in capitals, as in GET"),
        "action = 'allow'\nmethods = ['']": ("6: rule 2: methods '': write a method in capitals, as in GET"),
        "action = 'allow'\npaths = ['x']": ("6: rule 2: paths 'x': a path pattern begins with /"),
        "action = 'allow'\npaths = ['/x']\nmethods = ['CONNECT']": (
            "7: rule 2: of a tunnel nobody sees 'paths'; put CONNECT into a rule without it"
        ),
        "action = 'deny'\nreason = 'x'\nmin_body = 1\nmethods = ['CONNECT']": (
            "8: rule 2: of a tunnel nobody sees 'min_body'; put CONNECT into a rule without it"
        ),
        "action = 'allow'\nquery = {}": ("6: rule 2: 'query' is empty and would not restrict; leave it out"),
        "action = 'allow'\nquery = 1": ("6: rule 2: 'query' must be a table"),
        "action = 'allow'\nquery = {a = 1}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (it is there) or false (it is not)"
        ),
        "action = 'allow'\nquery = {a = []}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (it is there) or false (it is not)"
        ),
        "action = 'allow'\nquery = {a = ['x', 1]}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (it is there) or false (it is not)"
        ),
        "action = 'allow'\n[rules.query]\na = 're:['": (
            "7: rule 2: query 'a', 're:[': is no regular expression of RE2: missing ]: ["
        ),
        "action = 'allow'\nheaders = {'a b' = 'x'}": ("6: rule 2: headers 'a b': is no name of a header field"),
        "action = 'allow'\nheaders = {a = {}}": (
            "6: rule 2: headers 'a': write a pattern, a list of patterns, true (it is there) or false (it is not)"
        ),
        "action = 'allow'\njson = {'a[' = 'x'}": (
            "6: rule 2: json 'a[': is no JMESPath expression: Invalid jmespath expression: Incomplete expression: \"a[\" ^"
        ),
        "action = 'allow'\njson = {a = []}": ("6: rule 2: json 'a': is empty and would match nothing"),
        "action = 'allow'\njson = {a = {}}": (
            "6: rule 2: json 'a': write text, a number, true or false, or a list of these"
        ),
        "action = 'allow'\njson = {a = 're:('}": ("6: rule 2: json 'a': is no regular expression of RE2: missing ): ("),
        "action = 'allow'\nmax_body = '1 parsec'": (
            '6: rule 2: \'max_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nmin_body = -1": (
            '6: rule 2: \'min_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nmin_body = true": (
            '6: rule 2: \'min_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nclients = ['']": ("6: rule 2: clients '': write a name, an address or a range"),
        "action = 'allow'\nclients = ['10.0.0.1/8']": (
            "6: rule 2: clients '10.0.0.1/8': 10.0.0.1/8 has host bits set; write an address, or a range as in 10.0.0.0/8"
        ),
        "action = 'allow'\nclients = [1]": ("6: rule 2: each of its clients must be a string"),
        "action = 'allow'\ntimes = ['always']": (
            '6: rule 2: times \'always\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['mon 25:00-26:00']": (
            '6: rule 2: times \'mon 25:00-26:00\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['']": (
            '6: rule 2: times \'\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['mon-fry']": (
            '6: rule 2: times \'mon-fry\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['08:00-08:00']": (
            "6: rule 2: times '08:00-08:00': it ends when it begins; leave the hours out for whole days"
        ),
        "action = 'allow'\ntimes = ['08:00-24:01']": ("6: rule 2: times '08:00-24:01': a day ends at 24:00"),
        "action = 'allow'\naddresses = ['privat']": (
            "6: rule 2: addresses 'privat': is neither a class of addresses nor a range; did you mean 'private'?"
        ),
        "action = 'allow'\naddresses = ['10.0.0.1/8']": (
            "6: rule 2: addresses '10.0.0.1/8': 10.0.0.1/8 has host bits set; write a range as in 10.0.0.0/8"
        ),
        "action = 'deny'\nreason = 'x'\nmax_bytes = 1": (
            "7: rule 2: 'max_bytes' says how a request is let through; leave it out of a denial"
        ),
        "action = 'allow'\nset_headers = {host = 'x'}": (
            "6: rule 2: set_headers 'host': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nset_headers = {Transfer_Encoding = 'x'}": (
            "6: rule 2: set_headers 'Transfer_Encoding': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nset_headers = {'a b' = 'x'}": ("6: rule 2: set_headers 'a b': is no name of a header field"),
        "action = 'allow'\nset_headers = {a = 1}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = \"x\\ny\"}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a b}'}": (
            "6: rule 2: set_headers 'a': no secret has such a name; write ${secret:NAME}"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a'}": (
            "6: rule 2: set_headers 'a': a secret is written ${secret:NAME}, with its brace"
        ),
        "action = 'allow'\nset_headers = {a = '$${secret:a}'}": (
            "6: rule 2: ${secret:a} stands in values of 'set_headers' alone"
        ),
        "action = 'allow'\nremove_headers = ['TE']": (
            "6: rule 2: remove_headers 'TE': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nmax_bytes = 'x'": (
            '6: rule 2: \'max_bytes\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nexpires_in = '10ms'": ("6: rule 2: 'expires_in': write a second or more"),
        "action = 'allow'\nexpires_in = 'x'": (
            '6: rule 2: \'expires_in\': a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"'
        ),
        "action = 'allow'\nreason = '${secret:a}'": ("6: rule 2: ${secret:a} stands in values of 'set_headers' alone"),
        "action = 'allow'\nreason = '${a}'": ("6: rule 2: the variable ${a} is not known; there are no [variables]"),
    }

    # A test.
    TESTS = {
        "": ("2: test 1: 'request' is missing; write a method and a URL, as in \"GET https://example.com/\""),
        "request = 'GET http://a/'": ('2: test 1: \'expect\' is missing; write "allow", "deny" or "ask"'),
        "request = 'GET'\nexpect='deny'": (
            "3: test 1: 'request': write a method and a URL, as in \"GET https://example.com/\""
        ),
        "request = 'GET /x'\nexpect='deny'": ("3: test 1: 'request': the URL must begin with http:// or https://"),
        "request = 'GET ftp://a/'\nexpect='deny'": (
            "3: test 1: 'request': the URL must begin with http:// or https://"
        ),
        "request = 'G@T http://a/'\nexpect='deny'": (
            "3: test 1: 'request': write a method and a URL, as in \"GET https://example.com/\""
        ),
        "request = 'CONNECT a'\nexpect='deny'": ("3: test 1: 'request': 'a' names no port"),
        "request = 'GET http://a/'\nexpect='x'": ('4: test 1: \'expect\' must be "allow", "deny" or "ask", not \'x\''),
        "request = 'GET http://a/'\nexpect='deny'\nheaders={a=1}": (
            "5: test 1: headers 'a': write the name of a field, and its value or a list of values"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nheaders={'a b'='x'}": (
            "5: test 1: headers 'a b': write the name of a field, and its value or a list of values"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddress='x'": (
            "5: test 1: 'address': 'x' does not appear to be an IPv4 or IPv6 address"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddress=1": (
            "5: test 1: 'address': write an address, as in 192.0.2.7"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddresses=['x']": (
            "5: test 1: addresses 'x': 'x' does not appear to be an IPv4 or IPv6 address"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nat='noon'": (
            "5: test 1: 'at': write a time with its offset, as in 2026-03-02T09:00:00Z"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nat=2026-01-01T00:00:00": (
            "5: test 1: 'at': write a time with its offset, as in 2026-03-02T09:00:00Z"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nrule='nobody'": ("2: there is no rule 'nobody'; use default"),
        "request = 'GET http://a/'\nexpct='deny'": ("4: test 1: 'expct' is not known here; did you mean 'expect'?"),
        "request = 'GET http://a/'\nexpect='deny'\nname='${x}'": (
            "5: test 1: the variable ${x} is not known; there are no [variables]"
        ),
    }

    def check(self, document: str, expected: str) -> None:
        with self.subTest(document):
            error = self.assertRaises(PolicyError, parse, document)
            self.assertEqual(error.reason, f"p.toml:{expected}")
            self.assertEqual(str(error), error.reason)
            self.assertNotIn("\n", expected)

    def test_documents(self) -> None:
        for document, expected in self.DOCUMENTS.items():
            self.check(document, expected)

    def test_rules(self) -> None:
        for entry, expected in self.RULES.items():
            self.check(f"version = 1\n[[rules]]\naction = 'allow'\n[[rules]]\n{entry}\n", expected)

    def test_tests(self) -> None:
        for entry, expected in self.TESTS.items():
            self.check(f"version = 1\n[[test]]\n{entry}\n", expected)

    def test_no_toml(self) -> None:
        """Neither a huge number nor deep nesting is a syntax error to every reader of TOML."""
        for text in ("version = ", "version = 1\nversion = 1", "version = " + "9" * 5000, "version = " + "[" * 10_000):
            with self.subTest(text[:30]):
                error = self.assertRaises(PolicyError, parse, text)
                self.assertTrue(error.reason.startswith("p.toml: "), error.reason)
                self.assertNotIn("\n", error.reason)


class FileTests(SynchronousTestCase):
    """Policies come from files."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_file(self) -> None:
        self.path.write_text('version = 1\n[[rules]]\naction = "allow"\nreason = "très bien"\n', "utf-8")
        policy = load_policy(self.path)
        self.assertEqual(policy.name, f"policy {self.path}")
        self.assertEqual(policy.decide(request("GET", "http://a.test/")).reason, "très bien")
        self.assertEqual(policy.files, (self.path,))

    def test_error_names_the_file(self) -> None:
        self.path.write_text("version = 3")
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertTrue(error.reason.startswith(f"{self.path}:1: 'version' is 3"), error.reason)

    def test_missing(self) -> None:
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertEqual(error.reason, f"{self.path}: cannot be read: No such file or directory")

    def test_no_text(self) -> None:
        self.path.write_bytes(b"version = 1 # \xff")
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertEqual(error.reason, f"{self.path}: is not UTF-8; save it as UTF-8 text")


class StarterTests(SynchronousTestCase):
    """The packaged policy."""

    CASES = {
        "GET https://example.com/": "public",
        "POST http://postman-echo.com/post": "public",
        "DELETE https://api.example.org:8443/x": "public",
        "GET http://8.8.8.8/": "public",
        "CONNECT https://pinned.example.org": "public",
        "GET https://blocked.example.com/": "blocked-example",
        "GET https://a.blocked.example.com/": "blocked-example",
        "CONNECT https://blocked.example.com": "blocked-example",
        "GET http://10.0.0.1/": "private-address",
        "GET http://[fd00::1]/": "private-address",
        "GET http://[64:ff9b::a00:1]/": "private-address",
        "CONNECT https://192.168.1.1": "private-address",
        "GET http://localhost:8080/": "internal-name",
        "GET http://db/": "internal-name",
        "GET http://metadata.google.internal/": "internal-name",
        "GET http://printer.local/": "internal-name",
        "GET http://nas.home.arpa/": "internal-name",
        "GET http://example.com:22/": "default",
    }

    def test_decisions(self) -> None:
        policy = load_starter()
        for text, expected in self.CASES.items():
            with self.subTest(text):
                decision = policy.decide(request(*text.split()))
                self.assertEqual(decision.rule_id, expected)
                self.assertIs(decision.allowed, expected == "public")
                self.assertEqual(decision.decided_by, "policy starter")

    def test_a_denial_is_readable(self) -> None:
        """What the README shows."""
        self.assertEqual(
            load_starter().decide(request("GET", "https://blocked.example.com/")),
            Decision(
                Verdict.DENY,
                "blocked.example.com is on the blocked list, to show what a denial looks like",
                "policy starter",
                "blocked-example",
            ),
        )

    def test_private_addresses_are_blocked_behind_names(self) -> None:
        self.assertTrue(load_starter().blocks_private)


class PageTests(SynchronousTestCase):
    """C{docs/policy.md} says what is so."""

    def setUp(self) -> None:
        page = Path(__file__).parent.parent.parent / "docs" / "policy.md"
        self.text = page.read_text("utf-8")
        examples = re.findall(r"^```toml\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        self.policies = [parse(text if "version" in text else f"version = 1\n{text}") for text in examples]

    def test_examples(self) -> None:
        cases: list[dict[str, str]] = [
            {
                "GET https://shop.example.com/cart": "shop",
                "POST https://shop.example.com/Admin/x": "no-admin",
                "CONNECT https://shop.example.com": "no-admin",
                "GET http://shop.example.com/": "default",
                "GET http://10.20.0.1:8443/reports/may/summary": "reports",
                "PUT http://10.20.0.1:8443/health": "default",
            },
            {
                "GET https://git.example.com/api/projects/group%2Fname/issues": "rule-1",
                "GET https://git.example.com/api/projects/group%2Fother/issues": "default",
            },
            {
                "CONNECT https://pinned.example.com": "pinned",
                "POST https://a.example.com/": "no-writes",
                "CONNECT https://a.example.com": "no-writes",
                "GET https://a.example.com/": "partners",
            },
        ]
        self.assertEqual(len(self.policies), len(cases))
        for policy, expectations in zip(self.policies, cases, strict=True):
            for text, expected in expectations.items():
                with self.subTest(text):
                    self.assertEqual(policy.decide(request(*text.split())).rule_id, expected)

    def test_starter_policy(self) -> None:
        """Its rules are all there, in their order."""
        table = self.text[self.text.index("## The starter policy") :]
        rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
        self.assertEqual(rows, [*(rule.rule_id for rule in load_starter().rules), "default"])

    def test_error(self) -> None:
        """The line that is shown is the one that is given."""
        error = self.assertRaises(
            PolicyError, parse_policy, 'version = 1\n[[rules]]\nid = "no-admin"\naction = "deny"', "policy.toml", ""
        )
        self.assertIn(f"egressproxy: --policy: {error.reason}\n", self.text)

    def test_limit(self) -> None:
        self.assertIn(f"more than {MAX_READINGS} readings", " ".join(self.text.split()))
