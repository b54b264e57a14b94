"""A descriptor set for tests, as C{protoc --include_imports} writes it."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from egress.grpc.framing import Frame

_FIELD = descriptor_pb2.FieldDescriptorProto

ROLES: Final = descriptor_pb2.FileDescriptorProto(
    name="roles.proto",
    package="users.v1",
    syntax="proto3",
    enum_type=[
        descriptor_pb2.EnumDescriptorProto(
            name="Role",
            value=[
                descriptor_pb2.EnumValueDescriptorProto(name="MEMBER", number=0),
                descriptor_pb2.EnumValueDescriptorProto(name="ADMIN", number=1),
            ],
        )
    ],
)


def _field(name: str, number: int, kind: int, type_name: str = "", *, repeated: bool = False, **more: Any) -> Any:
    label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    return _FIELD(name=name, number=number, type=kind, type_name=type_name or None, label=label, **more)  # type: ignore[arg-type]


def _entry(name: str, key: int, value: int, type_name: str = "") -> descriptor_pb2.DescriptorProto:
    return descriptor_pb2.DescriptorProto(
        name=name,
        field=[_field("key", 1, key), _field("value", 2, value, type_name)],
        options=descriptor_pb2.MessageOptions(map_entry=True),
    )


def _method(name: str, *, client: bool = False, server: bool = False) -> descriptor_pb2.MethodDescriptorProto:
    return descriptor_pb2.MethodDescriptorProto(
        name=name,
        input_type=".users.v1.User",
        output_type=".users.v1.User",
        client_streaming=client,
        server_streaming=server,
    )


USERS: Final = descriptor_pb2.FileDescriptorProto(
    name="users.proto",
    package="users.v1",
    syntax="proto3",
    dependency=["roles.proto"],
    message_type=[
        descriptor_pb2.DescriptorProto(
            name="User",
            field=[
                _field("name", 1, _FIELD.TYPE_STRING),
                _field("id", 2, _FIELD.TYPE_INT64),
                _field("active", 3, _FIELD.TYPE_BOOL),
                _field("role", 4, _FIELD.TYPE_ENUM, ".users.v1.Role"),
                _field("tags", 5, _FIELD.TYPE_STRING, repeated=True),
                _field("labels", 6, _FIELD.TYPE_MESSAGE, ".users.v1.User.LabelsEntry", repeated=True),
                _field("key", 7, _FIELD.TYPE_BYTES),
                _field("manager", 8, _FIELD.TYPE_MESSAGE, ".users.v1.User"),
                _field("nick", 9, _FIELD.TYPE_STRING, proto3_optional=True, oneof_index=0),
                _field("team", 10, _FIELD.TYPE_MESSAGE, ".users.v1.User", repeated=True),
                _field("flags", 11, _FIELD.TYPE_MESSAGE, ".users.v1.User.FlagsEntry", repeated=True),
            ],
            nested_type=[
                _entry("LabelsEntry", _FIELD.TYPE_STRING, _FIELD.TYPE_STRING),
                _entry("FlagsEntry", _FIELD.TYPE_BOOL, _FIELD.TYPE_MESSAGE, ".users.v1.User"),
            ],
            oneof_decl=[descriptor_pb2.OneofDescriptorProto(name="_nick")],
        )
    ],
    service=[
        descriptor_pb2.ServiceDescriptorProto(
            name="Users",
            method=[
                _method("Get"),
                _method("Delete"),
                _method("Watch", server=True),
                _method("Upload", client=True),
                _method("Chat", client=True, server=True),
            ],
        )
    ],
)


def descriptor_set(*files: descriptor_pb2.FileDescriptorProto) -> bytes:
    """Return the content of a descriptor set."""
    return descriptor_pb2.FileDescriptorSet(file=files or (ROLES, USERS)).SerializeToString()


def user_type() -> Any:
    """Return the class of the message C{users.v1.User}."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(ROLES)
    pool.Add(USERS)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("users.v1.User"))


def user(**fields: Any) -> bytes:
    """Return a serialized message."""
    serialized: bytes = user_type()(**fields).SerializeToString()
    return serialized


def framed(**fields: Any) -> bytes:
    """Return the content of a request with one message."""
    return Frame(user(**fields)).encode()
