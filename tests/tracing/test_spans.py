"""Tests for L{egress.tracing.spans}."""

from __future__ import annotations

from itertools import count
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.grpc_result import GrpcResult
from egress.model.record import ExchangeRecord
from egress.model.trace import ExchangeTrace, TraceContext
from egress.tracing.spans import Span, SpanKind, spans_of
from tests.observability.records import ALLOWED, REFUSED

MS = 1_000_000
START = 1_700_000_000_250 * MS
PARENT = TraceContext("a" * 32, "b" * 16, True)
CONNECTED = (
    ("request", 7.0),
    ("decision", 7.001),
    ("dns", 7.004),
    ("connect", 7.01),
    ("tls", 7.02),
    ("send", 7.03),
    ("wait", 7.05),
    ("receive", 7.06),
)


def spans(
    record: ExchangeRecord,
    *,
    decisions: int = 0,
    attempts: int = 0,
    parent: TraceContext | None = None,
    remote: bool = True,
) -> list[Span]:
    """Return the spans of a record, whose decisions and requests have ids already."""
    numbers, later = count(1), count(100)
    trace = ExchangeTrace(parent, "a" * 32, lambda: f"{next(numbers):016x}", sampled=True, propagates=False)
    for _ in range(decisions):
        trace.begin_decision()
    for _ in range(attempts):
        trace.begin_attempt()
    return spans_of(record, trace, lambda: f"{next(later):016x}", remote=remote)


def changed(**fields: Any) -> ExchangeRecord:
    return attrs.evolve(ALLOWED, **fields)


class TreeTests(SynchronousTestCase):
    """The spans of an exchange, their parents, and their times."""

    def test_new_connection(self) -> None:
        found = spans(changed(phases=CONNECTED), decisions=1, attempts=1, parent=PARENT)
        self.assertEqual([each.name for each in found], ["POST", "decision", "dns", "connect", "tls", "POST"])
        self.assertEqual([int(each.span_id, 16) for each in found], [1, 2, 100, 101, 102, 3])
        self.assertEqual(found[0].parent_id, PARENT.span_id)
        self.assertEqual({each.parent_id for each in found[1:]}, {found[0].span_id})
        times = [(round((each.start - START) / MS), round((each.end - START) / MS)) for each in found]
        self.assertEqual(times, [(0, 100), (1, 4), (4, 10), (10, 20), (20, 30), (30, 100)])
        self.assertEqual(
            [each.kind for each in found],
            [SpanKind.SERVER, SpanKind.CLIENT, *[SpanKind.INTERNAL] * 3, SpanKind.CLIENT],
        )

    def test_pooled_connection(self) -> None:
        found = spans(ALLOWED, remote=False)
        self.assertEqual([each.name for each in found], ["POST", "decision", "POST"])
        self.assertEqual(found[1].kind, SpanKind.INTERNAL)
        self.assertIs(found[2].attributes["egress.connection.reused"], True)
        self.assertIsNone(found[0].parent_id)

    def test_cached_decision(self) -> None:
        self.assertEqual(spans(changed(source="cache"))[1].kind, SpanKind.INTERNAL)

    def test_retried(self) -> None:
        """The request on the stale connection, and the one that replaced it, have spans of their own."""
        phases = (
            *(("request", 7.0), ("decision", 7.0), ("reused", 7.0), ("wait", 7.0)),
            *(("connect", 7.02), ("wait", 7.03), ("receive", 7.05)),
        )
        _, _, stale, _, second = found = spans(changed(phases=phases), decisions=1, attempts=2)
        self.assertEqual([each.name for each in found], ["POST", "decision", "POST", "connect", "POST"])
        self.assertEqual((int(stale.span_id, 16), int(second.span_id, 16)), (3, 4))
        self.assertEqual(stale.attributes["error.type"], "origin-disconnected")
        self.assertNotIn("http.response.status_code", stale.attributes)
        self.assertEqual(second.attributes["http.request.resend_count"], 1)
        self.assertNotIn("error.type", second.attributes)

    def test_several_decisions(self) -> None:
        phases = (("request", 7.0), ("decision", 7.0), ("dns", 7.01), ("decision", 7.02))
        found = spans(changed(phases=phases), decisions=2)
        self.assertEqual([int(each.span_id, 16) for each in found], [1, 2, 100, 3])

    def test_tunnel(self) -> None:
        phases = (("request", 7.0), ("decision", 7.0), ("connect", 7.01), ("relay", 7.02))
        record = changed(phases=phases, stage="tunnel", method="CONNECT", url="https://[2001:db8::1]:8443")
        found = spans(record, decisions=1)
        self.assertEqual([each.name for each in found], ["CONNECT", "decision", "connect", "CONNECT"])
        self.assertEqual(found[0].attributes["server.address"], "2001:db8::1")
        self.assertEqual(found[0].attributes["server.port"], 8443)

    def test_versions(self) -> None:
        """Each side has its version of HTTP; a connection that is opened has none yet."""
        phases = (("request", 7.0), ("connect", 7.01), ("wait", 7.02))
        found = spans(changed(phases=phases))
        versions = [each.attributes.get("network.protocol.version") for each in found]
        self.assertEqual(versions, ["2", None, "1.1"])
        self.assertNotIn("network.protocol.version", spans(REFUSED)[0].attributes)

    def test_without_phases(self) -> None:
        (found,) = spans(REFUSED)
        self.assertEqual((found.name, found.kind), ("HTTP", SpanKind.SERVER))


