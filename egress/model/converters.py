"""Converters for configuration fields: they convert and check the values of an application when an object is created.

A converter returns the converted value, or raises L{BadValue}.

L{checked} derives the check of each field from its type, so a new field needs no further code.  The type C{str} does
not say which texts are valid: name the kind of each text field, or a test fails.
"""

from __future__ import annotations

import enum
import math
import os
import types
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import attrs

Kind = Callable[[object], Any]
"""A function that converts a value; raises L{BadValue}."""

_SHOWN: Final = 200
_NONE: Final = type(None)
_UNIONS: Final = (Union, types.UnionType)


class ConfigError(ValueError):
    """A value with which the proxy cannot start.

    @ivar option: the option as the user spelled it: C{--authz-url}, C{EGRESS_AUTHZ_URL}, C{authz-url in FILE:LINE}; the
        field if an application created the configuration.
    @ivar value: the value as given; empty if it is a secret.
    @ivar remedy: the fix, in one clause.
    """

    def __init__(self, option: str, value: str, remedy: str) -> None:
        # The value comes from the operator, not from a client; the caller omits secrets.
        named = f"{option} {repr(value)}" if value else option  # noqa: RUF010
        super().__init__(f"{named}: {remedy}")
        self.option = option
        self.value = value
        self.remedy = remedy


class BadValue(ValueError):
    """A value that is not valid.

    @ivar remedy: what to write instead, in one clause, without the value.
    @ivar part: the invalid one of several values; empty if the whole value is invalid.
    """

    def __init__(self, remedy: str, part: tuple[object, ...] = ()) -> None:
        super().__init__(remedy)
        self.remedy = remedy
        self.part = part


def to_display(value: object, *, secret: bool = False) -> str:
    """Format a value for an error; a secret, or text that may contain credentials, becomes an empty text."""
    if secret or isinstance(value, (bytes, bytearray)):
        return ""
    try:
        text = str(value) if isinstance(value, (str, Path)) else repr(value)
    except Exception:  # noqa: BLE001 - the value may be of any class of an application
        return type(value).__name__
    # Text that contains "@" may be a URL with a password.
    return "" if "@" in text else text[:_SHOWN]


def string(value: object) -> str:
    """Accept a text, which may be empty."""
    if not isinstance(value, str):
        raise BadValue("must be a string")
    return value


def text(value: object) -> str:
    """Accept a text that is not empty."""
    value = string(value)
    if not value or "\0" in value:
        raise BadValue("must not be empty or contain a null character")
    return value


def file_text(value: object) -> str:
    """Accept the name of a file, which may be a path object; C{-} keeps its meaning."""
    return text(os.fspath(value) if isinstance(value, os.PathLike) else value)


def boolean(value: object) -> bool:
    """Accept C{True} or C{False}; a text is rejected because C{bool("false")} is true."""
    if not isinstance(value, bool):
        raise BadValue("must be True or False")
    return value


def whole_number(value: object) -> int:
    """Accept an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue("must be a whole number")
    return int(value)


def number(value: object) -> float:
    """Accept a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadValue("must be a number")
    try:
        found = float(value)
    except OverflowError as error:
        raise BadValue("must be a finite number") from error
    if not math.isfinite(found):
        raise BadValue("must be a finite number")
    return found


def path(value: object) -> Path:
    """Accept a path, or its text."""
    if not isinstance(value, (str, Path)):
        raise BadValue("must be a path")
    if not str(value) or "\0" in str(value):
        raise BadValue("must not be empty or contain a null character")
    return Path(value)


def port(value: object) -> int:
    """Accept a TCP port."""
    found = whole_number(value)
    if not 0 < found < 65536:
        raise BadValue("must be a TCP port from 1 to 65535")
    return found


def port_range(value: object) -> range:
    """Accept a range of TCP ports, one port, or the text of either: C{443}, C{"8000-8999"}."""
    if isinstance(value, str):
        return parse_ports(value)
    if not isinstance(value, range):
        only = port(value)
        return range(only, only + 1)
    if not value or value.step != 1 or value.start < 1 or value.stop > 65536:
        raise BadValue("must be a range of TCP ports from 1 to 65535, as in range(8000, 9000)")
    return value


def parse_port(value: str) -> int:
    """Parse a TCP port."""
    if not (value.isascii() and value.isdigit() and len(value) < 6 and 0 < int(value) < 65536):
        raise BadValue("write a TCP port from 1 to 65535")
    return int(value)


def parse_ports(value: str) -> range:
    """Parse a TCP port or a range of TCP ports: C{443}, C{8000-8999}."""
    first, dash, last = value.partition("-")
    try:
        read = range(parse_port(first), parse_port(last if dash else first) + 1)
    except BadValue as error:
        raise BadValue("write a TCP port or a range of ports, as in 443 or 8000-8999") from error
    if not read:
        raise BadValue(f"the first port is higher than the last: write {last}-{first}")
    return read


