"""Tests for L{egress.policy.match.grpc_fields}."""

from __future__ import annotations

import gzip
from typing import Any

from egress.authz.cache_key import known_parts
from egress.grpc.descriptors import Descriptors
from egress.grpc.framing import Frame
from egress.model.decision import Verdict
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.match.grpc_fields import GrpcFields
from egress.policy.match.request_view import RequestView
from egress.policy.match.tristate import Match
from tests.grpc.descriptor_sets import descriptor_set, framed, user
from tests.policy.policies import PolicyTestCase, parse, request

TYPES = Descriptors([descriptor_set()])
GRPC = ("Content-Type", "application/grpc")
ALICE = "{ fields = { name = 'alice' } }"


class GrpcFieldsTests(PolicyTestCase):
    """The condition in a permission and in a denial."""

    def verdicts(self, condition: str, method: str = "Get", headers: Any = (GRPC,), **given: Any) -> str:
        """Return whether a permission and a denial match."""
        found = []
        for action, default in (("allow", "deny"), ("deny", "allow")):
            rule = f"[[rules]]\naction = '{action}'\nreason = 'x'\ngrpc = {condition}"
            policy = with_descriptors(parse(f"version = 1\ndefault = '{default}'\n{rule}"), TYPES)
            url = f"https://a.test/users.v1.Users/{method}"
            decision = policy.decide(request("POST", url, headers=headers, **given))
            need = decision.verdict is Verdict.NEED_BODY
            found.append("need" if need else "no" if decision.rule_id == "default" else "yes")
        return " ".join(found)

    YES, NO, MAYBE, NEED = "yes yes", "no no", "no yes", "need need"

    def test_values(self) -> None:
        body = framed(name="alice", id=2**60, role=1, tags=["a", "b"], labels={"env": "prod"}, manager={"active": True})
        for fields, expected in (
            ("name = 'alice'", self.YES),
            ("name = 'al*', id = 1152921504606846976", self.YES),
            ("name = 'bob'", self.NO),
            ("name = 'alice', id = 7", "no yes"),
            ("role = 'ADMIN', 'labels.env' = 'prod', 'manager.active' = true", self.YES),
            ("'manager.active' = true, active = true", self.NO),
            ("active = false, 'manager.id' = 0", self.YES),
            ("'tags[]' = ['a', 'b']", self.YES),
            ("'tags[]' = 'a'", self.MAYBE),
            ("nick = '*'", self.NO),
            ("'length(tags)' = 2", self.YES),
            ("name = 'ALICE'", self.MAYBE),
        ):
            with self.subTest(fields):
                self.assertEqual(self.verdicts(f"{{ fields = {{ {fields} }} }}", body=body), expected)

    def test_the_content_is_read_on_demand(self) -> None:
        self.assertEqual(self.verdicts(ALICE, body_withheld=True, content_length=None), self.NEED)
        other = "{ method = 'Delete', fields = { name = 'a' } }"
        self.assertEqual(self.verdicts(other, body_withheld=True), self.NO)

    def test_server_streaming(self) -> None:
        self.assertEqual(self.verdicts(ALICE, "Watch", body=framed(name="alice")), self.YES)

    def test_web(self) -> None:
        kind = ("Content-Type", "application/grpc-web+proto")
        self.assertEqual(self.verdicts(ALICE, headers=[kind], body=framed(name="alice")), self.YES)

    def test_compressed(self) -> None:
        body = Frame(gzip.compress(user(name="alice")), compressed=True).encode()
        coding = ("grpc-encoding", "gzip")
        self.assertEqual(self.verdicts(ALICE, headers=[GRPC, coding], body=body), self.YES)
        self.assertEqual(self.verdicts(ALICE, body=body), self.MAYBE)

    def test_messages_that_cannot_be_read(self) -> None:
        alice = framed(name="alice")
        for given in (
            {"body": alice, "method": "Upload"},
            {"body": alice, "method": "Other"},
            {"body": alice, "method": "Get?x"},
            {"body": alice + alice},
            {"body": alice[:-1]},
            {"body": b""},
            {"content_length": 7},
            {"body": alice, "body_truncated": True},
            {"body": Frame(b"\xff").encode()},
            {"body": alice, "headers": [("Content-Type", "application/grpc+json")]},
            {"body": alice, "headers": [GRPC, ("Content-Encoding", "gzip")]},
        ):
            with self.subTest(given):
                self.assertEqual(self.verdicts(ALICE, **given), self.MAYBE)

    def test_requests_that_are_not_grpc(self) -> None:
        self.assertEqual(self.verdicts(ALICE, headers=[("Content-Type", "application/json")], body=b"{}"), self.NO)
        (condition,) = (
            one
            for one in parse(f"version = 1\n[[rules]]\naction = 'allow'\ngrpc = {ALICE}").rules[0].conditions
            if isinstance(one, GrpcFields)
        )
        view = RequestView(request("POST", "https://a.test/users.v1.Users/Get"), None, TYPES)
        self.assertIs(condition.match(view), Match.NO)
        self.assertIsNotNone(known_parts(condition.depends_on))
        self.assertEqual(condition.stable_for(0.0), float("inf"))

    def test_one_message_for_all_rules(self) -> None:
        rule = "[[rules]]\naction = 'allow'\ngrpc = { fields = { name = 'bob' } }\n"
        policy = with_descriptors(parse(f"version = 1\n{rule * 100}"), TYPES)
        found = request("POST", "https://a.test/users.v1.Users/Get", headers=[GRPC], body=framed(nick="x" * 30_000))
        self.assertTrue(policy.decide(found).reason.startswith("no rule allows the gRPC method users.v1.Users/Get of"))

    def reason(self, body: bytes, *headers: tuple[str, str]) -> str:
        """Return the reason of the denial of a message that takes too much work."""
        text = f"version = 1\n[[rules]]\nname = 'one'\naction = 'allow'\ngrpc = {ALICE}"
        policy = with_descriptors(parse(text), TYPES)
        found = request("POST", "https://a.test/users.v1.Users/Get", headers=[GRPC, *headers], body=body)
        decision = policy.decide(found)
        self.assertIs(decision.verdict, Verdict.DENY)
        return decision.reason

    def test_work(self) -> None:
        says = "the request takes too much work to compare with the rule one: its gRPC message"
        self.assertEqual(self.reason(framed(name="x" * 500_000)), f"{says} has 500,009 bytes")
        self.assertEqual(self.reason(framed(team=[{}] * 1000)), f"{says} takes long to read")
        gzipped = ("grpc-encoding", "gzip")
        for size in (400_000, 10_000_000):
            body = Frame(gzip.compress(user(name="x" * size)), compressed=True).encode()
            self.assertIn(says, self.reason(body, gzipped))
