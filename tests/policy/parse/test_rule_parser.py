"""Tests for L{egress.policy.parse.rule_parser}."""

from __future__ import annotations

from egress.model.decision import Verdict
from tests.policy.policies import PolicyTestCase, parse


class RuleTableTests(PolicyTestCase):
    """A single rule: all keys except conditions and obligations."""

    # The content of the second rule of a document, and the whole error after the name of the file.
    RULES = {
        "": '4: rule 2: \'action\' is missing; write "allow", "deny" or "ask"',
        "id = 'x'": '4: rule x: \'action\' is missing; write "allow", "deny" or "ask"',
        "action = 'permit'": '5: rule 2: \'action\' must be "allow", "deny" or "ask", not \'permit\'',
        "action = 'deny'": "4: rule 2: 'reason' is missing; add the reason for the user whose request is denied",
        "action = 'deny'\nreason = ' '": ("6: rule 2: 'reason' must be one line of text; shorten it, or remove it"),
        "action = 'deny'\nreason = \"a\\nb\"": (
            "6: rule 2: 'reason' must be one line of text; shorten it, or remove it"
        ),
        "action = 'allow'\nreason = 1": "6: rule 2: 'reason' must be a string",
        "action = 'deny'\nreason = 'no {hots}'": (
            "6: rule 2: 'reason': {hots} is not known here; did you mean {host}?"
        ),
        "action = 'deny'\nreason = 'no {query}'": (
            "6: rule 2: 'reason': {query} is not known here; did you mean {url}?"
        ),
        "action = 'deny'\nreason = 'no {'": ("6: rule 2: 'reason': write a literal brace twice: {{ or }}"),
        "action = 'allow'\nid = 2": "6: rule 2: 'id' must be a string",
        "action = 'allow'\nname = ''": (
            "6: rule 2: the name '' cannot be used; use up to 64 letters, digits, '.', '_' and '-', and not 'default'"
        ),
        "action = 'allow'\nid = 'a b'": (
            "6: rule 2: the id 'a b' cannot be used; use up to 64 letters, digits, '.', '_' and '-', and not 'default'"
        ),
        "action = 'allow'\nid = 'default'": (
            "6: rule default: the id 'default' cannot be used; use up to 64 letters, digits, '.', '_' "
            "and '-', and not 'default'"
        ),
        "action = 'allow'\nname = 'x'\nid = 'x'": (
            "7: rule x: 'name' and 'id' have the same meaning; remove one of them"
        ),
        "action = 'allow'\nname = 'x'\nmethod = ['a']": (
            "7: rule x: 'method' is not known here; did you mean 'methods'?"
        ),
        "action = 'allow'\nid = 'x'\nzzz = ['a']": (
            "7: rule x: 'zzz' is not known here; use action, addresses, budget, clients, expires_in, "
            "file_types, files, form, grpc, headers, hosts, id, json, max_body, max_bytes, messages, methods, "
            "min_body, name, paths, ports, query, rate, reason, remove_headers, schemes, set_headers, times"
        ),
        "action = 'allow'\nhosts = 'a.test'": "6: rule 2: 'hosts' must be a list",
        "action = 'allow'\nhosts = []": (
            "6: rule 2: 'hosts' is empty and would match nothing; remove it to match everything"
        ),
        "action = 'allow'\nhosts = [1]": "6: rule 2: each of its hosts must be a string",
        "action = 'allow'\nhosts = ['a..b']": "6: rule 2: hosts 'a..b': the host is not a valid host name",
        "action = 'allow'\nhosts = [\n  'a.test',\n  '*a.test']": (
            "8: rule 2: hosts '*a.test': write * for everything, or before a dot for the subdomains of a host, "
            "as in *.example.com"
        ),
        "action = 'allow'\nhosts = ['re:(']": (
            "6: rule 2: hosts 're:(': is not a regular expression of RE2: missing ): ("
        ),
        "action = 'allow'\nhosts = ['@x']": "6: rule 2: the group '@x' is not known; there is no [groups.hosts]",
        "action = 'allow'\nports = ['443']": ("6: rule 2: ports '443': write a number, or a range as in \"8000-8999\""),
        "action = 'allow'\nports = [true]": '6: rule 2: ports True: write a number, or a range as in "8000-8999"',
        "action = 'allow'\nports = [0]": "6: rule 2: ports 0: a port is 1 to 65535",
        "action = 'allow'\nports = [65536]": "6: rule 2: ports 65536: a port is 1 to 65535",
        "action = 'allow'\nports = ['9-8']": ("6: rule 2: ports '9-8': the range is empty; write the lower port first"),
        "action = 'allow'\nports = ['1-70000']": "6: rule 2: ports '1-70000': a port is 1 to 65535",
        "action = 'allow'\nschemes = ['ftp']": "6: rule 2: schemes 'ftp': a scheme must be http or https",
        "action = 'allow'\nschemes = [1]": "6: rule 2: 'schemes' must be a list, and each entry a string",
        "action = 'allow'\nmethods = ['get']": "6: rule 2: methods 'get': write a method in capitals, as in GET",
        "action = 'allow'\nmethods = ['']": "6: rule 2: methods '': write a method in capitals, as in GET",
        "action = 'allow'\npaths = ['x']": "6: rule 2: paths 'x': a path pattern must start with /",
        "action = 'allow'\npaths = ['/x']\nmethods = ['CONNECT']": (
            "7: rule 2: 'paths' cannot match a tunnel; use a rule without it for CONNECT"
        ),
        "action = 'deny'\nreason = 'x'\nmin_body = 1\nmethods = ['CONNECT']": (
            "8: rule 2: 'min_body' cannot match a tunnel; use a rule without it for CONNECT"
        ),
        "action = 'allow'\nreason = '${secret:a}'": (
            "6: rule 2: ${secret:a} is permitted only in values of 'set_headers'"
        ),
        "action = 'allow'\nreason = '${a}'": ("6: rule 2: the variable ${a} is not known; there are no [variables]"),
    }

    def test_rejected(self) -> None:
        self.refuses_rules(self.RULES)

    def test_names(self) -> None:
        """The older key C{id} is a synonym of C{name}."""
        policy = parse("version = 1\n[[rules]]\nname = 'a'\naction = 'allow'\n[[rules]]\nid = 'b'\naction = 'allow'")
        self.assertEqual([(rule.rule_id, rule.where) for rule in policy.rules], [("a", "p.toml:2"), ("b", "p.toml:5")])

    def test_ports(self) -> None:
        policy = parse("version = 1\n[[rules]]\naction = 'allow'\nports = [80, '8000-8001', '90-90']")
        self.decides(
            policy,
            {
                **{f"GET http://a.test:{port}/": "rule-1" for port in (80, 90, 8000, 8001)},
                **{f"GET http://a.test:{port}/": "default" for port in (81, 7999, 8002)},
            },
        )

    def test_ask(self) -> None:
        """A rule that requires an approval matches as broadly as a denial."""
        policy = parse("version = 1\n[[rules]]\naction = 'ask'\npaths = ['/admin/**']\n[[rules]]\naction = 'allow'\n")
        self.decides(
            policy,
            {
                "GET http://a.test/Admin/x": "rule-1",
                "GET http://a.test/x/..%2fadmin": "rule-1",
                "CONNECT https://a.test": "rule-1",
                "GET http://a.test/x": "rule-2",
            },
        )
        rule = policy.rules[0]
        self.assertEqual((rule.verdict, rule.reason.pieces), (Verdict.ASK, ("the rule rule-1 requires approval",)))
