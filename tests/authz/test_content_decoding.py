"""Tests for L{egress.authz.content_decoding}."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.authz import content_decoding
from egress.authz.content_decoding import DecodingAuthorizer, decoded_for_preview
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.message import Direction, Message, MessageKind
from egress.model.request_preview import MAX_SHOWN
from tests.policy.policies import request

GZIP = ("Content-Encoding", "gzip")
LONG = str(list(range(60_000))).encode()
ALLOW = Decision(Verdict.ALLOW, "fine", "test")


@implementer(IAuthorizer)
class Recorder:
    """An authorizer that records its requests, and decides later."""

    name = "recorder"
    needs_body = True

    def __init__(self) -> None:
        self.requests: list[DecisionRequest] = []
        self.waiting: list[Deferred[Decision]] = []
        self.cancelled = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        self.requests.append(request)
        self.waiting.append(Deferred(self._cancel))
        return self.waiting[-1]

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def check_ready(self) -> Deferred[None]:
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        raise NotImplementedError


def post(*headers: tuple[str, str], **given: Any) -> DecisionRequest:
    """Return a request with content."""
    return request("POST", "http://a.test/", headers=headers, **given)


class DecodingTests(SynchronousTestCase):
    """The content in authorization requests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = Recorder()
        self.decoder = self.make()

    def make(self, limit: int = 1 << 20, memory: int = 1 << 20) -> DecodingAuthorizer:
        return DecodingAuthorizer(self.clock, self.inner, limit=limit, memory=memory)

    def decide(self, authz_request: DecisionRequest) -> DecisionRequest:
        """Return the request that the inner authorizer gets, and let it decide."""
        decision = self.decoder.decide(authz_request)
        while not self.inner.requests:
            self.clock.advance(0.001)
        self.inner.waiting.pop().callback(ALLOW)
        self.assertEqual(self.successResultOf(decision), ALLOW)
        self.assertEqual(self.decoder.held, 0)
        return self.inner.requests.pop()

    def test_nothing_to_decode(self) -> None:
        for authz_request in (
            post(body=b"x"),
            post(("Content-Encoding", "identity"), body=b"x"),
            post(GZIP),
            post(GZIP, body=b""),
            post(GZIP, body_withheld=True),
            post(GZIP, body=b"x", message=Message(MessageKind.SSE, Direction.ORIGIN, "message", 1)),
        ):
            self.assertIs(self.decide(authz_request), authz_request)

    def test_decoded(self) -> None:
        body = gzip.compress(b"hello")
        found = self.decide(post(GZIP, body=body))
        self.assertEqual((found.decoded_body, found.body, found.undecodable), (b"hello", body, None))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_steps(self) -> None:
        """Long content is decoded in later turns, and its memory is held until the decision."""
        decision = self.decoder.decide(post(GZIP, body=gzip.compress(LONG)))
        self.assertEqual(self.inner.requests, [])
        while not self.inner.requests:
            self.assertGreater(self.decoder.held, 0)
            self.clock.advance(0.001)
        self.assertEqual(self.inner.requests[0].decoded_body, LONG)
        self.assertEqual(self.decoder.held, len(LONG))
        self.inner.waiting[0].errback(ValueError())
        self.failureResultOf(decision, ValueError)
        self.assertEqual(self.decoder.held, 0)

    def test_undecodable(self) -> None:
        members = "its content has several gzip members or zstd frames, and some servers read only the first"
        invalid = "its content is not complete, valid gzip (send it without Content-Encoding)"
        for expected, headers, given in (
            (invalid, (GZIP,), {"body": b"x"}),
            ("only the beginning of its content is known", (GZIP,), {"body": b"x", "body_truncated": True}),
            (members, (GZIP,), {"body": gzip.compress(b"a") * 2}),
        ):
            found = self.decide(post(*headers, **given))
            self.assertEqual((found.undecodable, found.decoded_body, found.body), (expected, None, given["body"]))
        self.assertIn(
            "gzip, deflate, br and zstd", self.decide(post(("Content-Encoding", "x"), body=b"x")).undecodable or ""
        )
        self.decoder = self.make(limit=9)
        found = self.decide(post(GZIP, body=gzip.compress(b"0123456789")))
        self.assertIn("its decoded content is longer than 9 bytes", found.undecodable or "")

    def test_memory(self) -> None:
        """Memory is limited in total, and a client gets at most its share."""
        body = gzip.compress(LONG)
        memory = "the decoded content of other requests uses all memory (the operator can increase --body-memory)"
        self.decoder = self.make(memory=len(LONG))
        # Compressed bytes count while content is decoded.
        self.assertEqual(self.decide(post(GZIP, body=body)).undecodable, memory)
        self.decoder = self.make(memory=4 * len(LONG))
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            self.decoder.decide(post(GZIP, body=body, address=address))
            self.clock.pump([0.001] * 20)
        self.assertEqual([one.undecodable for one in self.inner.requests], [None, memory, None])

    def test_cancelled(self) -> None:
        for turns in (0, 20):
            decision = self.decoder.decide(post(GZIP, body=gzip.compress(LONG)))
            self.clock.pump([0.001] * turns)
            decision.cancel()
            self.failureResultOf(decision, CancelledError)
            self.assertEqual(self.decoder.held, 0)
            self.clock.pump([0.001] * 20)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((len(self.inner.requests), self.inner.cancelled), (1, 1))

    def test_bug(self) -> None:
        def broken(*_: object) -> Any:
            raise ArithmeticError
            yield

        self.patch(content_decoding, "decoding", broken)
        self.failureResultOf(self.decoder.decide(post(GZIP, body=b"x")), ArithmeticError)
        self.assertEqual(self.decoder.held, 0)

    def test_wrapper(self) -> None:
        self.assertEqual((self.decoder.name, self.decoder.needs_body), ("recorder", True))


class PreviewTests(SynchronousTestCase):
    """The content for approvers."""

    def test_decoded(self) -> None:
        for expected, authz_request in (
            (b"hello", post(GZIP, body=gzip.compress(b"hello"))),
            (None, post(body=b"hello")),
            (None, post(GZIP)),
            (None, post(GZIP, body=b"hello")),
            (None, post(GZIP, body=gzip.compress(b"hello"), body_truncated=True)),
            (None, post(GZIP, body=gzip.compress(b"hello") * 2)),
            (None, post(GZIP, body=gzip.compress(bytes(256 * 1024 + 1)))),
            (None, post(GZIP, body=gzip.compress(b"hello") + bytes(MAX_SHOWN))),
        ):
            self.assertEqual(decoded_for_preview(authz_request), expected)
