"""Tests for L{egress.policy.learn.writer}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.suggest import Suggestion
from egress.policy.learn.writer import NAME_KEY, write_policy
from egress.policy.parse.load import parse_policy
from tests.policy.audit import audit_line, read

EXPECTED = """\
# Made by egress policy suggest from 3 requests to 2 hosts.
# It allows what was seen, and nothing else: read it, and take out what should not have been there.
# In paths, * stands for what differed from one request to the next, ** for everything below.
version = 1
default = "deny"

# 2 requests, e.g. https://api.test/items/1
[[rules]]
id = "api.test"
action = "allow"
reason = "learned from traffic: GET to api.test"
hosts = ["api.test"]
ports = [443]
schemes = ["https"]
methods = ["GET"]
paths = ["/items/*"]

# 1 tunnel, e.g. db.test:5432
[[rules]]
id = "tunnels-db.test"
action = "allow"
reason = "learned from traffic: tunnels to db.test"
hosts = ["db.test"]
ports = [5432]
methods = ["CONNECT"]
""".replace("\nid = ", f"\n{NAME_KEY} = ")


class PolicyTextTests(SynchronousTestCase):
    """The text of a suggested policy."""

    def write(self, *lines: bytes, most: int = 12) -> str:
        suggestion = Suggestion()
        for line in read(*lines):
            suggestion.add(line)
        text = write_policy(suggestion, most)
        parse_policy(text, "x", "x")
        return text

    def test_text(self) -> None:
        """The text is readable."""
        lines = [audit_line("GET", f"https://api.test/items/{number}?token=x") for number in (1, 2)]
        self.assertEqual(self.write(*lines, audit_line("CONNECT", "https://db.test:5432")), EXPECTED)

    def test_long_lists(self) -> None:
        text = self.write(*(audit_line("GET", f"https://{letter * 40}.test/") for letter in "abcd"))
        self.assertIn(f'hosts = [\n    "{"a" * 40}.test",\n', text)
        self.assertIn("and 3 more", text)

    def test_long_examples(self) -> None:
        text = self.write(audit_line("GET", f"https://a.test/{'b' * 500}"))
        self.assertIn(f"e.g. https://a.test/{'b' * 75}...", text)

    def test_any_method(self) -> None:
        """A method that no rule can name makes the rule match all methods."""
        text = self.write(audit_line("get", "https://a.test/x"))
        self.assertNotIn("methods", text)
        self.assertIn('reason = "learned from traffic: a.test"', text)
