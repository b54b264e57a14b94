"""Tests for L{egress.testing.origin_ca}."""

from __future__ import annotations

import contextlib
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.testing.origin_ca import OriginCa
from tests.files import make_directory


class OriginCaTests(SynchronousTestCase):
    """Its certificates verify with the written CA."""

    def test_handshake(self) -> None:
        ca = OriginCa()
        path: Path = ca.write(make_directory(self) / "ca.pem")
        authority = Authority("a.test", 443)
        self.assertIs(ca.context(authority), ca.context(authority))
        server, client = SSL.Connection(ca.context(authority), None), self.client(path)
        server.set_accept_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(1 << 16))
        certificate = client.get_peer_certificate()
        assert certificate is not None
        self.assertIn("a.test", str(certificate.to_cryptography().extensions))

    def client(self, path: Path) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(path))
        context.set_verify(SSL.VERIFY_PEER)
        client = SSL.Connection(context, None)
        client.set_connect_state()
        return client
