"""Content that hides a denied value: compressed, in several readings, or in an ambiguous form.

The authorizer denies a JSON member C{environment} that begins with C{prod}, and a form field C{admin}.  The bytes that
the origin receives are those of the client, so only the decision counts.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from importlib import import_module
from sys import version_info

import attrs
import brotli

from tests.scorecard.cases import Case, Must, forward, post, refuse

CODINGS = "Compressed content"
FORMS = "Forms"

_zstd = import_module("compression.zstd" if version_info >= (3, 14) else "backports.zstd")
_DENIED = b'{"environment":"production"}'
_FINE = b'{"environment":"test"}'


def _raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _stored(data: bytes) -> bytes:
    """Return a gzip member that contains the data as they are."""
    compressor = zlib.compressobj(0, wbits=31)
    return compressor.compress(data) + compressor.flush()


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw-deflate": _raw_deflate,
    "br": brotli.compress,
    "zstd": _zstd.compress,
}
_DENY = refuse(403)


def _case(name: str, group: str, about: str, must: Must, kind: bytes, content: bytes, *lines: bytes) -> Case:
    fields = (b"Content-Type: " + kind, b"Content-Length: %d" % len(content), *lines)
    sent = post(content, *fields).replace(b"<origin>/", b"<origin>/content/", 1)
    return Case(f"content-{name}", group, about, must, (sent,), by_content=True)


def _json(name: str, about: str, must: Must, content: bytes, *codings: bytes) -> Case:
    lines = [b"Content-Encoding: " + coding for coding in codings]
    return _case(name, CODINGS, about, must, b"application/json", content, *lines)


def _form(name: str, about: str, must: Must, content: bytes, *lines: bytes) -> Case:
    return _case(name, FORMS, about, must, b"application/x-www-form-urlencoded", content, *lines)


_NAME = b'Content-Disposition: form-data; name="note"'
_ADMIN = b'Content-Disposition: form-data; name="admin"'


def _part(header: bytes, content: bytes = b"1") -> bytes:
    return b"--B\r\n%b\r\n\r\n%b\r\n" % (header, content)


def _multipart(
    name: str, about: str, must: Must, *parts: bytes, end: bytes = b"--B--\r\n", kind: bytes = b"; boundary=B"
) -> Case:
    return _case(f"parts-{name}", FORMS, about, must, b"multipart/form-data" + kind, b"".join(parts) + end)


_ALL: tuple[Case, ...] = (
    _json("plain", "a denied value", _DENY, _DENIED),
    *(
        _json(f"{coding}-{word}", f"{coding}: {about}", must, encode(data), coding.removeprefix("raw-").encode())
        for coding, encode in _ENCODERS.items()
        for word, about, data, must in (
            ("denied", "a denied value", _DENIED, _DENY),
            ("fine", "another value", _FINE, forward()),
        )
    ),
    _json("twice", "gzip in br", _DENY, brotli.compress(gzip.compress(_DENIED)), b"gzip, br"),
    _json(
        "order", "gzip in br, declared in the other order", _DENY, brotli.compress(gzip.compress(_FINE)), b"br, gzip"
    ),
    _json("not-coded", "content that is not in the declared coding", _DENY, _FINE, b"gzip"),
    _json("two-fields", "two fields Content-Encoding", _DENY, gzip.compress(_FINE), b"gzip", b"identity"),
    _json("unknown", "an unknown coding", _DENY, gzip.compress(_FINE), b"x-compress"),
    _json("identity", "gzip after identity", _DENY, gzip.compress(_FINE), b"identity, gzip"),
    _json("truncated", "gzip without its end", _DENY, gzip.compress(_FINE)[:-1], b"gzip"),
    _json("checksum", "gzip with a wrong checksum", _DENY, gzip.compress(_FINE)[:-8] + bytes(8), b"gzip"),
    _json("after", "data after the end of gzip", _DENY, gzip.compress(_FINE) + _DENIED, b"gzip"),
    _json(
        "second",
        "a denied value in a second gzip member",
        _DENY,
        gzip.compress(b"  ") + gzip.compress(_DENIED),
        b"gzip",
    ),
    _json(
        "two-values", "two values in two gzip members", _DENY, gzip.compress(_FINE) + gzip.compress(_DENIED), b"gzip"
    ),
    _json(
        "skipped",
        "a zstd frame that decoders skip",
        _DENY,
        b"P*M\x18" + len(_DENIED).to_bytes(4, "little") + _DENIED + _zstd.compress(_FINE),
        b"zstd",
    ),
    _json("bomb", "10 MB of spaces in 10 kB", _DENY, gzip.compress(b" " * 10_000_000 + _FINE), b"gzip"),
    _form("form", "a denied field", _DENY, b"note=1&admin=1"),
    _form("form-fine", "other fields", forward(), b"note=1&administrator=1"),
    _form("form-encoded", "a percent-encoded name", _DENY, b"%61dmin=1"),
    _form("form-array", "a name with brackets", _DENY, b"Admin[]=1"),
    _form("form-semicolon", "a field after a semicolon", _DENY, b"note=1;admin=1"),
    _form("form-gzip", "gzip: a denied field", _DENY, gzip.compress(b"admin=1"), b"Content-Encoding: gzip"),
    _form("form-gzip-fine", "gzip: other fields", forward(), gzip.compress(b"note=1"), b"Content-Encoding: gzip"),
    _form(
        "form-both",
        "gzip that contains a denied field for servers that do not decode it",
        _DENY,
        gzip.compress(b"note=1", 9)[:10] + _stored(b"x&admin=1&x")[10:],
        b"Content-Encoding: gzip",
    ),
    _form(
        "form-comment",
        "a denied field in the file name of gzip",
        _DENY,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"&admin=1&\0" + gzip.compress(b"note=1")[10:],
        b"Content-Encoding: gzip",
    ),
    _form(
        "form-members",
        "two gzip members: some servers read only the first",
        _DENY,
        gzip.compress(b"note=1&adm") + gzip.compress(b"inistrator=1"),
        b"Content-Encoding: gzip",
    ),
    _multipart("denied", "a denied field", _DENY, _part(_NAME), _part(_ADMIN)),
    _multipart("fine", "other fields", forward(), _part(_NAME), _part(_NAME)),
    _multipart("file", "a file with the name of a denied field", _DENY, _part(_ADMIN + b'; filename="a"')),
    _multipart("preamble", "a denied field before the first boundary", _DENY, b"--C\r\n" + _part(_NAME)),
    _multipart("epilogue", "a part after the last boundary", _DENY, _part(_NAME), end=b"--B--\r\n" + _part(_ADMIN)),
    _multipart("no-end", "no last boundary", _DENY, _part(_NAME), end=b""),
    _multipart("lf", "lines that end in LF", _DENY, _part(_NAME, b"1\n--B\n" + _ADMIN + b"\n\n1")),
    _multipart("padding", "spaces after a boundary", _DENY, _part(_NAME, b"1\r\n--B  \r\n" + _ADMIN + b"\r\n\r\n1")),
    _multipart("prefix", "a longer boundary", _DENY, _part(_NAME, b"1\r\n--BB\r\n" + _ADMIN + b"\r\n\r\n1")),
    _multipart("two-names", "two fields Content-Disposition", _DENY, _part(_ADMIN + b"\r\n" + _NAME)),
    _multipart("two-parameters", "two names", _DENY, _part(_NAME + b'; name="admin"')),
    _multipart("extended", "a second name in another notation", _DENY, _part(_NAME + b"; name*=utf-8''admin")),
    _multipart("folded", "a folded field", _DENY, _part(_NAME.replace(b"; ", b";\r\n ") + b'; x="y"')),
    _multipart("escaped", "an escaped quote in a name", _DENY, _part(_NAME[:-1] + b'\\"; name="admin"')),
    _multipart("nul", "NUL in a name", _DENY, _part(_NAME[:-5] + b'admin\0x"')),
    _multipart("base64", "a transfer encoding", _DENY, _part(_NAME + b"\r\nContent-Transfer-Encoding: base64")),
    _multipart("charset-field", "a field that states the charset", _DENY, _part(_NAME.replace(b"note", b"_charset_"))),
    _multipart("two-boundaries", "two boundaries", _DENY, _part(_NAME), kind=b"; boundary=B; boundary=C"),
    _multipart("comma", "a boundary with a comma", _DENY, _part(_NAME), kind=b"; boundary=B,C"),
    _multipart("no-boundary", "no boundary", _DENY, _part(_NAME), kind=b""),
)

# Decoders of the standard read the permitted value; the proxy rejects the form or the size.
_ONE_READING = {"content-skipped", "content-bomb"}

CASES = tuple(attrs.evolve(case, one_reading=case.id in _ONE_READING) for case in _ALL)
