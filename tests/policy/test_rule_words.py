"""Tests for L{egress.policy.rule_words}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.parse.load import load_policy
from egress.policy.rule_words import Clause, rules_in_words
from tests.policy.policies import parse

POLICY = """version = 1
[groups.hosts]
many = ["a.test", "b.test"]

[[rules]]
name = "all"
action = "allow"
reason = "why not"
hosts = ["@many", "*.c.test"]
ports = [443, "8000-8999"]
schemes = ["https"]
methods = ["GET", "HEAD"]
paths = ["/a/**"]
clients = ["ann", "10.0.0.0/8"]
times = ["Mon-Fri 09:00-17:00"]
addresses = ["loopback"]
query = { page = "re:[0-9]+", debug = false, lang = ["de", "en"] }
headers = { "X-Team" = true }
grpc = { service = "users.*", method = ["Get", "List"], fields = { "name" = "ann" } }
json = { "user.name" = ["ann", "bob"], "count" = 3, "ok" = true }
form = { amount = "re:[0-9]+", refund = false }
files = { doc = "*.pdf" }
file_types = { doc = "application/pdf" }
max_body = "64KiB"
min_body = 1000
set_headers = { Authorization = "Bearer ${secret:token}" }
remove_headers = ["cookie"]
max_bytes = 1000000
expires_in = 60

[rules.rate]
requests = 10
per = "1m"
by = "client"
[rules.budget]
bytes = "1MiB"
per = "1d"
[rules.messages]
max_size = "1KiB"
[[rules.messages.rules]]
action = "deny"
reason = "no"
[[rules.messages.rules]]
name = "fine"
action = "allow"

[[rules]]
action = "deny"
reason = "no"
"""


class WordsTests(SynchronousTestCase):
    """The conditions and obligations of rules."""

    def test_messages(self) -> None:
        (rule,) = rules_in_words(
            parse(
                "version = 1\n[variables]\nx = 'deny'\n[[rules]]\naction = 'allow'\n[rules.messages]\n"
                "directions = ['client']\ndefault = '${x}'\n[[rules.messages.rules]]\naction = '${x}'\nreason = 'no'"
            )
        )
        self.assertEqual(
            [" ".join((clause.label, ", ".join(clause.values))) for clause in rule.obligations],
            [
                "authorizes messages of client",
                "decides on messages by message rule rule-1",
                "for other messages, decides",
            ],
        )

    def test_everything(self) -> None:
        first, second = rules_in_words(parse(POLICY))
        self.assertEqual(
            [" ".join((clause.label, ", ".join(clause.values))) for clause in first.conditions],
            [
                "to host @many, *.c.test",
                "on port 443, 8000-8999",
                "over https",
                "with method GET, HEAD",
                "with path /a/**",
                "from client ann, 10.0.0.0/8",
                "at Mon-Fri 09:00-17:00",
                "to address loopback",
                "with query parameter page is re:[0-9]+",
                "without query parameter debug",
                "with query parameter lang is de, en",
                "with field X-Team",
                'with JSON content where user.name is "ann", "bob"',
                "with JSON content where count is 3",
                "with JSON content where ok is true",
                "with form field amount is re:[0-9]+",
                "without form field refund",
                "with file in field doc is *.pdf",
                "with file type in field doc is application/pdf",
                "with gRPC service users.*",
                "with gRPC method Get, List",
                'with gRPC message where name is "ann"',
                "with content of at most 64KiB",
                "with content of at least 1,000 bytes",
            ],
        )
        self.assertEqual(
            first.obligations,
            (
                Clause("sets field", ("Authorization",)),
                Clause("removes field", ("cookie",)),
                Clause("transfers at most", ("1,000,000 bytes",)),
                Clause("is authorized again after", ("60 s",)),
                Clause("permits", ("10 requests per 1m and client", "1,048,576 bytes per 1d")),
                Clause("authorizes messages of", ("client", "origin")),
                Clause("limits messages to", ("1KiB",)),
                Clause("denies messages by message rule", ("rule-1",)),
                Clause("allows messages by message rule", ("fine",)),
                Clause("for other messages,", ("denies them",)),
            ),
        )
        self.assertNotIn("secret", repr(first))
        self.assertEqual((first.rule.rule_id, first.where, first.line, first.reason), ("all", "p.toml", 5, "why not"))
        self.assertEqual((second.rule.rule_id, second.conditions, second.obligations), ("rule-2", (), ()))

    def test_bounds(self) -> None:
        hosts = ", ".join(f'"{number}.test"' for number in range(20))
        (rule,) = rules_in_words(
            parse(f'version = 1\n[[rules]]\naction = "allow"\nhosts = [{hosts}]\npaths = ["/{"a" * 300}"]\n')
        )
        self.assertEqual([(len(clause.values), clause.more) for clause in rule.conditions], [(12, 8), (1, 0)])
        self.assertEqual(len(rule.conditions[1].values[0]), 203)

    def test_several_files(self) -> None:
        """The rules of included files come first, each with its file and line."""
        directory = Path(self.mktemp())
        directory.mkdir()
        rule = '[[rules]]\nname = "{}"\naction = "allow"\nhosts = ["{}.test"]\n'
        (directory / "b.toml").write_text("version = 1\n" + rule.format("b", "b"), "utf-8")
        (directory / "c.toml").write_text("version = 1\n\n" + rule.format("c", "c"), "utf-8")
        root = directory / "a.toml"
        root.write_text('version = 1\ninclude = ["b.toml", "c.toml"]\n' + rule.format("a", "a"), "utf-8")
        found = rules_in_words(load_policy(root))
        self.assertEqual(
            [(text.rule.rule_id, text.conditions[0].values, Path(text.where).name, text.line) for text in found],
            [("b", ("b.test",), "b.toml", 2), ("c", ("c.test",), "c.toml", 3), ("a", ("a.test",), "a.toml", 3)],
        )
