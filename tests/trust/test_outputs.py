"""Tests for L{egress.trust.outputs}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.trust.anchors import Entry, pem_text
from egress.trust.outputs import entries_of_keytool, last_line, trusted_nicknames
from tests.trust.authorities import CURRENT, PUBLIC

# As certutil of NSS 3.87 prints it.
CERTUTIL = """
Certificate Nickname                                         Trust Attributes
                                                             SSL,S/MIME,JAR/XPI

egressproxy-0cc6ea53743d0e4f                                 C,,
Builtin Object Token:Corp Root (2, new)                      CT,C,C
My certificate, for me                                       u,u,u
an intermediate CA                                           ,,
a CA for email                                               ,C,
an untrusted CA                                              p,p,p
egressproxy-0cc6ea53743d0e4f                                 C,,
a name that is longer than the column of the nicknames, and longer CT,,
"""
# As keytool of OpenJDK 17 prints it.
KEYTOOL = b"""Keystore type: JKS
Keystore provider: SUN

Your keystore contains 3 entries

Alias name: debian:ac_raiz_fnmt-rcm.pem
Creation date: Nov 28, 2026
Entry type: trustedCertEntry

%s

*******************************************
*******************************************


Alias name: empty
Creation date: Nov 28, 2026
Entry type: SecretKeyEntry

*******************************************


Alias name: egress proxy \xc3\xa9
Entry type: trustedCertEntry

%s
"""


class OutputTests(SynchronousTestCase):
    """The output of programs."""

    def test_certutil(self) -> None:
        """Only certificates that are trusted as CAs of servers count, each once."""
        expected = [
            "egressproxy-0cc6ea53743d0e4f",
            "Builtin Object Token:Corp Root (2, new)",
            "a name that is longer than the column of the nicknames, and longer",
        ]
        for text in (CERTUTIL, CERTUTIL.replace("\n", "   \n")):
            self.assertEqual(trusted_nicknames(text), expected)
        self.assertEqual(trusted_nicknames(""), [])

    def test_keytool(self) -> None:
        listing = KEYTOOL % (pem_text(PUBLIC).replace(b"\n", b"\r\n"), pem_text(CURRENT))
        expected = [Entry("debian:ac_raiz_fnmt-rcm.pem", PUBLIC), Entry("egress proxy \xe9", CURRENT)]
        self.assertEqual(list(entries_of_keytool(listing)), expected)
        self.assertEqual(list(entries_of_keytool(b"Your keystore contains 0 entries\n")), [])

    def test_last_line(self) -> None:
        self.assertEqual(last_line(b"one\n two \n\n", b"three"), "two")
        self.assertEqual(last_line(b" \n", b"three\xff"), "three\N{REPLACEMENT CHARACTER}")
        self.assertEqual(last_line(b"", b""), "no output")
