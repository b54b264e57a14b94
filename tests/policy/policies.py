"""Policies for tests, and assertions about their errors."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage
from egress.policy.parse.load import PolicyError, parse_policy
from egress.policy.rules import RuleSet


def parse(text: str) -> RuleSet:
    """Parse a policy with the name C{p.toml}."""
    return parse_policy(text, "p.toml", "policy p.toml")


def request(method: str, url: str, **given: Any) -> DecisionRequest:
    """Return an authorization request; for the method C{CONNECT}, one for a tunnel.

    @param given: other attributes; C{headers} as a table, C{identity} and C{address} of the client.
    """
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    stage = Stage.TUNNEL if method == "CONNECT" else Stage.REQUEST
    origin = Origin(scheme, Authority.parse(host, DEFAULT_PORTS[scheme]))
    client = ClientIdentity(given.pop("address", "192.0.2.1"), 1, given.pop("identity", None))
    headers = tuple((name.encode(), value.encode()) for name, value in given.pop("headers", ()))
    body = given.get("body")
    if body is not None:
        given.setdefault("content_length", len(body))
    return attrs.evolve(DecisionRequest("id", stage, method, origin, slash + path, headers, client), **given)


class PolicyTestCase(SynchronousTestCase):
    """Base class of tests that parse policies."""

    def decides(self, policy: RuleSet, cases: dict[str, str], **given: Any) -> None:
        """Assert the ids of the rules that decide on C{METHOD URL}."""
        for text, expected in cases.items():
            with self.subTest(text):
                self.assertEqual(policy.decide(request(*text.split(" "), **given)).rule_id, expected)

    def refuses(self, document: str, expected: str) -> None:
        """Assert the error of a document, which is one line."""
        with self.subTest(document):
            error = self.assertRaises(PolicyError, parse, document)
            self.assertEqual(error.reason, f"p.toml:{expected}")
            self.assertEqual(str(error), error.reason)
            self.assertNotIn("\n", expected)

    def refuses_documents(self, documents: dict[str, str]) -> None:
        """Assert the errors of documents."""
        for document, expected in documents.items():
            self.refuses(document, expected)

    def refuses_rules(self, rules: dict[str, str]) -> None:
        """Assert the errors for the content of the second rule of a document."""
        for entry, expected in rules.items():
            self.refuses(f"version = 1\n[[rules]]\naction = 'allow'\n[[rules]]\n{entry}\n", expected)
