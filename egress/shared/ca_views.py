"""The CAs that replicas use: what each replica tells the others about its own, and whether two of them agree.

Clients of one load balancer reach all replicas.  So they must trust the root of each replica, whatever intermediate CA
signs.  During a rotation, replicas sign with two roots, and clients trust both.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from egress.tls.issuer import fingerprint_of, is_self_signed

if TYPE_CHECKING:
    from datetime import datetime

    from egress.tls.ca_certificates import Certificates

MAX_VIEWS: Final = 8
"""The maximum number of different views; the latest ones count."""

MAX_TRUSTED: Final = 64
"""The maximum number of trusted roots of a view."""

MAX_NODE: Final = 128
"""The maximum length of the name of a node."""

LIFETIME: Final = 60.0
"""Seconds after which a view that no replica repeats is ignored."""

_VERSION: Final = 1
_ANCHOR: Final = 18


def anchor_of(root: x509.Certificate) -> str:
    """Return what identifies a trust anchor: its name and its public key (RFC 5280 section 6.1.1).

    A root that is renewed with its key remains the same for clients.
    """
    digest = Hash(SHA256())
    digest.update(root.subject.public_bytes())
    digest.update(root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return b64encode(digest.finalize()[:_ANCHOR]).decode("ascii")


@attrs.frozen
class CaView:
    """The CA of one or more replicas that use the same one.

    @ivar signer: the trust anchor of the certificates that they present.
    @ivar trusted: the trust anchors of their clients.
    @ivar fingerprint: the SHA-256 of the root, for messages.
    @ivar node: the name of one of these replicas, for messages.
    @ivar time: when a replica repeated it, in seconds since the epoch.
    """

    signer: str
    trusted: frozenset[str]
    fingerprint: str = attrs.field(eq=False)
    node: str = attrs.field(eq=False)
    time: float = attrs.field(eq=False)

    @classmethod
    def of(cls, root: x509.Certificate, trusted: Iterable[x509.Certificate], node: str, time: float) -> CaView:
        """Make the view of a replica.

        @param root: the root of the CA that signs.
        @param trusted: the certificates that its clients trust.
        @param node: its name.
        @param time: the present time, in seconds since the epoch.
        """
        anchors = list(dict.fromkeys([anchor_of(root), *map(anchor_of, trusted)]))[:MAX_TRUSTED]
        return cls(anchors[0], frozenset(anchors), fingerprint_of(root), node[:MAX_NODE], time)

    @classmethod
    def of_files(cls, found: Certificates, now: datetime, node: str) -> CaView | None:
        """Make the view of a replica from the files of its CA; C{None} if the root is not one of them.

        @param now: the present time, with a time zone.
        """
        root = (found.current, *found.chain)[-1]
        if not is_self_signed(root):
            return None
        return cls.of(root, found.trusted(now), node, now.timestamp())

    def agrees_with(self, other: CaView) -> bool:
        """Tell whether the clients of each of two replicas accept the certificates of both."""
        return self.signer in other.trusted and other.signer in self.trusted


def encode(views: Iterable[CaView]) -> bytes:
    """Return views as bytes: the latest ones if there are too many."""
    latest = sorted(views, key=lambda view: view.time, reverse=True)[:MAX_VIEWS]
    content = [[each.signer, sorted(each.trusted), each.fingerprint, each.node, each.time] for each in latest]
    return json.dumps([_VERSION, content], separators=(",", ":")).encode("ascii")


def decode(content: bytes, now: float) -> list[CaView]:
    """Return the views that are in use; none if another version has written them.

    @param now: the time in seconds since the epoch.
    """
    try:
        version, views = json.loads(content)
        return [] if version != _VERSION else [each for each in map(_view, views) if abs(now - each.time) <= LIFETIME]
    except (ValueError, TypeError, RecursionError):
        return []


def _view(document: Sequence[Any]) -> CaView:
    signer, trusted, fingerprint, node, time = document
    texts = [signer, fingerprint, node, *trusted]
    if not all(isinstance(text, str) for text in texts) or type(time) not in (int, float):
        raise ValueError("not a view")
    return CaView(signer, frozenset(trusted), fingerprint, node, time)


def mismatches(own: CaView, views: Iterable[CaView]) -> list[CaView]:
    """Return the views that do not agree with this replica's own, in an order that does not change."""
    return sorted((each for each in views if not each.agrees_with(own)), key=lambda view: view.fingerprint)


def describe(found: Sequence[CaView]) -> str:
    """Describe views that do not agree with that of this replica; there is at least one."""
    others = ", ".join(f"{each.node} (SHA-256 {each.fingerprint})" for each in found)
    return (
        f"the root of the CA on {others} is another one: clients that trust only one of them reject certificates of "
        "other replicas"
    )
