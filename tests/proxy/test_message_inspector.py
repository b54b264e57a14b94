"""Tests for L{egress.proxy.message_inspector}.  The tests of the gate and the forwarder cover the rest."""

from __future__ import annotations

import attrs

from egress.messages.splitter import Piece
from egress.model.decision import Decision, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.message import Direction, Message, MessageKind, MessageObligation
from egress.proxy.message_inspector import MessageInspector, inspector_for
from tests.proxy.fakes import ProxyTestCase, allow, allow_with, broken, deny
from tests.proxy.test_message_gate import REQUEST

PIECE = Piece(b"(hello)", "text", b"hello")


class InspectorTests(ProxyTestCase):
    """The authorization of messages."""

    def setUp(self) -> None:
        super().setUp()
        decision = attrs.evolve(allow(), rule_id=None)
        request = attrs.evolve(REQUEST, body=b"large", addresses_withheld=True, headers=((b"A", b"b"),))
        self.inspector = MessageInspector(self.proxy.parts.authz, request, decision, MessageObligation())

    def test_only_if_the_decision_requires_it(self) -> None:
        context = self.proxy.parts.authz
        self.assertIsNone(inspector_for(context, REQUEST, allow_with(max_bytes=1)))
        inspector = inspector_for(context, REQUEST, allow_with(messages=MessageObligation(max_size=7)))
        assert inspector is not None
        self.assertEqual((inspector.terms.max_size, inspector.client), (7, "198.51.100.7"))

    def test_request(self) -> None:
        request = self.inspector.request(PIECE, MessageKind.SSE, Direction.ORIGIN, 4)
        self.assertEqual(request.message, Message(MessageKind.SSE, Direction.ORIGIN, "text", 4))
        self.assertEqual((request.stage, request.body, request.content_length), (Stage.MESSAGE, b"hello", 5))
        self.assertEqual((request.url, request.headers), (REQUEST.url, ((b"A", b"b"),)))
        self.assertFalse(request.addresses_withheld)

    def test_content_fields_of_the_request(self) -> None:
        """They do not describe a message, except in gRPC: no authorizer reads an event by the type of a form."""
        fields = (
            (b"Accept", b"text/event-stream"),
            (b"Content-Type", b"application/x-www-form-urlencoded"),
            (b"content_encoding", b"gzip"),
            (b"Content-Length", b"3"),
            (b"Repr-Digest", b"sha-256=:AA==:"),
            (b"Contents", b"x"),
        )
        request = attrs.evolve(REQUEST, method="POST", headers=fields)
        inspector = MessageInspector(self.proxy.parts.authz, request, allow(), MessageObligation())
        for kind, direction, expected in (
            (MessageKind.SSE, Direction.ORIGIN, (fields[0], fields[-1])),
            (MessageKind.WEBSOCKET, Direction.CLIENT, (fields[0], fields[-1])),
            (MessageKind.GRPC, Direction.ORIGIN, fields),
            (MessageKind.GRPC, Direction.CLIENT, fields),
        ):
            with self.subTest(f"{kind} {direction}"):
                self.assertEqual(inspector.request(PIECE, kind, direction, 1).headers, expected)

    def test_results_that_are_no_decision(self) -> None:
        request = self.inspector.request(PIECE, MessageKind.SSE, Direction.ORIGIN, 4)
        for answer in (
            Decision(Verdict.NEED_BODY, "more", "script"),
            Decision(Verdict.ASK, "somebody", "script"),
            allow_with(max_bytes=1),
            lambda: None,
        ):
            self.authorizer.answers = [answer]
            self.failureResultOf(self.inspector.authorize(request), AuthorizerUnavailable)
        self.authorizer.answers = [broken]
        self.failureResultOf(self.inspector.authorize(request), AuthorizerUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.authorizer.answers = [AuthorizerUnavailable("down")]
        failure = self.failureResultOf(self.inspector.authorize(request), AuthorizerUnavailable)
        self.assertEqual(failure.value.reason, "down")
        pending = self.authorizer.pending()
        call = self.inspector.authorize(request)
        pending.cancel()
        self.failureResultOf(call, AuthorizerUnavailable)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_denial_that_observe_mode_lets_pass_is_recorded(self) -> None:
        for direction, sent, received in ((Direction.CLIENT, 5, 0), (Direction.ORIGIN, 0, 5)):
            request = self.inspector.request(PIECE, MessageKind.SSE, direction, 4)
            self.inspector.forwarded(request, allow())
            self.assertEqual(self.records, [])
            observed = attrs.evolve(deny(), verdict=Verdict.ALLOW, observed="deny", source="cache")
            self.inspector.forwarded(request, observed)
            (record,) = self.records
            self.assertEqual((record.verdict, record.outcome, record.observed), ("allow", "forwarded", "deny"))
            self.assertEqual((record.reason, record.rule_id, record.source), ("not today", "rule-2", "cache"))
            self.assertEqual((record.bytes_sent, record.bytes_received), (sent, received))
            self.assertEqual(self.proxy.parts.authz.message_counts.counts["allow", "sse", direction.value], 2)
            self.records.clear()

    def test_without_a_decision(self) -> None:
        request = self.inspector.request(PIECE, MessageKind.SSE, Direction.CLIENT, 4)
        self.inspector.refused(request, None, AuthorizerUnavailable("down"))
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome), ("unavailable", "authorizer-unavailable"))
        self.assertEqual((record.decided_by, record.bytes_sent, record.request_id), ("script", 0, "id-1.client.4"))
