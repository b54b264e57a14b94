"""The texts of a policy: the content of its files when they were loaded, which may have changed since then."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import attrs

VERSION_DIGITS: Final = 12
"""The digits of a digest in the version of a policy."""


@attrs.frozen
class SourceText:
    """The text of one document of a policy.

    @ivar where: the name of the document, as in the places of its rules.
    @ivar packed: the compressed text: a policy can have thousands of rules.
    @ivar digest: the SHA-256 digest of the text in hexadecimal, as C{sha256sum} prints it for the file.
    """

    where: str
    packed: bytes = attrs.field(repr=False)
    digest: str

    @classmethod
    def of(cls, where: str, text: str) -> SourceText:
        """Store a text."""
        content = text.encode("utf-8", "surrogatepass")
        return cls(where, zlib.compress(content, 1), sha256(content).hexdigest())

    @property
    def text(self) -> str:
        """The text."""
        return zlib.decompress(self.packed).decode("utf-8", "surrogatepass")


def digest_of(texts: Sequence[SourceText]) -> str:
    """Return the digest of a policy: the digest of its text, or a digest of the names and digests of its texts.

    The names exclude the common part of their beginnings, so that the digest is the same in each directory.
    """
    if len(texts) == 1:
        return texts[0].digest
    start = common_start([text.where for text in texts])
    lines = "".join(f"{text.digest}  {text.where[start:]}\n" for text in texts)
    return sha256(lines.encode("utf-8", "replace")).hexdigest()


def common_start(names: Sequence[str]) -> int:
    """Return the length of the common beginning of several names."""
    first, last = min(names), max(names)
    pairs = zip(first, last, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), len(first))


def version_of(texts: Sequence[SourceText], bundle: int | None = None) -> str | None:
    """Return the version of a policy, as records name it: the beginning of its digest.

    @param texts: its texts, the main one first.
    @param bundle: the version of its bundle, which precedes the digest.
    @return: C{None} if it has no text.
    """
    if not texts:
        return None
    digest = digest_of(texts)[:VERSION_DIGITS]
    return digest if bundle is None else f"{bundle}-{digest}"