class AttributeTests(SynchronousTestCase):
    """The attributes follow the semantic conventions for HTTP."""

    def test_exchange(self) -> None:
        root = spans(ALLOWED)[0]
        self.assertEqual(
            root.attributes,
            {
                "http.request.method": "POST",
                "url.full": "https://api.example.com/v1/items?page=2&token=REDACTED",
                "url.scheme": "https",
                "server.address": "api.example.com",
                "server.port": 443,
                "client.address": "127.0.0.1",
                "client.port": 52314,
                "http.response.status_code": 201,
                "http.request.body.size": 12,
                "http.response.body.size": 345,
                "network.protocol.version": "2",
                "egress.request.id": "abc123",
                "egress.client.identity": "runner-7",
                "egress.stage": "request",
                "egress.outcome": "forwarded",
                "egress.verdict": "allow",
                "egress.reason": "writes to the items are allowed",
                "egress.decided_by": "authz.example",
                "egress.rule.id": "items-write",
                "egress.policy.version": "7-3f9a0c1b2d4e",
            },
        )
        self.assertIsNone(root.error)

    def test_origin(self) -> None:
        origin = spans(ALLOWED)[-1]
        for name, value in (("network.peer.address", "192.0.2.9"), ("http.response.status_code", 201)):
            self.assertEqual(origin.attributes[name], value)

    def test_grpc(self) -> None:
        for status, code in (("OK", 0), ("NOT_FOUND", 5), (None, None)):
            attributes = spans(changed(grpc=GrpcResult("a.B", "C", status)))[0].attributes
            found = [attributes.get(f"rpc.{name}") for name in ("system", "service", "method", "grpc.status_code")]
            self.assertEqual(found, ["grpc", "a.B", "C", code])

    def test_other_methods(self) -> None:
        """Clients choose methods, so an unusual one is no name of a span."""
        root = spans(changed(method="get"))[0]
        self.assertEqual(root.name, "HTTP")
        self.assertEqual(root.attributes["http.request.method"], "_OTHER")
        self.assertEqual(root.attributes["http.request.method_original"], "get")
        self.assertNotIn("http.request.method_original", spans(REFUSED)[0].attributes)

    def test_urls(self) -> None:
        self.assertEqual(spans(changed(url="http://a.test"))[0].attributes["server.port"], 80)
        for url in ("", "what a client sent"):
            self.assertNotIn("server.address", spans(changed(url=url))[0].attributes)

    def test_denied(self) -> None:
        """A denial is a result, and no error."""
        record = changed(verdict="deny", outcome="denied", status=403, reason="no", phases=CONNECTED[:2], rule_id=None)
        root, decision = spans(record)
        self.assertEqual((root.error, decision.error), (None, None))
        self.assertEqual(root.attributes["error.type"], "denied")
        self.assertNotIn("error.type", decision.attributes)
        self.assertNotIn("egress.rule.id", root.attributes)

    def test_unavailable(self) -> None:
        record = changed(
            verdict="unavailable", outcome="authorizer-unavailable", status=503, reason="late", phases=CONNECTED[:2]
        )
        root, decision = spans(record)
        self.assertEqual((root.error, decision.error), ("late", "late"))
        self.assertEqual(decision.attributes["error.type"], "authorizer-unavailable")

    def test_failed_connection(self) -> None:
        record = changed(outcome="origin-unreachable", status=502, reason="refused", phases=CONNECTED[:4])
        root, decision, dns, connect = spans(record)
        self.assertEqual([each.error for each in (root, decision, dns, connect)], ["refused", None, None, "refused"])
        self.assertEqual(connect.attributes["error.type"], "origin-unreachable")
        self.assertEqual(connect.attributes["server.address"], "api.example.com")

    def test_broken_response(self) -> None:
        record = changed(outcome="origin-disconnected", reason="closed", phases=CONNECTED)
        found = spans(record)
        self.assertEqual((found[0].error, found[-1].error), (None, "closed"))