def network(value: object) -> IPv4Network | IPv6Network:
    """Accept an address range, an address, or the text of either: C{"10.0.0.0/8"}."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if isinstance(value, (bool, int, bytes, tuple, list)):
        # ip_network also accepts integers and bytes, which are never intended here.
        raise BadValue("write an address range as in 10.0.0.0/8")
    written = str(value)
    try:
        return ip_network(written)
    except ValueError as error:
        try:
            meant = ip_network(written, strict=False)
        except ValueError:
            raise BadValue("write an address range as in 10.0.0.0/8") from error
        raise BadValue(f"the address has bits set beyond the prefix: write {meant}, or only the address") from error


def choice(kind: type[enum.Enum]) -> Kind:
    """Return a converter that accepts a member of an enum, or its value as text."""
    *others, last = (str(member.value) for member in kind)

    def take(value: object) -> enum.Enum:
        if isinstance(value, kind):
            return value
        try:
            return kind(value.lower() if isinstance(value, str) else None)
        except ValueError as error:
            raise BadValue(f"choose {', '.join(others)} or {last}") from error

    return take


def several(kind: Kind) -> Kind:
    """Return a converter that accepts a tuple or a list of values."""

    def take(value: object) -> tuple[Any, ...]:
        # A text is also a sequence: of its characters.
        if not isinstance(value, (tuple, list)):
            raise BadValue("must be a tuple or a list")
        return tuple(map(one, value))

    def one(value: object) -> Any:
        try:
            return kind(value)
        except BadValue as error:
            raise BadValue(error.remedy, (value,)) from error

    return take


def optional(kind: Kind) -> Kind:
    """Return a converter that accepts a value or C{None}."""
    return lambda value: None if value is None else kind(value)


def instance(*kinds: type) -> Kind:
    """Return a converter that accepts an instance of one of several classes, unchanged."""

    def take(value: object) -> object:
        if not isinstance(value, kinds):
            raise BadValue(f"must be of type {' or '.join(kind.__name__ for kind in kinds)}")
        return value

    return take


_SIMPLE: Final[dict[object, Kind]] = {
    bool: boolean,
    int: whole_number,
    float: number,
    Path: path,
    range: port_range,
    IPv4Network | IPv6Network: network,
}


def kind_of(hint: Any, given: Kind | None = None) -> Kind | None:
    """Derive the converter for the values of a type.

    @param hint: the type.
    @param given: the kind of a single value, if the type does not determine it.
    @return: the converter; C{None} for a text without restrictions.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in _UNIONS and _NONE in parts:
        kind = kind_of(Union.__getitem__(tuple(part for part in parts if part is not _NONE)), given)
        return None if kind is None else optional(kind)
    if origin is tuple and parts[1:] == (...,):
        kind = kind_of(parts[0], given)
        return None if kind is None else several(kind)
    if given is not None:
        return given
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    classes = parts if origin in _UNIONS else (hint,)
    if (
        hint is Any
        or str in classes
        or not all(isinstance(each, type) and get_origin(each) is None for each in classes)
    ):
        return None
    return choice(hint) if issubclass(classes[0], enum.Enum) else instance(*classes)


def checked(**kinds: Kind) -> Callable[[type, list[attrs.Attribute[Any]]], list[attrs.Attribute[Any]]]:
    """Return a C{field_transformer} for attrs that gives each field a converter, unless the field has one.

    A field that is excluded from C{repr} holds a secret, so errors do not show its value.

    @param kinds: the converters of fields whose type does not determine one, mostly texts.
    """

    def transform(cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        hints = get_type_hints(cls)
        return [_with_converter(field, kind_of(hints[field.name], kinds.get(field.name))) for field in fields]

    return transform


def _with_converter(field: attrs.Attribute[Any], kind: Kind | None) -> attrs.Attribute[Any]:
    if kind is None or field.converter is not None or not field.init:
        return field
    name, secret = field.name, field.repr is False

    def convert(value: object) -> Any:
        try:
            return kind(value)
        except BadValue as error:
            wrong = error.part[0] if error.part else value
            raise ConfigError(name, to_display(wrong, secret=secret), error.remedy) from error

    return field.evolve(converter=convert)


def positive(instance: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    """Validate a number that must be greater than zero.

    @raise ConfigError: for zero and negative numbers.
    """
    if value is not None and value <= 0:
        raise ConfigError(attribute.name, str(value), "must be greater than zero")


def at_most(limit: int) -> Callable[[object, attrs.Attribute[Any], int], None]:
    """Return a validator of a number that has a maximum.

    @param limit: the maximum.
    """

    def validate(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
        if value > limit:
            raise ConfigError(attribute.name, str(value), f"must be at most {limit}")

    return validate


def not_negative(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """Validate a number that may be zero.

    @raise ConfigError: for negative numbers.
    """
    if value < 0:
        raise ConfigError(attribute.name, str(value), "must not be less than zero")
