"""The samples of C{docs/how-to/adapters.md} work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.authzen import AuthZenCodec
from egress.authz.protocols.base import AuthzResponse
from egress.authz.protocols.opa import OpaCodec
from egress.authz.remote.client import CODECS
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "how-to" / "adapters.md").read_text("utf-8")
POLICY = (DOCS / "examples" / "egress.rego").read_text("utf-8")

REQUEST = DecisionRequest(
    request_id="4f2a",
    stage=Stage.REQUEST,
    method="GET",
    origin=Origin("https", Authority("api.example.com", 443)),
    path="/v1/orders?open=1",
    headers=((b"Accept", b"application/json"),),
    client=ClientIdentity("192.0.2.1", 1234, "ci-7"),
)


class AuthZenTests(SynchronousTestCase):
    """The question and the answer on the page."""

    def setUp(self) -> None:
        self.question, self.answer = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
        self.codec = AuthZenCodec("http://pdp.test/access/v1/evaluation", "who")

    def test_question(self) -> None:
        self.assertEqual(json.loads(self.codec.encode(REQUEST).content), json.loads(self.question))

    def test_answer(self) -> None:
        decision = self.codec.decode(AuthzResponse(200, (), self.answer.encode()), REQUEST)
        self.assertEqual(decision, Decision(Verdict.DENY, "only the shop may read orders", "who", "orders", ttl=60.0))


# In a process of its own: it brings an RE2 that does not get on with the one of our rules.
EVALUATE = """
import json, sys, regopy
policy, document, query = json.load(sys.stdin)
rego = regopy.Interpreter()
rego.add_module("egress.rego", policy)
rego.set_input(document)
print(str(rego.query(query)))
"""


def evaluated(document: object, query: str) -> str:
    """What Rego says of a document."""
    given = json.dumps([POLICY, document, query])
    done = subprocess.run([sys.executable, "-c", EVALUATE], input=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class RegoTests(SynchronousTestCase):
    """The policy, run by a second implementation of Rego behind what OPA documents of its REST API."""

    def decide(self, rule: str = "decision", **changes: Any) -> Decision:
        codec = OpaCodec(f"http://opa.test/v1/data/egress/{rule}", "who")
        request = attrs.evolve(REQUEST, **changes)
        found = evaluated(json.loads(codec.encode(request).content)["input"], f"data.egress.{rule} = x")
        # A rule that is undefined has no result.
        answer = {} if found == "undefined" else {"result": json.loads(found)["bindings"]["x"]}
        return codec.decode(AuthzResponse(200, (), json.dumps(answer).encode()), request)

    def test_decisions(self) -> None:
        post: dict[str, Any] = {"method": "POST", "path": "/orders"}
        for changes, verdict, rule in (
            ({}, Verdict.ALLOW, "reads"),
            ({"path": "/admin/users"}, Verdict.DENY, "no-admin"),
            ({"origin": Origin("https", Authority("example.org", 443))}, Verdict.DENY, "default"),
            ({**post, "body_withheld": True, "content_length": 12}, Verdict.NEED_BODY, None),
            ({**post, "body": b'{"amount": 5}', "content_length": 13}, Verdict.ALLOW, "small-orders"),
            ({**post, "body": b'{"amount": 500}', "content_length": 15}, Verdict.DENY, "default"),
            (post, Verdict.DENY, "default"),
        ):
            with self.subTest(changes):
                decision = self.decide(**changes)
                self.assertEqual((decision.verdict, decision.rule_id), (verdict, rule))

    def test_reuse(self) -> None:
        decision = self.decide()
        self.assertEqual((decision.ttl, decision.cache_key), (60.0, ("method", "path")))

    def test_no_result(self) -> None:
        error = self.assertRaises(AuthorizerUnavailable, self.decide, "misspelt")
        self.assertIn("data.egress.misspelt is undefined", error.reason)


class TableTests(SynchronousTestCase):
    """What each can say."""

    def test_every_api(self) -> None:
        for api, codec in CODECS.items():
            with self.subTest(api):
                self.assertIn(f"\n| `{api.value}` |", PAGE)
                column = list(CODECS).index(api) + 1
                for row, can in (
                    ("body on demand", codec.can_want_body),
                    ("tunnels", codec.can_ask_tunnels),
                    ("bearer token", codec.takes_token),
                ):
                    (line,) = re.findall(rf"\n\| ({row}.*) \|\n", PAGE)
                    self.assertEqual(line.split(" | ")[column].startswith("yes"), can, row)
