"""Tests for L{egress.observability.ocsf}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from twisted.trial.unittest import SynchronousTestCase

from egress.model.change import Actor, Change, ChangeKind
from egress.model.decision import ClientIdentity
from egress.model.errors import OUTCOMES
from egress.model.grpc_result import GrpcResult
from egress.model.record import ExchangeRecord
from egress.observability.audit_log import audit_line
from egress.observability.ocsf import UNMAPPED, VERSION, ocsf_event
from tests.observability.records import ALLOWED, REFUSED

HEADERS = (("User-Agent", "curl/8"), ("", "3"))
DENIED = attrs.evolve(ALLOWED, verdict="deny", outcome="denied", status=403, address=None, request_headers=HEADERS)


def fields_of(record: ExchangeRecord) -> dict[str, Any]:
    """Return a record as a reader of the audit log sees it."""
    found: dict[str, Any] = json.loads(audit_line(record))
    return found


def records() -> Iterator[ExchangeRecord]:
    """Yield records of every kind."""
    yield from (ALLOWED, DENIED, REFUSED)
    yield attrs.evolve(ALLOWED, source="cache")
    yield attrs.evolve(ALLOWED, observed="deny", response_headers=HEADERS)
    yield attrs.evolve(ALLOWED, upstream="proxy.example:3128", address=None)
    yield attrs.evolve(ALLOWED, upstream="[2001:db8::1]:3128", client=ClientIdentity("user 1000", 0))
    yield attrs.evolve(ALLOWED, stage="tunnel", method="CONNECT", url="https://[2001:db8::5]:8443", rule_id=None)
    yield attrs.evolve(ALLOWED, method="PROPFIND", url="http://a.example", status=None, outcome="origin-timeout")
    yield attrs.evolve(REFUSED, url="http://[::1", method="GET")
    for outcome in OUTCOMES.values():
        yield attrs.evolve(ALLOWED, verdict=outcome.verdict, outcome=outcome.code)
    for verdict in ("allow", "deny", "ask", "need-body", "need-addresses"):
        yield attrs.evolve(ALLOWED, verdict=verdict, outcome="decided", status=None)


class OcsfTests(SynchronousTestCase):
    """Events."""

    def event(self, record: ExchangeRecord) -> dict[str, Any]:
        return ocsf_event(fields_of(record), "1.2.3")

    def test_schema(self) -> None:
        """Each event is valid by the schema of OCSF."""
        schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION)).get_class_schema(
            "http_activity", ["security_control", "network_proxy"]
        )
        validator = jsonschema.Draft202012Validator(schema)
        number = 0
        for record in records():
            number += 1
            event = self.event(record)
            errors = [error.message for error in validator.iter_errors(event)]
            self.assertEqual(errors, [], event)
        self.assertGreater(number, 40)
        self.assertNotEqual(list(validator.iter_errors({**self.event(ALLOWED), "activity_id": "x"})), [])
        self.assertNotEqual(list(validator.iter_errors({"class_uid": 4002})), [])

    def test_allowed(self) -> None:
        self.assertEqual(
            self.event(ALLOWED),
            {
                "metadata": {
                    "version": "1.5.0",
                    "product": {"name": "egressproxy", "vendor_name": "egressproxy", "version": "1.2.3"},
                    "profiles": ["security_control", "network_proxy"],
                    "uid": "abc123",
                    "original_time": "2023-11-14T22:13:20.250Z",
                    "log_name": "audit",
                },
                "category_uid": 4,
                "class_uid": 4002,
                "activity_id": 6,
                "type_uid": 400206,
                "severity_id": 1,
                "time": 1700000000250,
                "duration": 100,
                "message": "writes to the items are allowed",
                "status_id": 1,
                "status_code": "forwarded",
                "status_detail": "writes to the items are allowed",
                "action_id": 1,
                "disposition_id": 1,
                "policy": {"name": "authz.example", "version": "7-3f9a0c1b2d4e"},
                "firewall_rule": {"uid": "items-write"},
                "src_endpoint": {"ip": "127.0.0.1", "port": 52314, "owner": {"name": "runner-7"}},
                "dst_endpoint": {"hostname": "api.example.com", "port": 443, "ip": "192.0.2.9"},
                "http_request": {
                    "uid": "abc123",
                    "http_method": "POST",
                    "url": {
                        "url_string": "https://api.example.com/v1/items?page=2&token=REDACTED",
                        "scheme": "https",
                        "hostname": "api.example.com",
                        "port": 443,
                        "path": "/v1/items",
                        "query_string": "page=2&token=REDACTED",
                    },
                    "version": "2",
                },
                "http_response": {"code": 201},
                "traffic": {"bytes_out": 12, "bytes_in": 345, "bytes": 357},
                "unmapped": {
                    "stage": "request",
                    "verdict": "allow",
                    "decisionMs": 12.346,
                    "phases": fields_of(ALLOWED)["phases"],
                    "originHttp": "1.1",
                },
            },
        )

    def test_change(self) -> None:
        """A change by an administrator is an API Activity, which is valid by the schema of OCSF."""
        schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION)).get_class_schema("api_activity", [])
        validator = jsonschema.Draft202012Validator(schema)
        actor = Actor(role="admin", address="10.0.0.1", port=7, place="console")
        for kind in ChangeKind:
            change = Change(kind, "the policy was a, and is b", actor)
            event = ocsf_event(json.loads(audit_line(change.record(1_700_000_000.0, "abc"))), "1.0")
            self.assertEqual([error.message for error in validator.iter_errors(event)], [], event)
            self.assertEqual((event["class_uid"], event["category_uid"]), (6003, 6))
            self.assertEqual(event["type_uid"], 600300 + event["activity_id"])
            self.assertEqual(event["actor"], {"user": {"name": "admin"}})
            self.assertEqual(event["src_endpoint"], {"ip": "10.0.0.1", "port": 7})
            self.assertEqual(event["api"]["operation"], kind.value)
            self.assertEqual(event["status_id"], 2 if kind is ChangeKind.RELOAD_FAILED else 1)
            self.assertEqual((event["message"], event["time"]), (change.text, 1_700_000_000_000))

    def test_effects(self) -> None:
        """The action, the disposition, the severity and the status of each verdict."""
        for changes, expected in (
            ({}, (1, 1, 1, 1)),
            ({"outcome": "origin-timeout"}, (1, 27, 2, 2)),
            ({"observed": "deny"}, (3, 17, 3, 1)),
            ({"verdict": "deny", "outcome": "denied"}, (2, 2, 3, 2)),
            ({"verdict": "unavailable", "outcome": "authorizer-unavailable"}, (2, 27, 4, 2)),
            ({"verdict": "rejected", "outcome": "bad-request"}, (2, 25, 2, 2)),
            ({"verdict": "failed", "outcome": "internal-error"}, (2, 27, 2, 2)),
            ({"verdict": "ask", "outcome": "decided"}, (0, 17, 1, 1)),
        ):
            event = self.event(attrs.evolve(ALLOWED, **changes))  # type: ignore[arg-type]
            found = tuple(event[key] for key in ("action_id", "disposition_id", "severity_id", "status_id"))
            self.assertEqual(found, expected, changes)

    def test_every_key(self) -> None:
        """Each key of a record has a place: another value changes the event."""
        original = {**fields_of(ALLOWED), "requestHeaders": [["a", "b"]], "responseHeaders": [["a", "b"]]}
        others = {
            **dict.fromkeys(original, "other"),
            "time": "2024-01-01T00:00:00.000Z",
            "client": "192.0.2.1:1",
            "url": "http://b.example/x",
            **dict.fromkeys(("decisionMs", "status", "bytesSent", "bytesReceived", "durationMs"), 77),
            "phases": [],
            "requestHeaders": [["c", "d"]],
            "responseHeaders": [["c", "d"]],
        }
        before = ocsf_event(original, "1")
        for key, value in others.items():
            with self.subTest(key):
                self.assertNotEqual(ocsf_event({**original, key: value}, "1"), before)
        self.assertLessEqual(set(UNMAPPED), original.keys())

    def test_grpc(self) -> None:
        event = self.event(attrs.evolve(ALLOWED, grpc=GrpcResult("a.B", "C", "OK")))
        self.assertEqual(event["unmapped"]["grpc"], {"service": "a.B", "method": "C", "status": "OK"})

    def test_unknown_method(self) -> None:
        """OCSF has a fixed list of methods."""
        event = self.event(attrs.evolve(ALLOWED, method="PROPFIND"))
        self.assertEqual((event["activity_id"], event["type_uid"]), (99, 400299))
        self.assertNotIn("http_method", event["http_request"])
        self.assertEqual(event["unmapped"]["method"], "PROPFIND")

    def test_headers(self) -> None:
        event = self.event(DENIED)
        self.assertEqual(event["http_request"]["http_headers"][0], {"name": "User-Agent", "value": "curl/8"})

    def test_endpoints(self) -> None:
        for upstream, expected in (
            ("proxy.example:3128", {"name": "proxy.example", "port": 3128}),
            ("[2001:db8::1]:3128", {"ip": "2001:db8::1", "port": 3128}),
        ):
            self.assertEqual(self.event(attrs.evolve(ALLOWED, upstream=upstream))["proxy_endpoint"], expected)
        client = self.event(attrs.evolve(ALLOWED, client=ClientIdentity("fe80::1%eth0", 5)))["src_endpoint"]
        self.assertEqual(client, {"ip": "fe80::1", "port": 5})
