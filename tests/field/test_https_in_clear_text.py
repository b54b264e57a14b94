"""C{GET https://host/} in clear text to the proxy port, as axios before 1.8 sends it.

Reports of this class: axios/axios#4531, axios/axios#6320, axios/axios#779.
"""

from __future__ import annotations

from egress.model.authority import DEFAULT_PORTS, Authority, Origin, UpstreamProxy
from egress.model.route import Purpose, Route
from egress.observability.audit_log import audit_line
from egress.proxy.client_auth import ClientAuthPolicy
from tests.proxy.fakes import ProxyTestCase, Wire, content_of, request, response, status_of

LOCAL = ClientAuthPolicy(schemes=DEFAULT_PORTS)


class HttpsUrlTests(ProxyTestCase):
    """Accepted on listeners where no third party can read it, and then handled as inside a tunnel."""

    def local(self) -> Wire:
        wire = self.proxy.client(auth_policy=LOCAL)
        self.clients.append(wire)
        return wire

    def test_accepted(self) -> None:
        client = self.local()
        client.feed(request("GET", "https://origin.test/a?b=c"))
        (asked,) = self.authorizer.asked
        self.assertEqual((asked.url, asked.method), ("https://origin.test/a?b=c", "GET"))
        origin = Origin("https", Authority("origin.test", 443))
        self.assertEqual(self.dialer.checked, [(origin, Purpose.REQUEST)])
        self.assertTrue(self.dialer.dialled[0].tls, "the origin is reached over verified TLS")
        self.assertTrue(self.origin.take().startswith(b"GET /a?b=c HTTP/1.1\r\nHost: origin.test\r\n"))
        self.origin.feed(response(b"secret"))
        self.assertEqual(content_of(client.take()), b"secret")
        self.assertIn(b'"url":"https://origin.test/a?b=c"', audit_line(self.records[0]))

    def test_http_and_https_do_not_share_connections(self) -> None:
        client = self.local()
        for url in ("https://origin.test/", "http://origin.test:443/", "https://origin.test/", "wss://origin.test/"):
            client.feed(request("GET", url))
            self.origin.take()
            self.dialer.origins[0 if url != "http://origin.test:443/" else 1].feed(response())
            self.assertEqual(status_of(client.take()), 200)
        self.assertEqual([route.tls for route in self.dialer.dialled], [True, False])

    def test_through_an_upstream_proxy_it_goes_inside_a_tunnel(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        origin = Origin("https", Authority("origin.test", 443))
        self.dialer.checks = [self._as_route(Route(origin, (), upstream, tls=True, connect=True))]
        self.local().feed(request("GET", "https://origin.test/a"))
        self.assertTrue(self.origin.take().startswith(b"GET /a HTTP/1.1\r\n"))
        self.origin.feed(response())

    def _as_route(self, route: Route) -> object:
        from twisted.internet.defer import succeed

        return succeed(route)

    def test_rejected_elsewhere_with_the_reason(self) -> None:
        self.client.feed(request("GET", "https://origin.test/a"))
        answer = self.client.take()
        self.assertEqual((status_of(answer), self.authorizer.asked, self.dialer.checked), (400, [], []))
        for words in (b"https", b"clear text", b"https=allow", b"CONNECT"):
            self.assertIn(words, content_of(answer))
        self.assertEqual(self.outcomes(), ["invalid-target"])
