"""Tests for L{egress.authz.protocols.request_json}.  The tests of the C{/validate} contract cover content and fields,
too.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.request_json import add_content, add_context, destination, encoded, to_json
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Stage
from egress.model.errors import AuthorizerUnavailable
from egress.model.message import Direction, Message, MessageKind
from tests.authz.protocols.requests import changed


class RequestTests(SynchronousTestCase):
    """The members of a request."""

    def content(self, **changes: Any) -> dict[str, Any]:
        said: dict[str, Any] = {}
        add_content(said, changed(**changes))
        return said

    def test_content(self) -> None:
        for changes, expected in (
            ({}, {}),
            ({"body": b"abc", "content_length": 3}, {"body": "abc", "contentLength": 3}),
            ({"body": b"abc", "content_length": None}, {"body": "abc"}),
            ({"body_withheld": True, "content_length": 9}, {"bodyWithheld": True, "contentLength": 9}),
            ({"body_withheld": True, "content_length": None}, {"bodyWithheld": True}),
            (
                {"body": b"\x1f\x8b", "content_length": 2, "decoded_body": b"abc"},
                {"body": "H4s=", "bodyEncoding": "base64", "decodedBody": "abc", "contentLength": 2},
            ),
            (
                {"body": b"abc", "content_length": 3, "decoded_body": b"\xff"},
                {"body": "abc", "decodedBody": "/w==", "decodedBodyEncoding": "base64", "contentLength": 3},
            ),
            (
                {"body": b"abc", "content_length": 3, "decoded_body": b""},
                {"body": "abc", "decodedBody": "", "contentLength": 3},
            ),
            (
                {"body": b"abc", "content_length": 3, "undecodable": "why"},
                {"body": "abc", "decodedBodyError": "why", "contentLength": 3},
            ),
            # Content that is present is not withheld.
            ({"body": b"abc", "body_withheld": True, "content_length": 3}, {"body": "abc", "contentLength": 3}),
        ):
            with self.subTest(changes):
                self.assertEqual(self.content(**changes), expected)

    def test_context(self) -> None:
        for changes, expected in (
            ({}, {"client": {"address": "192.0.2.1"}, "stage": "request"}),
            (
                {"client": ClientIdentity("192.0.2.1", 1, "ci"), "stage": Stage.TUNNEL},
                {"client": {"address": "192.0.2.1", "identity": "ci"}, "stage": "tunnel"},
            ),
            (
                {"addresses": (ip_address("192.0.2.7"), ip_address("2001:db8::1"))},
                {
                    "client": {"address": "192.0.2.1"},
                    "stage": "request",
                    "addresses": ["192.0.2.7", "2001:db8::1"],
                },
            ),
            (
                {"method": "POST", "path": "/a.B/C", "headers": ((b"Content-Type", b"application/grpc"),)},
                {
                    "client": {"address": "192.0.2.1"},
                    "stage": "request",
                    "grpc": {"service": "a.B", "method": "C"},
                },
            ),
            ({"addresses": ()}, {"client": {"address": "192.0.2.1"}, "stage": "request"}),
        ):
            with self.subTest(changes):
                said: dict[str, Any] = {}
                add_context(said, changed(**changes))
                self.assertEqual(said, {"requestId": "id-1", **expected})

    def test_message(self) -> None:
        document: dict[str, Any] = {}
        message = Message(MessageKind.WEBSOCKET, Direction.CLIENT, "text", 3)
        add_context(document, changed(stage=Stage.MESSAGE, message=message))
        self.assertEqual(document["stage"], "message")
        expected = {"kind": "websocket", "direction": "client", "type": "text", "sequence": 3}
        self.assertEqual(document["message"], expected)
        add_context(document, changed(stage=Stage.MESSAGE, message=attrs.evolve(message, rule_id="chat")))
        self.assertEqual(document["message"], {**expected, "ruleId": "chat"})

    def test_destination(self) -> None:
        parts = {"scheme": "https", "host": "example.com", "port": 8443}
        for path, expected in (
            ("/a/b?c=d", {"path": "/a/b", "query": "c=d"}),
            ("/a?", {"path": "/a", "query": ""}),
            ("/a", {"path": "/a"}),
        ):
            with self.subTest(path):
                self.assertEqual(destination(changed(path=path)), {**parts, **expected})

    def test_to_json(self) -> None:
        """The encoder of C{json}, without what it does for each call."""
        values: tuple[object, ...] = (
            {"a": 'é\U0001f600\ud800\x00"\\', "b": [1, 1.5, None, True, {}], "": []},
            {},
            "text",
            [],
        )
        for value in values:
            with self.subTest(repr(value)):
                expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                self.assertEqual(to_json(value), expected)
        self.assertRaises(TypeError, to_json, {"a": object()})

    def test_encoded(self) -> None:
        self.assertEqual(json.loads(encoded({"a": "ä"})), {"a": "ä"})
        error = self.assertRaises(AuthorizerUnavailable, encoded, {"a": "\udcff"})
        self.assertIs(error.kind, AuthzFailure.REQUEST)
