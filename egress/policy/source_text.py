"""The texts of a policy: the content of its files when they were loaded, which may have changed since then."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import sha256

import attrs


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
    """Return the digest of a policy: the digest of its text, or a digest of the names and digests of its texts."""
    if len(texts) == 1:
        return texts[0].digest
    return sha256("".join(f"{text.digest}  {text.where}\n" for text in texts).encode("utf-8", "replace")).hexdigest()
