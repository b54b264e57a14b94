"""The description of a socket that systemd passes: C{systemd:name=NAME}, C{systemd:index=N}, or C{systemd:}."""

from __future__ import annotations

import re
from typing import Final

import attrs

KIND: Final = "systemd:"

_PIECE: Final = re.compile(r"(name|index|domain)=([^:=\\]+)")


class InvalidSocket(ValueError):
    """A description that cannot be parsed; the text is a valid replacement, in one clause."""


@attrs.frozen
class SystemdSocket:
    """A description.

    @ivar name: the C{FileDescriptorName} of the C{.socket} unit.
    @ivar index: the position among all sockets, from 0.  Without a name and an index, there is only one.
    @ivar domain: the address family, which Twisted requires; here it is only compared.
    """

    name: str | None = None
    index: int | None = None
    domain: str | None = None

    @classmethod
    def parse(cls, text: str) -> SystemdSocket:
        """Parse a description.

        @raise InvalidSocket: if it cannot be parsed.
        """
        settings: dict[str, str] = {}
        for piece in filter(None, text.removeprefix(KIND).split(":")):
            found = _PIECE.fullmatch(piece)
            if found is None or found[1] in settings:
                raise InvalidSocket("write systemd:name=NAME or systemd:index=N")
            settings[found[1]] = found[2]
        if "name" in settings and "index" in settings:
            raise InvalidSocket("has both a name and an index: remove one of them")
        index = settings.get("index")
        if index is not None and not (index.isascii() and index.isdigit() and len(index) < 5):
            raise InvalidSocket("write the index as a number, from 0")
        return cls(settings.get("name"), None if index is None else int(index), settings.get("domain"))
