"""Proxy credentials in UTF-8 or in Latin-1 (RFC 7617 section 2.1).

Reports of this class: scm-manager/scm-manager#627, terreng/simple-web-server#151, psf/requests#2663 (clients differ in
the encoding of a password).
"""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.internet.defer import maybeDeferred

from egress.client_auth.authenticator import ClientAuthenticator
from egress.proxy.client_auth import ClientAuthPolicy
from tests.client_auth.test_htpasswd import cheap_line
from tests.proxy.fakes import ProxyTestCase, deny, request


class EncodingTests(ProxyTestCase):
    """One client, independent of the encoding of its program."""

    def test_a_name_and_password_in_either_encoding(self) -> None:
        path = Path(self.mktemp())
        path.write_text(cheap_line("Zoë", "pässword".encode()) + "\n", encoding="utf-8")
        gate = ClientAuthenticator(path, self.clock, maybeDeferred)
        for encoding, password, outcome in (
            ("utf-8", "pässword", "denied"),
            ("latin-1", "pässword", "denied"),
            ("latin-1", "passwörd", "client-credentials-rejected"),
        ):
            with self.subTest(encoding=encoding, password=password):
                credentials = base64.b64encode(f"Zoë:{password}".encode(encoding)).decode("ascii")
                self.authorizer.answers = [deny()]
                client = self.proxy.client(auth_policy=ClientAuthPolicy(gate))
                self.clients.append(client)
                client.feed(request("GET", "http://origin.test/", f"Proxy-Authorization: Basic {credentials}"))
                record = self.records[-1]
                identity = "Zoë" if outcome == "denied" else None
                self.assertEqual((record.outcome, record.client.identity), (outcome, identity))
