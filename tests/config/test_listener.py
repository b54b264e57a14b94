"""Tests for L{egress.config.listener}."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.listener import InvalidListener, Listener, ListenerTls
from egress.model.authority import Authority
from egress.model.converters import ConfigError
from egress.model.jwt_issuer import JwtIssuer

PEM = Path("server.pem")


class ParseTests(SynchronousTestCase):
    """Descriptions with settings of the proxy."""

    def test_twisted_endpoints(self) -> None:
        """They are not changed."""
        for text in (
            "tcp:8080:interface=127.0.0.1",
            "tcp6:8080:interface=\\:\\:1",
            "unix:/run/egress.sock:mode=660",
            "haproxy",
            "unix:/run/a\\:b",
            "8080",
            "",
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), Listener(text))

    def test_client_auth(self) -> None:
        for text, endpoint, path in (
            (
                "tcp:8080:client-auth=clients.txt:interface=127.0.0.1",
                "tcp:8080:interface=127.0.0.1",
                Path("clients.txt"),
            ),
            ("tcp:8080:client-auth=none", "tcp:8080", None),
            ("unix:/run/x:client-auth=/etc/a\\:b=c", "unix:/run/x", Path("/etc/a:b=c")),
            ("tcp:1:client-auth=jwt\\:https\\://a\\:claim=b", "tcp:1", JwtIssuer("https://a", claim="b")),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), Listener(endpoint, None, True, path))

    def test_tls(self) -> None:
        for text, endpoint, tls in (
            ("ssl:8443", "tcp:8443", ListenerTls(PEM, PEM)),
            ("ssl:port=8443:privateKey=a.pem", "tcp:port=8443", ListenerTls(Path("a.pem"), Path("a.pem"))),
            (
                "ssl:8443:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem:extraCertChain=chain.pem:backlog=9",
                "tcp:8443:interface=127.0.0.1:backlog=9",
                ListenerTls(Path("key.pem"), Path("cert.pem"), Path("chain.pem")),
            ),
            (
                "ssl:8443:interface=\\:\\:1:client-ca=ca.pem",
                "tcp6:8443:interface=\\:\\:1",
                ListenerTls(PEM, PEM, None, Path("ca.pem")),
            ),
            ("ssl:8443:client-ca=none", "tcp:8443", ListenerTls(PEM, PEM)),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), Listener(endpoint, tls))

    def test_https_urls(self) -> None:
        for text, expected in (
            ("tcp:8080:interface=127.0.0.1", True),
            ("tcp:8080:interface=127.1.2.3:backlog=9", True),
            ("tcp:port=8080:interface=localhost", True),
            ("tcp:8080:127.0.0.1", True),
            ("tcp6:8080:interface=\\:\\:1", True),
            ("unix:/run/egress.sock:mode=660", True),
            ("ssl:8443", True),
            ("ssl:8443:interface=192.0.2.1", True),
            ("tcp:8080", False),
            ("tcp:8080:interface=", False),
            ("tcp:8080:interface=0.0.0.0", False),
            ("tcp6:8080:interface=\\:\\:", False),
            ("tcp:8080:interface=192.0.2.1", False),
            ("tcp:8080:interface=proxy.test", False),
            ("tcp:8080:interface=localhost.evil.test", False),
            ("haproxy:tcp:8080:interface=127.0.0.1", False),
            ("systemd:domain=INET:index=0", False),
            ("", False),
            ("tcp:8080:https=allow", True),
            ("systemd:domain=INET:index=0:https=allow", True),
            ("tcp:8080:interface=127.0.0.1:https=refuse", False),
            ("ssl:8443:https=refuse", False),
            ("unix:/run/x:https=refuse", False),
        ):
            with self.subTest(text):
                self.assertIs(Listener.parse(text).takes_https_urls, expected)
        self.assertEqual(Listener.parse("tcp:8080:https=allow"), Listener("tcp:8080", https=True))

    def test_proxy_protocol(self) -> None:
        """It can be below TLS, and on each other kind of endpoint."""
        for text, expected in (
            ("haproxy:tcp:8080", Listener("tcp:8080", proxy_protocol=True)),
            ("haproxy:ssl:8443", Listener("tcp:8443", ListenerTls(PEM, PEM), proxy_protocol=True)),
            ("haproxy:systemd:name=a:client-auth=none", Listener("systemd:name=a", None, True, proxy_protocol=True)),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), expected)
        networks = (ip_network("192.0.2.7/32"), ip_network("2001:db8::/32"))
        listener = Listener.parse("haproxy:tcp:1:balancers=192.0.2.7, 2001\\:db8\\:\\:/32:socks5=yes")
        self.assertEqual(listener, Listener("tcp:1", proxy_protocol=True, socks5=True, balancers=networks))
        self.assertRaises(ConfigError, Listener, "tcp:1", balancers=networks)
        self.assertRaises(InvalidListener, Listener.parse, "haproxy:tcp:1:transparent=yes")
        self.assertRaises(ConfigError, Listener, "tcp:1", transparent=True, proxy_protocol=True)

    def test_transparent(self) -> None:
        for text, expected in (
            ("tcp:8080:transparent=yes", Listener("tcp:8080", transparent=True)),
            ("tcp:8080:transparent=no", Listener("tcp:8080")),
            ("tcp:8080:client-auth=none:transparent=yes", Listener("tcp:8080", sets_auth=True, transparent=True)),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), expected)
        self.assertRaises(ConfigError, Listener, "tcp:1", https=True, transparent=True)

    def test_h2c(self) -> None:
        for text, expected in (
            ("tcp:8080:h2c=yes", Listener("tcp:8080", h2c=True)),
            ("tcp:8080:h2c=no", Listener("tcp:8080")),
            ("unix:/run/a:h2c=yes:socks5=yes", Listener("unix:/run/a", socks5=True, h2c=True)),
            ("haproxy:tcp:8080:h2c=yes", Listener("tcp:8080", proxy_protocol=True, h2c=True)),
            ("ssl:8443:h2c=no", Listener("tcp:8443", ListenerTls(PEM, PEM))),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), expected)
        self.assertRaises(ConfigError, Listener, "tcp:1", ListenerTls(PEM, PEM), h2c=True)
        self.assertRaises(ConfigError, Listener, "tcp:1", transparent=True, h2c=True)

    def test_socks5(self) -> None:
        for text, expected in (
            ("tcp:8080:socks5=yes", Listener("tcp:8080", socks5=True)),
            ("tcp:8080:socks5=no", Listener("tcp:8080")),
            ("ssl:8443:socks5=yes", Listener("tcp:8443", ListenerTls(PEM, PEM), socks5=True)),
            ("unix:/run/a:socks5=yes:client-auth=none", Listener("unix:/run/a", sets_auth=True, socks5=True)),
            ("haproxy:tcp:8080:socks5=yes", Listener("tcp:8080", proxy_protocol=True, socks5=True)),
        ):
            with self.subTest(text):
                self.assertEqual(Listener.parse(text), expected)
        self.assertRaises(ConfigError, Listener, "tcp:1", transparent=True, socks5=True)

    def test_kinds(self) -> None:
        for text, expected in (
            ("tcp:8080", ()),
            ("tcp:8080:transparent=yes", ("transparent",)),
            ("tcp:8080:socks5=yes", ("SOCKS5 and HTTP",)),
            ("tcp:8080:h2c=yes", ("HTTP/2 without TLS",)),
            ("haproxy:ssl:8443:socks5=yes", ("PROXY protocol", "TLS", "SOCKS5 and HTTP")),
        ):
            self.assertEqual(Listener.parse(text).kinds, expected)

    def test_paths(self) -> None:
        listener = Listener.parse("ssl:1:certKey=c:client-ca=d:client-auth=e", lambda text: Path("/etc") / text)
        tls = ListenerTls(Path("/etc/server.pem"), Path("/etc/c"), None, Path("/etc/d"))
        self.assertEqual(listener, Listener("tcp:1", tls, True, Path("/etc/e")))

    def test_listens_on(self) -> None:
        """It is known without resolving a name."""
        for text, host, expected in (
            ("tcp:8080:interface=127.0.0.1", "localhost", True),
            ("tcp6:8080:interface=\\:\\:1", "::1", True),
            ("ssl:port=8080", "127.0.0.1", True),
            ("tcp:8080:interface=gateway", "gateway", True),
            ("tcp:8081", "127.0.0.1", False),
            ("tcp:8080", "192.0.2.1", False),
            ("unix:/run/a", "127.0.0.1", False),
        ):
            with self.subTest(text, host=host):
                self.assertIs(Listener.parse(text).listens_on(Authority(host, 8080)), expected)

    def test_file_without_effect(self) -> None:
        """A file of secrets means that clients must authenticate."""
        error = self.assertRaises(ConfigError, Listener, "tcp:1", client_auth=Path("clients.txt"))
        self.assertEqual((error.option, error.value), ("client_auth", "clients.txt"))
        self.assertEqual(Listener("tcp:1", None, True, "a.txt").client_auth, Path("a.txt"))  # type: ignore[arg-type]

    def test_rejected(self) -> None:
        for text, words in (
            ("tcp:8080:client-ca=ca.pem", "client-ca requires an ssl:"),
            ("tcp:8080:client-auth=", "client-auth is empty"),
            ("tcp:8080:client-auth=jwt\\:http\\://a", "client-auth: write an https:// URL"),
            ("tcp:8080:client-auth=a:client-auth=b", "client-auth is set twice: remove one of them"),
            ("ssl:8443:sslmethod=SSLv23_METHOD", "no setting sslmethod"),
            ("ssl:8443:dhParameters=dh.pem", "no setting dhParameters"),
            ("ssl:8443:privateKey=", "privateKey is empty"),
            ("tcp:8080\\", "backslash"),
            ("tcp:8080:https=yes", "https must be allow or refuse"),
            ("tcp:8080:https=", "https must be allow or refuse"),
            ("tcp:8080:https=allow:https=refuse", "https is set twice: remove one of them"),
            ("tcp:8080:transparent=true", "transparent must be yes or no"),
            ("ssl:8080:transparent=yes", "remove ssl:"),
            ("tcp:8080:transparent=yes:client-auth=a", "remove ssl:, client-auth=FILE"),
            ("tcp:8080:https=allow:transparent=yes", "https=, socks5= and h2c="),
            ("unix:/run/a:transparent=yes", "set tcp: or tcp6:"),
            ("tcp:8080:h2c=1", "h2c must be yes or no"),
            ("ssl:8443:h2c=yes", "select HTTP/2 in the TLS handshake"),
            ("tcp:8080:h2c=yes:transparent=yes", "https=, socks5= and h2c="),
            ("tcp:8080:socks5=only", "socks5 must be yes or no"),
            ("tcp:8080:balancers=192.0.2.7", "balancers requires haproxy:"),
            ("haproxy:tcp:8080:balancers=", "write addresses or ranges"),
            ("haproxy:tcp:8080:balancers=lb.test", "write addresses or ranges"),
            ("haproxy:tcp:8080:balancers=10.0.0.1/8", "write addresses or ranges"),
            ("haproxy:tcp:8080:balancers=192.0.2.7:balancers=192.0.2.8", "balancers is set twice"),
            ("tcp:8080:socks5=yes:transparent=yes", "https=, socks5= and h2c="),
        ):
            with self.subTest(text):
                self.assertIn(words, self.assertRaises(InvalidListener, Listener.parse, text).remedy)
