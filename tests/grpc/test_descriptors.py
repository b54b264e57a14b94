"""Tests for L{egress.grpc.descriptors}."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from google.protobuf import descriptor_pb2
from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.descriptors import Descriptors, InvalidDescriptors, InvalidMessage, Method
from tests.grpc.descriptor_sets import ROLES, USERS, descriptor_set, user, user_type


def free(number: int) -> None:
    """Permit any work."""


class DescriptorsTests(SynchronousTestCase):
    """The files."""

    def method(self, name: str = "Get") -> Method:
        found = Descriptors([descriptor_set()]).find("users.v1.Users", name)
        assert found is not None
        return found

    def fault(self, *contents: bytes) -> str:
        return str(self.assertRaises(InvalidDescriptors, Descriptors, contents))

    def test_methods(self) -> None:
        found = Descriptors([descriptor_set()])
        self.assertEqual(
            [(method.name, method.client_streams) for method in found.methods],
            [("Get", False), ("Delete", False), ("Watch", False), ("Upload", True), ("Chat", True)],
        )
        self.assertIsNone(found.find("users.v1.Users", "get"))
        self.assertIsNone(found.find("Users", "Get"))

    def test_any_order_and_several_files(self) -> None:
        for contents in (
            [descriptor_set(USERS, ROLES)],
            [descriptor_set(USERS), descriptor_set(ROLES)],
            [descriptor_set(), descriptor_set(ROLES)],
        ):
            self.assertIsNotNone(Descriptors(contents).find("users.v1.Users", "Get"))

    def test_errors(self) -> None:
        self.assertEqual(
            self.fault(b"\xff"),
            "is not a descriptor set; write it with protoc --include_imports --descriptor_set_out=FILE",
        )
        self.assertEqual(self.fault(descriptor_set(USERS)), "lacks roles.proto; write it with protoc --include_imports")
        other = descriptor_pb2.FileDescriptorProto(name="roles.proto")
        self.assertEqual(
            self.fault(descriptor_set(), descriptor_set(other)),
            "roles.proto is in two descriptor sets, with different contents",
        )
        circle = descriptor_pb2.FileDescriptorProto(name="a.proto", dependency=["a.proto"])
        self.assertEqual(self.fault(descriptor_set(circle)), "a.proto imports itself")
        bad = descriptor_pb2.FileDescriptorProto(
            name="a.proto", message_type=[descriptor_pb2.DescriptorProto(name="not a name")]
        )
        self.assertTrue(self.fault(descriptor_set(bad)).startswith("a.proto: "))

    def test_without_the_library(self) -> None:
        content = descriptor_set()
        with mock.patch.dict(sys.modules, {"google.protobuf": None}):
            self.assertEqual(self.fault(content), "needs the library protobuf: pip install 'egressproxy[grpc]'")

    def test_fields(self) -> None:
        for path, known in (
            ("name", True),
            ("manager.manager.role", True),
            ("team.name", True),
            ("labels.anything", True),
            ("flags.true.name", True),
            ("Name", False),
            ("name.first", False),
            ("manager.title", False),
            ("labels.a.b", False),
        ):
            for response in (False, True):
                self.assertIs(self.method().has_field(path.split("."), response=response), known, path)


class DecodeTests(SynchronousTestCase):
    """The documents of messages."""

    def decode(self, data: bytes) -> dict[str, Any]:
        method = Descriptors([descriptor_set()]).find("users.v1.Users", "Get")
        assert method is not None
        return method.decode(data, free)

    DEFAULTS = {
        "name": "",
        "id": 0,
        "active": False,
        "role": "MEMBER",
        "tags": [],
        "labels": {},
        "key": "",
        "team": [],
        "flags": {},
    }

    def test_response(self) -> None:
        method = Descriptors([descriptor_set()]).find("users.v1.Users", "Get")
        assert method is not None
        self.assertEqual(method.decode(user(id=7), free, response=True)["id"], 7)

    def test_defaults(self) -> None:
        """Fields without presence have their default; others are absent."""
        self.assertEqual(self.decode(b""), self.DEFAULTS)

    def test_values(self) -> None:
        found = self.decode(
            user(
                name="alice",
                id=2**62,
                active=True,
                role=1,
                tags=["a", "b"],
                labels={"x": "y"},
                key=b"\xff",
                manager={"name": "bob"},
                nick="",
                team=[{"id": 1}],
                flags={True: {"id": 2}},
            )
        )
        self.assertEqual(
            found,
            {
                "name": "alice",
                "id": 2**62,
                "active": True,
                "role": "ADMIN",
                "tags": ["a", "b"],
                "labels": {"x": "y"},
                "key": "/w==",
                "manager": {**self.DEFAULTS, "name": "bob"},
                "nick": "",
                "team": [{**self.DEFAULTS, "id": 1}],
                "flags": {"true": {**self.DEFAULTS, "id": 2}},
            },
        )

    def test_unknown_enum_value_and_field(self) -> None:
        self.assertEqual(self.decode(b"\x20\x07")["role"], 7)
        self.assertEqual(self.decode(b"\xa0\x06\x01"), self.DEFAULTS)

    def test_malformed(self) -> None:
        nested = user_type()()
        at = nested
        for _ in range(150):
            at = at.manager
        at.name = "x"
        for data in (b"\xff", b"\x0a\x05a", b"\x0a\x01\xff", nested.SerializeToString()):
            self.assertRaises(InvalidMessage, self.decode, data)

    def test_work(self) -> None:
        spent: list[int] = []
        method = Descriptors([descriptor_set()]).find("users.v1.Users", "Get")
        assert method is not None
        method.decode(user(tags=["a"] * 5, manager={}), spent.append)
        self.assertEqual(sum(spent), 11 + 5 + 11)
