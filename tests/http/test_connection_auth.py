"""Tests for L{egress.http.connection_auth}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.connection_auth import has_credentials, names_scheme


class SchemeTests(SynchronousTestCase):
    """Values of Authorization and WWW-Authenticate."""

    def test_connection_based(self) -> None:
        for value in (
            b"NTLM",
            b"ntlm TlRMTVNTUAABAAAA",
            b"Negotiate YII=",
            b"NEGOTIATE",
            b"Kerberos x",
            b"Nego2",
            b'Basic realm="a", NTLM',
            b"Basic realm=a,Negotiate",
            b"Negotiate, NTLM",
            b'Digest realm="a, b", nonce="c", NTLM TlRM',
            b'Basic realm="no end, NTLM',
            b"Basic realm=a,\tNTLM",
        ):
            with self.subTest(value):
                self.assertTrue(names_scheme(value))

    def test_others(self) -> None:
        for value in (
            b"",
            b"Basic bnRsbTpudGxt",
            b"Bearer ntlm.negotiate.kerberos",
            b'Digest realm="intlm"',
            b"NTLMv2",
            b"X-NTLM abc",
            b"Basic x/ntlm=",
            b"Token ntlm-x",
        ):
            with self.subTest(value):
                self.assertFalse(names_scheme(value))

    def test_fields(self) -> None:
        self.assertTrue(has_credentials([(b"A", b"b"), (b"AUTHORIZATION", b"Basic x"), (b"authorization", b"nTLM x")]))
        self.assertFalse(has_credentials([(b"Cookie", b"NTLM"), (b"Authorization", b"Bearer x")]))
        self.assertFalse(has_credentials([]))
