"""The endpoint of the admin API: a UNIX socket or a loopback address."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from egress.model.authority import Authority, IPAddress, parse_ip
from egress.model.converters import ConfigError, checked, text
from egress.model.errors import InvalidTarget

# The pieces between colons; a colon in a value is escaped with a backslash.
_PIECE: Final = re.compile(r"(?:\\.|[^:\\])+", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_OPTION: Final = re.compile(r"([a-z]+)=(.*)", re.DOTALL)
_SPECIAL: Final = re.compile(r"([\\:=])")
_URL: Final = re.compile(r"http://([^/]+)/?")
_MODE: Final = re.compile("[0-7]{3,4}")
_OTHERS: Final = 0o007

# The default loopback addresses.
_LOOPBACK: Final = {"tcp": "127.0.0.1", "tcp6": "::1"}
_EXAMPLE: Final = "write unix:PATH, as in unix:/run/egress/admin.sock, or tcp:PORT for a loopback address"


class InvalidAdmin(ValueError):
    """A description that cannot be used.

    @ivar remedy: a valid replacement, in one clause.
    """

    def __init__(self, remedy: str) -> None:
        super().__init__(remedy)
        self.remedy = remedy


@attrs.frozen(field_transformer=checked(endpoint=text, path=text))
class AdminEndpoint:
    """The endpoint of the admin API, which only this machine can reach.

    @ivar endpoint: the description of a Twisted server endpoint.
    @ivar path: the path of a UNIX socket, which its mode protects; C{None} for TCP.
    @ivar address: the address of the TCP listener, which every user on this machine can reach: it requires a token.
    @ivar port: the port of the TCP listener.
    """

    endpoint: str
    path: str | None = None
    address: IPAddress | None = None
    port: int = 0

    def __attrs_post_init__(self) -> None:
        """Reject an endpoint that contradicts the other fields: it could be more exposed than they state.

        @raise ConfigError: if it does.
        """
        if self.endpoint not in self._endpoints():
            remedy = f"contradicts the other fields: use AdminEndpoint.parse, and {_EXAMPLE}"
            raise ConfigError("endpoint", self.endpoint, remedy)

    def _endpoints(self) -> tuple[str, ...]:
        if self.path is not None and self.address is None and self.port == 0:
            mode = self.endpoint.rpartition(":mode=")[2]
            return (_unix_endpoint(self.path, mode),) if _is_private(mode) else ()
        if self.path is None and self.address is not None and self.address.is_loopback and 0 < self.port < 65536:
            return tuple(_tcp_endpoint(kind, self.port, self.address) for kind in _LOOPBACK)
        return ()

    @classmethod
    def parse(cls, text: str, place: Callable[[str], Path] = Path) -> AdminEndpoint:
        """Parse a command line value: C{unix:PATH[:mode=660]}, C{tcp:PORT[:interface=ADDRESS]}, C{tcp6:PORT}.

        A client may also write the last two as C{http://127.0.0.1:PORT}.

        @param text: the text to parse.
        @param place: makes a path absolute.
        @raise InvalidAdmin: names a valid replacement.
        """
        url = _URL.fullmatch(text)
        if url is not None:
            return cls._parse_url(url[1])
        kind, *pieces = _PIECE.findall(text) or [""]
        options: dict[str, str] = {}
        values: list[str] = []
        for piece in pieces:
            named = _OPTION.fullmatch(piece)
            if named is None:
                values.append(_ESCAPED.sub(r"\1", piece))
            else:
                options[named[1]] = _ESCAPED.sub(r"\1", named[2])
        if len(values) != 1:
            raise InvalidAdmin(_EXAMPLE)
        if kind == "unix":
            return cls._unix(str(place(values[0])), options.pop("mode", "600"), options)
        if kind in _LOOPBACK:
            return cls._tcp(kind, values[0], options.pop("interface", _LOOPBACK[kind]), options)
        raise InvalidAdmin(_EXAMPLE)

    @classmethod
    def _parse_url(cls, netloc: str) -> AdminEndpoint:
        try:
            authority = Authority.parse(netloc.replace("localhost", _LOOPBACK["tcp"]), 80)
        except InvalidTarget as error:
            raise InvalidAdmin(_EXAMPLE) from error
        kind = "tcp6" if ":" in authority.host else "tcp"
        return cls._tcp(kind, str(authority.port), authority.host, {})

    @classmethod
    def _unix(cls, path: str, mode: str, others: dict[str, str]) -> AdminEndpoint:
        _reject_unknown(others)
        if not _is_private(mode):
            raise InvalidAdmin("write a mode without permissions for other users, as in mode=600 or mode=660")
        return cls(_unix_endpoint(path, mode), path)

    @classmethod
    def _tcp(cls, kind: str, port: str, interface: str, others: dict[str, str]) -> AdminEndpoint:
        _reject_unknown(others)
        if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
            raise InvalidAdmin("write a TCP port from 1 to 65535, as in tcp:9099")
        address = parse_ip(interface)
        if address is None or not address.is_loopback:
            raise InvalidAdmin("must be a loopback address: write interface=127.0.0.1, or remove interface=")
        return cls(_tcp_endpoint(kind, int(port), address), None, address, int(port))

    def __str__(self) -> str:
        """Return the form that a client uses to reach it."""
        return f"unix:{self.path}" if self.path is not None else f"http://{Authority(str(self.address), self.port)}"

    def is_at(self, place: object) -> bool:
        """Tell whether it uses a port or a path."""
        return place == (self.port if self.path is None else self.path)

    @property
    def wants_token(self) -> bool:
        """Whether only a token protects the endpoint."""
        return self.path is None


def _is_private(mode: str) -> bool:
    """Tell whether a mode gives no permissions to other users."""
    return _MODE.fullmatch(mode) is not None and not int(mode, 8) & _OTHERS


def _unix_endpoint(path: str, mode: str) -> str:
    return f"unix:{_SPECIAL.sub(_escape, path)}:mode={mode}"


def _tcp_endpoint(kind: str, port: int, address: IPAddress) -> str:
    return f"{kind}:{port}:interface={_SPECIAL.sub(_escape, str(address))}"


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[1]}"


def _reject_unknown(options: dict[str, str]) -> None:
    if options:
        raise InvalidAdmin(f"unknown setting {min(options)}: remove it")
