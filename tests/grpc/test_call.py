"""Tests for L{egress.grpc.call}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Call, Kind, call_of, kind_of, kind_of_request, may_be_call

PATH = "/users.v1.Users/Get"
GRPC = (b"Content-Type", b"application/grpc")


class KindTests(SynchronousTestCase):
    """The content types of gRPC."""

    def test_kinds(self) -> None:
        for value, kind in {
            b"application/grpc": Kind.GRPC,
            b"Application/GRPC": Kind.GRPC,
            b"application/grpc+proto": Kind.GRPC,
            b"application/grpc+json": Kind.GRPC,
            b"application/grpc; charset=utf-8": Kind.GRPC,
            b"application/grpc-web": Kind.WEB,
            b"application/grpc-web+proto": Kind.WEB,
            b"application/grpc-web-text": Kind.WEB_TEXT,
            b"application/grpc-web-text+proto": Kind.WEB_TEXT,
        }.items():
            self.assertIs(kind_of(value), kind, value)

    def test_other_types(self) -> None:
        for value in (
            b"",
            b"application/json",
            b"application/grpcx",
            b"application/grpc+",
            b"application/grpc-webx",
            b"application/grpc, text/plain",
            b"text/plain; application/grpc",
            b" application/grpc",
        ):
            self.assertIsNone(kind_of(value), value)

    def test_of_a_request(self) -> None:
        self.assertIs(kind_of_request("POST", ((b"A", b"b"), GRPC)), Kind.GRPC)
        self.assertIsNone(kind_of_request("GET", (GRPC,)))
        self.assertIsNone(kind_of_request("POST", ()))
        self.assertIsNone(kind_of_request("POST", (GRPC, GRPC)))


class CallTests(SynchronousTestCase):
    """The recognition of calls."""

    def test_call(self) -> None:
        self.assertEqual(call_of("POST", PATH, (GRPC,)), Call(Kind.GRPC, "proto", "users.v1.Users", "Get"))
        web = (b"content-type", b"application/grpc-web+JSON")
        self.assertEqual(call_of("POST", "/Users/Get", (web,)), Call(Kind.WEB, "json", "Users", "Get"))

    def test_ambiguous_paths(self) -> None:
        for path in (
            "",
            "*",
            "/users.v1.Users",
            "/users.v1.Users/",
            "//Get",
            "/a/users.v1.Users/Get",
            "/users.v1.Users/Get/",
            "/users.v1.Users/Get?a",
            "/users.v1.Users/%47et",
            "/users..Users/Get",
            "/.users/Get",
            "/users.1/Get",
            "/users.v1.Users/Get\n",
            "/users.v1.Users/Gét",
        ):
            self.assertIsNone(call_of("POST", path, (GRPC,)), path)

    def test_other_requests(self) -> None:
        self.assertIsNone(call_of("GET", PATH, (GRPC,)))
        self.assertIsNone(call_of("POST", PATH, ()))
        self.assertIsNone(call_of("POST", PATH, ((b"Content-Type", b"application/json"),)))

    def test_two_content_types(self) -> None:
        # Some servers read another spelling of the field.
        self.assertIsNone(call_of("POST", PATH, (GRPC, (b"content_type", b"text/plain"))))
        self.assertIsNone(call_of("POST", PATH, ((b"content_type", b"application/grpc"),)))

    def test_requests_that_some_servers_may_read_as_calls(self) -> None:
        self.assertTrue(may_be_call(((b"Content_Type", b"x/y, application/GRPC"),)))
        self.assertTrue(may_be_call(((b"A", b"b"), GRPC)))
        self.assertFalse(may_be_call(((b"A", b"grpc"), (b"Content-Type", b"text/plain"))))
