"""Tests for L{egress.proxy.listeners}."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest import mock

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed

from egress.client_auth import authenticator, jwt_keys
from egress.client_auth.authenticator import load_secrets
from egress.client_auth.htpasswd import token_line
from egress.client_auth.key_source import FetchKeys
from egress.config.listener import Listener
from egress.config.model import ConfigError, ProxyConfig
from egress.http.sniff import PREFACE
from egress.model.authority import Authority
from egress.model.jwt_issuer import JwtIssuer
from egress.proxy.factory import ProxyFactory
from egress.proxy.listeners import key_downloads, listener_factories, listener_security
from egress.tls.origin_trust import OriginTrust
from egress.transport.tls import TlsFactory
from tests.certificates import CLIENT, TestCA, TestCertificate
from tests.client_auth.jwt_issuer import ISSUER, key_set, token
from tests.files import make_directory
from tests.proxy.fakes import ProxyTestCase, Wire, request, response, status_of
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import PlainEnd, StreamWire
from tests.socks.test_requests import greeting
from tests.transport.tls import TlsClient, TlsEnd, presenting

URL = "http://origin.test/a"
TOKEN = "Proxy-Authorization: Bearer t0ken"


class ListenerTests(ProxyTestCase):
    """The authentication and TLS of each listener."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = make_directory(self)
        self.clients_file = self.directory / "clients.txt"
        self.clients_file.write_text(token_line("ci", b"t0ken"))
        self.ca = TestCA("Clients")
        self.client_ca = self.ca.write(self.directory, "clients")
        self.pem = TestCA().issue("proxy.test").write_combined(self.directory, "proxy")

    def factories(self, *listen: str, **options: Any) -> list[Any]:
        config = ProxyConfig(listen=listen, **options)

        def in_thread(check: Any) -> Deferred[bool]:
            return succeed(check())

        self.fetched: list[tuple[JwtIssuer, OriginTrust]] = []

        def fetch_of(issuer: JwtIssuer, trust: OriginTrust) -> FetchKeys:
            self.fetched.append((issuer, trust))
            return lambda: succeed(key_set())

        security = listener_security(config, self.clock, in_thread, fetch_of)
        self.downloads = key_downloads(security)
        return listener_factories(security, self.proxy.parts)

    def meet(self, factory: Any) -> Wire:
        wire = Wire(self.clock)
        self.clients.append(wire)
        return wire.connect(factory.buildProtocol(None))

    def over_tls(self, factory: Any, mine: TestCertificate | None = None) -> TlsEnd:
        return TlsClient(self.meet(factory), None, context=presenting(mine)).shake()

    def status(self, client: Any, *fields: str) -> int:
        client.feed(request("GET", URL, *fields))
        if self.dialer.origins and not self.origin.disconnected and self.origin.written:
            self.origin.take()
            self.origin.feed(response())
        return status_of(client.take())

    def test_open(self) -> None:
        (factory,) = self.factories("tcp:8080")
        self.assertIsInstance(factory, ProxyFactory)
        self.assertEqual(self.status(self.meet(factory)), 200)

    def test_one_setting_for_all(self) -> None:
        for factory in self.factories("tcp:8080", "unix:/run/x", client_auth=self.clients_file):
            self.assertEqual(self.status(self.meet(factory)), 407)
            self.assertEqual(self.status(self.meet(factory), TOKEN), 200)

    def test_https_urls_in_clear_text(self) -> None:
        for listen, expected in (
            ("tcp:8080", 400),
            ("tcp:8080:https=allow", 200),
            ("tcp:8080:interface=127.0.0.1", 200),
            ("tcp:8080:interface=127.0.0.1:https=refuse", 400),
            ("unix:/run/x", 200),
        ):
            with self.subTest(listen):
                (factory,) = self.factories(listen)
                client = self.meet(factory)
                client.feed(request("GET", "https://origin.test/a"))
                if expected == 200:
                    self.assertTrue(self.dialer.dialled[-1].tls)
                    self.origin.feed(response())
                self.assertEqual(status_of(client.take()), expected)

    def test_settings_per_listener(self) -> None:
        other = self.directory / "other.txt"
        other.write_text(token_line("other", b"0ther"))
        opened, own, default = self.factories(
            "tcp:1:client-auth=none", f"tcp:2:client-auth={other}", "tcp:3", client_auth=self.clients_file
        )
        self.assertEqual(self.status(self.meet(opened)), 200)
        self.assertEqual(self.status(self.meet(default), TOKEN), 200)
        self.assertEqual(self.status(self.meet(own), TOKEN), 407)
        self.assertEqual(self.status(self.meet(own), "Proxy-Authorization: Bearer 0ther"), 200)

    def bearer(self, **claims: Any) -> str:
        now = time.time()
        return f"Proxy-Authorization: Bearer {token(exp=now + 60, iat=now, nbf=now, **claims).decode()}"

    def test_tokens(self) -> None:
        """Listeners with the same issuer share its keys."""
        setting = f"jwt:{ISSUER}"
        escaped = setting.replace(":", "\\:")
        factories = self.factories("tcp:1", f"tcp:2:client-auth={escaped}", client_auth=setting)
        ((issuer, _),) = self.fetched
        self.assertEqual(issuer, JwtIssuer(ISSUER))
        for factory in factories:
            self.assertEqual(self.status(self.meet(factory)), 407)
            self.assertEqual(self.status(self.meet(factory), TOKEN), 407)
            self.assertEqual(self.status(self.meet(factory), self.bearer()), 200)
            self.assertEqual(self.status(self.meet(factory), self.bearer(aud="other")), 407)
        self.assertEqual(list(self.downloads.checks), ["client-auth"])
        self.successResultOf(self.downloads.check_ready())

    def test_keys_in_a_file(self) -> None:
        keys = self.directory / "keys.json"
        keys.write_bytes(key_set())
        (factory,) = self.factories("tcp:1", client_auth=JwtIssuer(ISSUER, jwks=keys))
        self.assertEqual(self.status(self.meet(factory), self.bearer()), 200)
        self.assertEqual((self.fetched, self.downloads.checks), ([], {}))

    def test_unusable_tokens(self) -> None:
        bad = self.directory / "bad"
        bad.write_text("x")
        for setting, reason in (
            (f"jwt:{ISSUER}:jwks={bad}", "cannot be parsed"),
            (f"jwt:{ISSUER}:jwks={bad}x", "cannot be read"),
            (f"jwt:{ISSUER}:ca={bad}", str(bad)),
        ):
            error = self.assertRaises(ConfigError, self.factories, "tcp:1", client_auth=setting)
            self.assertEqual(error.option, "--client-auth")
            self.assertIn(reason, error.remedy)
        with mock.patch.object(jwt_keys, "import_module", side_effect=ImportError):
            error = self.assertRaises(ConfigError, self.factories, f"tcp:1:client-auth=jwt\\:x\\:jwks={bad}")
        self.assertEqual(
            (error.option, error.remedy), ("--listen", "needs the library PyJWT: pip install 'egressproxy[jwt]'")
        )

    def test_unverified_names(self) -> None:
        """Unverified names are allowed only if no listener verifies names."""
        label = "Proxy-Authorization: Basic YWRtaW46eA=="
        for listen, name in (
            (["tcp:1"], "admin"),
            (["tcp:1", f"tcp:2:client-auth={self.clients_file}"], None),
            (["tcp:1", f"ssl:2:privateKey={self.pem}:client-ca={self.client_ca}"], None),
        ):
            self.assertEqual(self.status(self.meet(self.factories(*listen)[0]), label), 200)
            self.assertEqual(self.authorizer.asked[-1].client.identity, name, listen)

    def test_transparent(self) -> None:
        """A client of a transparent listener has no verified name, and cannot claim one."""
        _, factory = self.factories("tcp:1", "tcp:2:transparent=yes:client-auth=none", client_auth=self.clients_file)
        self.patch(factory, "_find_original", lambda transport: Authority("203.0.113.9", 80))
        client = self.meet(factory)
        client.feed(request("GET", "/a", "Proxy-Authorization: Basic YWRtaW46eA=="))
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")
        self.assertIsNone(self.authorizer.asked[0].client.identity)

    def test_http2(self) -> None:
        """With TLS by default, and without TLS where it is permitted."""
        h2c, both, http = self.factories("tcp:1:h2c=yes", "tcp:2:h2c=yes:socks5=yes", "tcp:3")
        for factory, start in ((h2c, b"\0\0"), (both, b"\0\0"), (http, b"HTTP/1.1 505 ")):
            self.assertTrue(self.meet(factory).feed(PREFACE).take().startswith(start))
        tls = f"ssl:1:privateKey={self.pem}"
        for http2, protocol in ((True, b"h2"), (False, b"http/1.1")):
            (factory,) = self.factories(tls, http2=http2)
            client = TlsClient(self.meet(factory), None, context=presenting(None), protocols=[b"h2", b"http/1.1"])
            self.assertEqual(client.shake().connection.get_alpn_proto_negotiated(), protocol)

    def test_http2_behind_a_load_balancer(self) -> None:
        """The header of the PROXY protocol names the client of each stream, and of the contents of tunnels."""
        self.authorizer.needs_body = False
        header = b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 1\r\n"
        h2c, over_tls = self.factories("haproxy:tcp:1:h2c=yes", f"haproxy:ssl:2:privateKey={self.pem}")
        plain = self.meet(h2c).feed(header)
        tls = TlsClient(self.meet(over_tls).feed(header), None, context=presenting(None), protocols=[b"h2"]).shake()
        for end in (PlainEnd(plain), tls):
            http2 = Http2Client(end)  # type: ignore[arg-type]
            http2.request(scheme="http")
            stream = http2.h2.get_next_available_stream_id()
            http2.send([(b":method", b"CONNECT"), (b":authority", b"origin.test:80")], stream, end=False)
            StreamWire(http2, stream).feed(request(url="/b"))
        found = [(asked.url, asked.client.address, asked.client.port) for asked in self.authorizer.asked]
        self.assertEqual(found, [(URL, "192.0.2.9", 5000), (f"{URL[:-1]}b", "192.0.2.9", 5000)] * 2)

    def test_socks5(self) -> None:
        """Each listener decides for itself whether it accepts SOCKS5."""
        socks, http, over_tls = self.factories(
            "tcp:1:socks5=yes", "tcp:2", f"ssl:3:privateKey={self.pem}:socks5=yes", client_auth=self.clients_file
        )
        client = self.meet(socks)
        client.feed(greeting(2))
        self.assertEqual(client.take(), b"\x05\x02")
        self.assertEqual(self.over_tls(over_tls).send(greeting(2)).take(), b"\x05\x02")
        client = self.meet(http)
        client.feed(greeting(2))
        self.assertEqual(status_of(client.take()), 400)

    def test_the_same_file_is_read_once(self) -> None:
        with mock.patch.object(authenticator, "load_secrets", wraps=load_secrets) as load:
            factories = self.factories("tcp:1", "tcp:2", client_auth=self.clients_file)
            for factory in factories:
                self.assertEqual(self.status(self.meet(factory), TOKEN), 200)
        load.assert_called_once_with(self.clients_file)

    def test_tls(self) -> None:
        (factory,) = self.factories(f"ssl:8443:privateKey={self.pem}", client_auth=self.clients_file)
        self.assertIsInstance(factory, TlsFactory)
        self.assertEqual(self.status(self.over_tls(factory)), 407)
        self.assertEqual(self.status(self.over_tls(factory), TOKEN), 200)

    def test_client_certificates(self) -> None:
        (factory,) = self.factories(f"ssl:8443:privateKey={self.pem}:client-ca={self.client_ca}")
        client = self.over_tls(factory, self.ca.issue(usage=CLIENT, subject="runner-7"))
        self.assertEqual(self.status(client), 200)
        self.assertEqual(self.authorizer.asked[0].client.identity, "runner-7")
        self.assertEqual(self.records[0].client.identity, "runner-7")

    def test_no_client_certificate(self) -> None:
        (factory,) = self.factories(f"ssl:8443:privateKey={self.pem}:client-ca={self.client_ca}")
        for mine in (None, TestCA("Strangers").issue(usage=CLIENT)):
            # With TLS 1.3 the client finishes the handshake before the proxy has checked the certificate.
            client = self.over_tls(factory, mine)
            self.assertRaises(SSL.Error, client.send, request())
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-tls-failed"] * 2)
        reasons = [record.reason.partition(": ")[2] for record in self.records]
        self.assertEqual(reasons, ["peer did not return a certificate", "certificate verify failed"])
        self.assertEqual({record.client.address for record in self.records}, {"198.51.100.7"})
        self.assertEqual(self.authorizer.asked, [])

    def test_plain_http_on_a_tls_listener(self) -> None:
        (factory,) = self.factories(f"ssl:8443:privateKey={self.pem}")
        self.meet(factory).feed(request())
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.assertIn("http request", self.records[0].reason)

    def test_a_silent_client(self) -> None:
        (factory,) = self.factories(f"ssl:8443:privateKey={self.pem}")
        self.meet(factory).end()
        slow = self.meet(factory)
        self.clock.advance(self.proxy.limits.head_timeout)
        self.clock.advance(0)
        self.assertTrue(slow.disconnected)
        self.assertEqual(self.records, [])

    def test_files_that_cannot_be_used(self) -> None:
        missing = self.directory / "missing"
        for listen, options, option in (
            ("tcp:1", {"client_auth": missing}, "--client-auth"),
            (f"tcp:1:client-auth={missing}", {}, "--listen"),
            (f"ssl:1:privateKey={missing}", {}, "--listen"),
            (f"ssl:1:privateKey={self.pem}:client-ca={missing}", {}, "--listen"),
        ):
            error = self.assertRaises(ConfigError, self.factories, listen, **options)
            self.assertEqual(error.option, option)
            self.assertIn(f"{missing}: ", str(error))

    def test_the_authentication_of_each_listener(self) -> None:
        for listen, options, asks in (
            ("tcp:1", {}, False),
            ("ssl:1", {}, False),
            ("tcp:1", {"client_auth": missing_path()}, True),
            ("tcp:1:client-auth=none", {"client_auth": missing_path()}, False),
            ("ssl:1:client-ca=x:client-auth=none", {}, True),
        ):
            # The second listener uses the setting for all.
            config = ProxyConfig(listen=(listen, "tcp:2"), **options)  # type: ignore[arg-type]
            self.assertEqual(config.requires_auth_at(config.listen[0]), asks, listen)
            self.assertIsInstance(config.listen[0], Listener)


def missing_path() -> Path:
    """A file that is not read here."""
    return Path("clients.txt")
