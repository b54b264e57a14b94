"""The types of request messages, from descriptor sets that C{protoc} writes; needs the library C{protobuf}.

Only the fields that a message has a value for are part of its document, and fields without presence with their default
value, as in the programs that read them. Names are the names in the C{.proto} file.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

Spend = Callable[[int], None]
"""Spends work on a number of values; raises an exception if it is too much."""

# Values of protobuf's FieldDescriptor.type.
_MESSAGES: Final = frozenset({10, 11})
_BYTES: Final = 12
_ENUM: Final = 14


class InvalidDescriptors(ValueError):
    """A file that is not a usable descriptor set; the message names the fix."""


class InvalidMessage(ValueError):
    """Content that is not a message of its type."""


@attrs.frozen
class Method:
    """A method of a service.

    @ivar service: the full name of the service.
    @ivar name: the name of the method.
    @ivar client_streams: whether the client sends any number of messages.
    """

    service: str
    name: str
    client_streams: bool
    _request: Any = attrs.field(eq=False, repr=False)
    _response: Any = attrs.field(eq=False, repr=False)

    def has_field(self, path: Sequence[str], *, response: bool = False) -> bool:
        """Return whether messages of the method have a field.

        @param response: whether it is a field of the messages of the server.
        @param path: the names of the fields on the way to it, with its own.  The keys of a map can be any names.
        """
        message = (self._response if response else self._request).DESCRIPTOR
        for name in path:
            if message is None:
                return False
            if message.GetOptions().map_entry:
                message = message.fields_by_name["value"].message_type
                continue
            field = message.fields_by_name.get(name)
            if field is None:
                return False
            message = field.message_type
        return True

    def decode(self, data: bytes, spend: Spend, *, response: bool = False) -> dict[str, Any]:
        """Parse a message into a document, as for JSON.

        @param response: whether the server sent it.
        @param spend: is called before values are converted, with their number.
        @raise InvalidMessage: if it is not a message of this method.
        """
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - only policies on message fields need it

        message = (self._response if response else self._request)()
        try:
            message.ParseFromString(data)
            return _document(message, spend)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidMessage("the message is not valid") from None


def _document(message: Any, spend: Spend) -> dict[str, Any]:
    fields = message.DESCRIPTOR.fields
    spend(len(fields))
    found: dict[str, Any] = {}
    for field in fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if not field.is_repeated:
            found[field.name] = _value(field, value, spend)
            continue
        spend(len(value))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_values = field.message_type.fields_by_name["value"]
            found[field.name] = {_key(key): _value(of_values, value[key], spend) for key in value}
        else:
            found[field.name] = [_value(field, one, spend) for one in value]
    return found


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _value(field: Any, value: Any, spend: Spend) -> Any:
    if field.type in _MESSAGES:
        return _document(value, spend)
    if field.type == _BYTES:
        return base64.b64encode(value).decode("ascii")
    if field.type == _ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value


class Descriptors:
    """The services in descriptor sets.

    @param contents: the contents of the files.
    @raise InvalidDescriptors: if they cannot be used.
    """

    def __init__(self, contents: Sequence[bytes]) -> None:
        try:
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415
            from google.protobuf.message import DecodeError  # noqa: PLC0415
        except ImportError:
            raise InvalidDescriptors("needs the library protobuf: pip install 'egressproxy[grpc]'") from None
        files: dict[str, Any] = {}
        for content in contents:
            found = descriptor_pb2.FileDescriptorSet()
            try:
                found.ParseFromString(content)
            except DecodeError:
                raise InvalidDescriptors(
                    "is not a descriptor set; write it with protoc --include_imports --descriptor_set_out=FILE"
                ) from None
            for file in found.file:
                other = files.setdefault(file.name, file)
                if other != file:
                    raise InvalidDescriptors(f"{file.name} is in two descriptor sets, with different contents")
        pool = descriptor_pool.DescriptorPool()
        for file in _in_order(files):
            try:
                pool.Add(file)
            except (TypeError, ValueError) as error:
                raise InvalidDescriptors(f"{file.name}: {' '.join(str(error).split())}") from None
        self._methods: dict[tuple[str, str], Method] = {}
        for name in files:
            for service in pool.FindFileByName(name).services_by_name.values():
                for method in service.methods:
                    types = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
                    self._methods[service.full_name, method.name] = Method(
                        service.full_name, method.name, method.client_streaming, *types
                    )

    @property
    def methods(self) -> Iterable[Method]:
        """All methods."""
        return self._methods.values()

    def find(self, service: str, method: str) -> Method | None:
        """Return a method; C{None} if it is unknown."""
        return self._methods.get((service, method))


def _in_order(files: dict[str, Any]) -> list[Any]:
    """Return files after the files that they import.

    @raise InvalidDescriptors: if an import is missing, or in a circle.
    """
    ordered: dict[str, Any] = {}
    waiting = dict(files)
    while waiting:
        ready = [file for file in waiting.values() if all(name in ordered for name in file.dependency)]
        if not ready:
            file = next(iter(waiting.values()))
            missing = next((name for one in waiting.values() for name in one.dependency if name not in files), None)
            if missing is None:
                raise InvalidDescriptors(f"{file.name} imports itself")
            raise InvalidDescriptors(f"lacks {missing}; write it with protoc --include_imports")
        for file in ready:
            ordered[file.name] = waiting.pop(file.name)
    return list(ordered.values())
