"""Tests for L{egress.policy.parse.definitions}."""

from __future__ import annotations

from egress.policy.parse.definitions import MAX_DEPTH, Definitions
from egress.policy.parse.toml_reader import Document, PolicyError
from tests.policy.policies import PolicyTestCase, parse


class DefinitionsTests(PolicyTestCase):
    """Groups and variables."""

    # A document, and the whole error after the name of the file.
    DOCUMENTS = {
        "version = 1\nvariables = 1": "2: 'variables' must be a table",
        "version = 1\n[variables]\n'a b' = 'x'": ("3: variable 'a b': use up to 64 letters, digits, '.', '_' and '-'"),
        "version = 1\n[variables]\na = 1": "3: variable a: must be a string",
        "version = 1\n[variables]\na = '${b}'": "3: variable a: must not contain a variable",
        "version = 1\ngroups = 1": "2: 'groups' must be a table, with [groups.hosts] and [groups.clients]",
        "version = 1\n[groups]\nhost = {}": "3: 'host' is not known here; did you mean 'hosts'?",
        "version = 1\n[groups]\nhosts = []": "3: 'groups.hosts' must be a table of lists",
        "version = 1\n[groups.hosts]\n'a b' = ['x']": (
            "3: group 'a b': use up to 64 letters, digits, '.', '_' and '-'"
        ),
        "version = 1\n[groups.hosts]\na = 'x'": "3: group a: must be a non-empty list",
        "version = 1\n[groups.hosts]\na = []": "3: group a: must be a non-empty list",
        "version = 1\n[groups.hosts]\na = [1]": "3: group a: each of its hosts must be a string",
        "version = 1\n[groups.hosts]\na = ['ok',\n 'a..b']": (
            "4: group a: hosts 'a..b': the host is not a valid host name"
        ),
        "version = 1\n[groups.hosts]\na = ['@b']\nb = ['@a']": "3: group a: is a member of itself",
        "version = 1\n[groups.hosts]\na = ['@c']": "3: group a: the group '@c' is not known; use @a",
        "version = 1\n[groups.clients]\na = ['@c']\n": "3: group a: the group '@c' is not known; use @a",
        "version = 1\n[groups.clients]\na = ['10.0.0.1/8']\n": (
            "3: group a: clients '10.0.0.1/8': 10.0.0.1/8 has host bits set; write an address, or a range as "
            "in 10.0.0.0/8"
        ),
    }

    def test_rejected(self) -> None:
        self.refuses_documents(self.DOCUMENTS)

    def test_groups(self) -> None:
        policy = parse(
            """version = 1
[groups.hosts]
all = ["@some", "c.test", "@some"]
some = ["a.test", "*.b.test"]
[groups.clients]
ci = ["ci-*", "@office"]
office = ["10.0.0.0/8"]
[[rules]]
action = "allow"
hosts = ["@all", "d.test"]
clients = ["@ci"]
"""
        )
        self.assertEqual(len(policy.rules[0].hosts), 4)
        urls = {f"GET http://{host}/": "rule-1" for host in ("a.test", "x.b.test", "c.test", "d.test")}
        self.decides(policy, urls, identity="ci-7")
        self.decides(policy, urls, address="10.1.2.3")
        self.decides(policy, dict.fromkeys(urls, "default"), identity="me")
        self.decides(policy, {"GET http://b.test/": "default"}, identity="ci-7")

    def test_depth(self) -> None:
        groups = "".join(f"g{number} = ['@g{number + 1}']\n" for number in range(MAX_DEPTH))
        groups += f"g{MAX_DEPTH} = ['a.test']\n"
        self.refuses(
            f"version = 1\n[groups.hosts]\n{groups}",
            f"{MAX_DEPTH + 3}: group g{MAX_DEPTH}: is nested in more than {MAX_DEPTH} groups",
        )

    def test_rules_share_a_group(self) -> None:
        """The rules that use a group share one object."""
        rules = "[[rules]]\naction = 'allow'\nhosts = ['@g']\n" * 2
        first, second = parse(f"version = 1\n[groups.hosts]\ng = ['a.test']\n{rules}").rules
        self.assertIs(first.hosts, second.hosts)

    def test_unknown_group(self) -> None:
        self.refuses(
            "version = 1\n[groups.hosts]\nshops = ['a.test']\n[[rules]]\naction = 'allow'\nhosts = ['@shop']\n",
            "6: rule 1: the group '@shop' is not known; did you mean '@shops'?",
        )

    def test_variables(self) -> None:
        policy = parse(
            """version = 1
[variables]
team = "shop"
domain = "example.com"
[groups.hosts]
ours = ["${team}.${domain}"]
[[rules]]
action = "allow"
hosts = ["@ours", "www.${domain}"]
paths = ["/${team}/**"]
reason = "for ${team}"
headers = { X-A = ["$${team}", "*"] }
set_headers = { X-Team = "${team} ${secret:key}" }
[[test]]
request = "GET http://www.${domain}/${team}/"
headers = { X-A = "x" }
expect = "allow"
"""
        )
        urls = {"GET http://shop.example.com/shop/x": "rule-1", "GET http://www.example.com/": "default"}
        self.decides(policy, urls, headers=[("x-a", "${team}")])
        rule = policy.rules[0]
        self.assertEqual(rule.reason.pieces, ("for shop",))
        self.assertEqual(rule.obligations.secret_headers, ((b"X-Team", b"shop ${secret:key}"),))
        self.assertEqual(policy.secrets, {"key"})
        self.assertEqual(policy.cases[0].name, "GET http://www.example.com/shop/")

    def test_unknown_variable(self) -> None:
        self.refuses(
            "version = 1\n[variables]\ndomain = 'x'\n[[rules]]\naction = 'allow'\nhosts = ['a', '${domian}']",
            "6: rule 1: the variable ${domian} is not known; did you mean 'domain'?",
        )

    def test_duplicate_name_in_two_documents(self) -> None:
        documents = [
            Document(where, text, {"variables": {"a": "x"}}) for where, text in (("a.toml", ""), ("b.toml", "\n"))
        ]
        error = self.assertRaises(PolicyError, Definitions, documents)
        self.assertEqual(str(error), "b.toml:1: variable a: is also in a.toml; use different names")
