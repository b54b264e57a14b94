"""Tests for L{egress.trust.anchors}."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.ca_certificates import Certificates
from egress.tls.issuer import fingerprint_of
from egress.trust.anchors import Entry, State, Wanted, anchor_name, certificates_in_text, pem_text
from tests.trust.authorities import CURRENT, NEXT, NOW, OTHER, PAST, PUBLIC


def entries(*certificates: x509.Certificate) -> list[Entry]:
    """Return the certificates of a store."""
    return [Entry(f"name {number}", each) for number, each in enumerate(certificates)]


class TextTests(SynchronousTestCase):
    """Certificates as text."""

    def test_certificates(self) -> None:
        """Text around them is ignored, and what is not a certificate is skipped."""
        broken = b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"
        text = b"# a comment\r\n" + pem_text(CURRENT) + broken + b"text" + pem_text(PUBLIC)
        self.assertEqual(list(certificates_in_text(text)), [CURRENT, PUBLIC])
        self.assertEqual(list(certificates_in_text(b"")), [])

    def test_names(self) -> None:
        self.assertRegex(anchor_name(CURRENT), r"\Aegressproxy-[0-9a-f]{16}\Z")
        self.assertNotEqual(anchor_name(CURRENT), anchor_name(NEXT))


class WantedTests(SynchronousTestCase):
    """L{Wanted}."""

    wanted = Wanted((CURRENT, NEXT), frozenset({fingerprint_of(PAST)}))

    def test_certificates(self) -> None:
        """During a rotation, all valid CAs are trusted; an expired one is a past one."""
        later = NOW + timedelta(days=500)
        certificates = Certificates(CURRENT, NEXT, (PAST,))
        self.assertEqual(Wanted.of(certificates, NOW), Wanted((CURRENT, NEXT, PAST), frozenset()))
        self.assertEqual(Wanted.of(certificates, later), self.wanted)

    def test_state(self) -> None:
        for present, expected in (
            ((), State.NOT_TRUSTED),
            ((PUBLIC,), State.NOT_TRUSTED),
            ((CURRENT,), State.NOT_TRUSTED),
            ((NEXT, PUBLIC, CURRENT), State.TRUSTED),
            ((NEXT, CURRENT, PAST), State.TRUSTED),
            ((PAST,), State.OLD_CA),
            ((CURRENT, OTHER), State.OLD_CA),
        ):
            with self.subTest(present):
                self.assertIs(self.wanted.state(entries(*present), NOW), expected)
        self.assertIs(self.wanted.state(entries(CURRENT, NEXT), NOW + timedelta(days=366)), State.EXPIRED)

    def test_selections(self) -> None:
        """The own certificates are found by their fingerprints; other CAs by their names."""
        present = entries(PUBLIC, PAST, OTHER, CURRENT)
        self.assertEqual(self.wanted.missing(present), [NEXT])
        self.assertEqual([entry.name for entry in self.wanted.own(present)], ["name 1", "name 3"])
        self.assertEqual([entry.name for entry in self.wanted.old(present)], ["name 1", "name 2"])
