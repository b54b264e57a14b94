"""Hosts and Host fields as real clients send them.

Reports: kjd/idna#17 and m6w6/ext-http#52 (underscores), remusao/tldts#2591 (hyphens); dependabot/proxy#258 (a rewritten
Host breaks a signature); encode/httpx#392 and urllib3/urllib3#1222 (IPv6 addresses without brackets).
"""

from __future__ import annotations

from egress.model.decision import Obligations
from egress.model.errors import NameNotResolved
from egress.policy.parse.load import parse_policy
from tests.proxy.fakes import ProxyTestCase, allow, request, response, status_of
from tests.proxy.tunnels import InterceptTestCase, inner

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NAMES = ("api-.example", "-a.example", "a_b.example", "-.example", "r3---sn.example")


class NameTests(InterceptTestCase):
    """Labels that RFC 1123 does not permit in a host name, but that DNS has nevertheless."""

    def test_plain_http(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                self.client.feed(request("GET", f"http://{name}/a", host=name))
                self.assertEqual(self.authorizer.asked[-1].url, f"http://{name}/a")
                self.assertEqual(self.dialer.checked[-1][0].authority.host, name, "resolved as it is")
                self.assertIn(f"\r\nHost: {name}\r\n".encode(), self.origin.take())
                self.origin.feed(response())
                self.assertEqual(status_of(self.client.take()), 200)

    def test_inside_tls_with_a_certificate_for_the_name(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                self.setUp()
                tls = self.intercept(f"{name}:443", name)
                tls.send(inner(host=name))
                self.assertEqual(self.authorizer.asked[-1].url, f"https://{name}/a")
                self.origin.feed(response())
                self.assertEqual(status_of(tls.take()), 200)

    def test_a_policy_names_them(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                policy = parse_policy(f'version = 1\n[[rules]]\naction = "allow"\nhosts = ["{name}"]\n', "t", "t")
                self.client.feed(request("GET", f"http://{name}/", host=name))
                self.origin.feed(response())
                self.client.take()
                self.assertTrue(policy.decide(self.authorizer.asked[-1]).allowed)

    def test_a_name_without_an_address(self) -> None:
        self.dialer.checks = [NameNotResolved("the name -a.example has no address")]
        self.client.feed(request("GET", "http://-a.example/"))
        self.assertEqual(status_of(self.client.take()), 502)


class HostFieldTests(InterceptTestCase):
    """Host is forwarded as it was sent if it denotes the same authority; decisions use the canonical form."""

    def test_inside_a_tunnel(self) -> None:
        for host in ("origin.test", "Origin.TEST:443", "origin.test:443", "ORIGIN.test."):
            with self.subTest(host):
                self.setUp()
                tls = self.intercept()
                self.authorizer.answers = [allow()]
                tls.send(inner(host=host))
                self.assertIn(f"\r\nHost: {host}\r\n".encode(), self.origin.take())
                (asked,) = self.authorizer.asked
                self.assertEqual((asked.url, dict(asked.headers)[b"Host"]), ("https://origin.test/a", b"origin.test"))
                self.origin.feed(response())
                self.assertEqual(status_of(tls.take()), 200)

    def test_another_authority_is_rejected(self) -> None:
        for host in (
            "other.test",
            "origin.test:80",
            "origin.test:4430",
            "origin.test:443:443",
            "origin.test@other.test",
        ):
            with self.subTest(host):
                self.setUp()
                tls = self.intercept()
                tls.send(inner(host=host))
                self.assertIn(status_of(tls.take()), (400, 421))
                self.assertEqual(self.authorizer.asked, [])

    def test_fields_set_by_a_decision_are_added(self) -> None:
        tls = self.intercept()
        terms = Obligations(set_headers=((b"X-Team", b"a"),))
        decision = allow()
        self.authorizer.answers = [type(decision)(decision.verdict, "ok", "script", obligations=terms)]
        tls.send(inner(host="Origin.test:443"))
        sent = self.origin.take()
        self.assertEqual(sent.count(b"Host:"), 1)
        self.assertIn(b"\r\nHost: Origin.test:443\r\n", sent)
        self.assertIn(b"\r\nX-Team: a\r\n", sent)

    def test_spellings_share_a_connection(self) -> None:
        tls = self.intercept()
        for host in ("origin.test", "Origin.test:443"):
            tls.send(inner(host=host))
            self.origin.feed(response())
            self.assertEqual(status_of(tls.take()), 200)
        self.assertEqual(len(self.dialer.dialled), 1)

    def test_with_an_absolute_url(self) -> None:
        for host, sent in (
            ("Origin.test:80", "Origin.test:80"),
            ("other.test", "origin.test"),
            ("0x7f.1", "origin.test"),
        ):
            with self.subTest(host):
                self.client.feed(request("GET", "http://ORIGIN.test/a", host=host))
                self.assertIn(f"\r\nHost: {sent}\r\n".encode(), self.origin.take())
                self.origin.feed(response())
                self.client.take()


class BareIpv6Tests(ProxyTestCase):
    """The last colon separates the port."""

    def test_connect_and_host(self) -> None:
        self.client.feed(b"CONNECT ::1:8080 HTTP/1.1\r\nHost: ::1:8080\r\n\r\n")
        self.assertEqual(self.client.take(), ESTABLISHED)
        for host in (b"::1:8080", b"[::1]:8080"):
            self.client.feed(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            self.assertEqual(self.authorizer.asked[-1].url, "http://[::1]:8080/")
            self.assertIn(b"\r\nHost: [::1]:8080\r\n", self.origin.take())
            self.origin.feed(response())
            self.assertEqual(status_of(self.client.take()), 200)
        self.client.feed(b"GET / HTTP/1.1\r\nHost: ::1:8081\r\n\r\n")
        self.assertEqual(status_of(self.client.take()), 421)

    def test_without_a_port(self) -> None:
        for target in (b"::1", b"fe80::1%25eth0:443", b"[::1]", b"::1:443:", b"1:2:443"):
            with self.subTest(target):
                self.setUp()
                self.client.feed(b"CONNECT " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                self.assertEqual(status_of(self.client.take()), 400)
