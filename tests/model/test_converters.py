"""Tests for L{egress.model.converters}."""

from __future__ import annotations

import enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.converters import (
    BadValue,
    ConfigError,
    checked,
    file_text,
    kind_of,
    network,
    not_negative,
    number,
    parse_ports,
    path,
    port,
    port_range,
    positive,
    string,
    text,
    to_display,
    whole_number,
)


class Color(enum.Enum):
    """An enum for a choice."""

    RED = "red"
    GREEN = "green"


def _unchanged(value: Any) -> Any:
    return value


class Rude:
    """An object whose C{repr} fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@attrs.frozen(kw_only=True, field_transformer=checked(name=text, words=text))
class Everything:
    """One field of each kind."""

    name: str = "n"
    words: tuple[str, ...] = ()
    color: Color = Color.RED
    maybe: Color | None = None
    flag: bool = False
    count: int | None = attrs.field(default=None, validator=positive)
    seconds: float = attrs.field(default=0.0, validator=not_negative)
    where: Path | None = None
    ports: tuple[range, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    either: IPv4Network | IPv6Network | None = None
    anything: str = "not checked"
    token: str | None = attrs.field(default=None, repr=False, converter=_unchanged)
    secret: bytes | None = attrs.field(default=None, repr=False)
    made: int = attrs.field(init=False, default=1)


class FieldTests(SynchronousTestCase):
    """Fields are converted according to their types."""

    def test_converted(self) -> None:
        for name, value, expected in (
            ("name", "x", "x"),
            ("words", ["a", "b"], ("a", "b")),
            ("color", "Green", Color.GREEN),
            ("maybe", None, None),
            ("maybe", "red", Color.RED),
            ("flag", True, True),
            ("count", 5, 5),
            ("seconds", 0, 0.0),
            ("where", "a/b", Path("a/b")),
            ("ports", ("1-2", 3), (range(1, 3), range(3, 4))),
            ("networks", ["10.0.0.0/8"], (ip_network("10.0.0.0/8"),)),
            ("either", "::1", ip_network("::1")),
            ("token", 5, 5),
            ("secret", b"x", b"x"),
            ("anything", 5, 5),
        ):
            with self.subTest(name, value=value):
                given: dict[str, Any] = {name: value}
                self.assertEqual(getattr(Everything(**given), name), expected)

    def test_rejected(self) -> None:
        for name, value, says in (
            ("name", "", "must not be empty"),
            ("name", 5, "must be a string"),
            ("words", "ab", "must be a tuple or a list"),
            ("words", ["a", ""], "must not be empty"),
            ("color", "blue", "choose red or green"),
            ("color", None, "choose red or green"),
            ("maybe", 1, "choose red or green"),
            ("flag", 1, "must be True or False"),
            ("count", True, "must be a whole number"),
            ("count", 0, "must be greater than zero"),
            ("seconds", "5s", "must be a number"),
            ("seconds", -1, "must not be less than zero"),
            ("where", 5, "must be a path"),
            ("ports", 443, "must be a tuple or a list"),
            ("networks", None, "must be a tuple or a list"),
            ("secret", "x", "must be of type bytes"),
        ):
            with self.subTest(name, value=value):
                error = self.assertRaises(ConfigError, Everything, **{name: value})
                self.assertEqual(error.option, name)
                self.assertIn(says, error.remedy)

    def test_secret_is_not_displayed(self) -> None:
        error = self.assertRaises(ConfigError, Everything, secret="hunter2")
        self.assertEqual((error.value, str(error)), ("", "secret: must be of type bytes"))

    def test_text_needs_a_kind(self) -> None:
        self.assertIsNone(kind_of(str))
        self.assertIsNone(kind_of(str | None))
        self.assertIsNone(kind_of(tuple[str, ...]))
        self.assertIsNone(kind_of(str | Path))
        self.assertIsNone(kind_of(tuple[Path, int]))
        self.assertIsNone(kind_of(Any))
        self.assertIsNotNone(kind_of(IPv4Network | Path))


class ValueTests(SynchronousTestCase):
    """The converters of single values."""

    def assert_rejected(self, kind: Any, *values: object) -> None:
        for value in values:
            with self.subTest(value):
                self.assertTrue(self.assertRaises(BadValue, kind, value).remedy)

    def test_texts(self) -> None:
        self.assertEqual((string(""), text("a"), file_text("-"), file_text(Path("a"))), ("", "a", "-", "a"))
        self.assert_rejected(string, b"a", None)
        self.assert_rejected(text, "", "a\0")
        self.assert_rejected(file_text, "", b"a", None)

    def test_paths(self) -> None:
        self.assertEqual(path(Path("a")), Path("a"))
        self.assert_rejected(path, "", "a\0b", b"a", None, PurePosixPath("a"))

    def test_numbers(self) -> None:
        self.assertEqual((whole_number(-1), number(1), number(0.5)), (-1, 1.0, 0.5))
        self.assert_rejected(whole_number, 1.0, True, "1", None)
        self.assert_rejected(number, True, "1", None, 1j, 10**400, float("nan"), float("-inf"))

    def test_ports(self) -> None:
        self.assertEqual((port(1), port(65535)), (1, 65535))
        self.assert_rejected(port, 0, 65536, "80", True)
        self.assertEqual(port_range(range(1, 65536)), range(1, 65536))
        self.assert_rejected(
            port_range, range(0), range(2), range(1, 65537), range(1, 9, 2), 0, None, "0", "9-8", "1-", "\u0661", ""
        )
        self.assertIn("write 8-9", self.assertRaises(BadValue, parse_ports, "9-8").remedy)

    def test_networks(self) -> None:
        for value in (ip_network("10.0.0.0/8"), "10.0.0.0/8"):
            self.assertEqual(network(value), ip_network("10.0.0.0/8"))
        self.assertEqual(network(ip_address("::1")), ip_network("::1"))
        self.assert_rejected(network, 1, b"\x7f\0\0\x01", ("10.0.0.0", 8), None, "", "a.test", True)
        self.assertIn("write 10.0.0.0/8", self.assertRaises(BadValue, network, "10.0.0.1/8").remedy)

    def test_display(self) -> None:
        self.assertEqual(to_display("a"), "a")
        self.assertEqual(to_display(Path("a")), "a")
        self.assertEqual(to_display(5), "5")
        self.assertEqual(to_display(None), "None")
        self.assertEqual(len(to_display("x" * 1000)), 200)
        self.assertEqual(to_display(Rude()), "Rude")
        for hidden in ("http://u:p@a.test", ["http://u:p@a.test"], b"x", bytearray(b"x")):
            self.assertEqual(to_display(hidden), "")
        self.assertEqual(to_display("a", secret=True), "")
