"""The properties of the parsers of request content, for all inputs."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from importlib import import_module
from sys import version_info
from typing import Any, Final
from urllib.parse import parse_qsl

import brotli

from egress.http.content_coding import FREE_LENGTH, MAX_RATIO, Undecodable, content_codings, decode
from egress.policy.match.form import read_form
from egress.policy.match.media_type import form_type
from egress.policy.match.multipart import AmbiguousForm, read_multipart
from egress.policy.match.patterns import compile_pattern
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import MAX_WORK, TooMuchWork, WorkBudget

_SHORT: Final = 300
_LIMIT: Final = 1 << 20
_zstd: Any = import_module("compression.zstd" if version_info >= (3, 14) else "backports.zstd")

_CODINGS: Final = ("gzip", "deflate", "br", "zstd")
_ENCODE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": _zstd.compress,
}


def _inflate(data: bytes) -> bytes:
    with contextlib.suppress(zlib.error):
        return zlib.decompress(data)
    return zlib.decompress(data, wbits=-15)


_DECODE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.decompress,
    "deflate": _inflate,
    "br": brotli.decompress,
    "zstd": _zstd.decompress,
}


def codings(data: bytes) -> None:
    """Content codings: the result is that of other decoders, within its bounds, and complete."""
    seed, data = data[:1] or b"\0", data[1:]
    coding = _CODINGS[seed[0] % 4]
    work: list[int] = []
    # As sent, with a part that is not valid at the end, and valid.
    for body in (data, _ENCODE[coding](data[:_SHORT]) + data[_SHORT:], _ENCODE[coding](data)):
        with contextlib.suppress(Undecodable):
            found = decode(body, (coding,), _LIMIT, work.append)
            assert found.content == _DECODE[coding](body), body
            assert len(found.content) <= max(FREE_LENGTH, MAX_RATIO * len(body)), body
            assert sum(work) >= len(body), body
            assert found.earlier == (body,)
            if not found.has_members and body:
                # No decoder stops earlier.
                with contextlib.suppress(Undecodable):
                    decode(body[:-1], (coding,), _LIMIT, work.append)
                    raise AssertionError(body)
    with contextlib.suppress(Undecodable):
        found = decode(data, (coding, _CODINGS[seed[0] // 4 % 4]), _LIMIT, work.append)
        assert len(found.earlier) == 2
    with contextlib.suppress(Undecodable):
        lines = [(b"Content-Encoding", value) for value in data[:_SHORT].split(b"\n")]
        assert set(content_codings(tuple(lines))) <= set(_CODINGS)


_PATTERNS: Final = {broad: (compile_pattern("1*", broad=broad),) for broad in (False, True)}


def forms(data: bytes) -> None:
    """Forms of the type application/x-www-form-urlencoded: certain fields are those that another parser finds."""
    body, _, earlier = data[:_SHORT].partition(b"\n\n")
    with contextlib.suppress(TooMuchWork, AmbiguousForm):
        found = read_form(body, None, (earlier,) if earlier else (), WorkBudget())
        names = [name for name, _ in parse_qsl(body.decode("utf-8"), keep_blank_values=True)]
        for name in ("a", "user_id", "user[id]", "a.b"):
            there = found.has(found.fields, name)
            narrow, broad = (
                found.matches(found.fields, name, _PATTERNS[broad], WorkBudget()) for broad in (False, True)
            )
            assert narrow is not Match.YES or broad is not Match.NO, data
            assert there is not Match.NO or (broad is Match.NO and name not in names), data
            assert there is not Match.YES or name in names, data
    kinds = tuple(("content-type", value) for value in data[:_SHORT].decode("latin-1").split("\n"))
    fault, boundary = form_type(kinds)
    assert fault is None or boundary is None
    assert fault is not None or len(kinds) == 1
    assert boundary is None or boundary in data


def multipart(data: bytes) -> None:
    """Forms of the type multipart/form-data: a readable form has the parts that another parser finds."""
    work = WorkBudget()
    try:
        parts = read_multipart(data, b"B", work)
    except (AmbiguousForm, TooMuchWork):
        return
    assert 0 <= work.left <= MAX_WORK
    assert data.startswith(b"--B") and data.count(b"--B") == len(parts) + 1, data
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + data)
    others = message.get_payload() if message.is_multipart() else []
    assert len(others) == len(parts), data
    for part, other in zip(parts, others, strict=True):
        name = other.get_param("name", header="content-disposition")
        if part.names is not None and isinstance(name, str) and name.isascii():
            assert name in part.names, data
        if part.is_file is False:
            assert other.get_filename() is None, data
        values = part.values(data)
        assert values is None or data[part.start : part.end].decode("utf-8") in values, data
