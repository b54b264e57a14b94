"""Tests for L{egress.model.text_converters}; more about texts is in L{tests.config.test_parsers}."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from egress.model import text_converters as setting_text
from egress.model.authority import Authority, UpstreamProxy
from egress.model.converters import BadValue
from egress.model.dns_server import DnsServer
from egress.model.no_proxy import Bypass

PROXY = UpstreamProxy("http", Authority("a.test", 3128), b"Basic dTpw")


class TextTests(SynchronousTestCase):
    """Texts and values that an application can use."""

    def test_accepted(self) -> None:
        for kind, value, expected in (
            (setting_text.field_name, "X-User", "x-user"),
            (setting_text.token, "abc", "abc"),
            (setting_text.interface, "::1", "::1"),
            (setting_text.interface, ip_address("127.0.0.1"), "127.0.0.1"),
            (setting_text.authz_url, "HTTPS://A.test:443/x", "https://a.test/x"),
            (setting_text.upstream_proxy, PROXY, PROXY),
            (setting_text.upstream_proxy, "u:p@a.test:3128", PROXY),
            (setting_text.upstream_proxy, "https://a.test/", UpstreamProxy("https", Authority("a.test", 443))),
            (setting_text.dns_server, "127.0.0.1", DnsServer.parse("127.0.0.1:53")),
            (setting_text.dns_server, DnsServer.parse("[::1]:5353"), DnsServer.parse("[::1]:5353")),
            (setting_text.upgrade_protocol, "SPDY/3.1", "spdy/3.1"),
            (setting_text.bypass, Bypass(everything=True), Bypass(everything=True)),
            (setting_text.bypass, "*", Bypass(everything=True)),
            (setting_text.bypass, ["a.test", "b.test"], Bypass.parse("a.test,b.test")),
            (setting_text.host_pattern, "*.a.test:1", "*.a.test:1"),
            (setting_text.host_name, "Proxy.A.test", "proxy.a.test"),
            (setting_text.host_name, "[::1]", "::1"),
            (setting_text.host_name, "2001:DB8:0::5", "2001:db8::5"),
            (setting_text.name_constraint, ".A.test", "a.test"),
            (setting_text.audit_store, "sqlite:a.db", "sqlite:a.db"),
            (setting_text.name_constraint, "10.0.0.0/8", ip_network("10.0.0.0/8")),
            (setting_text.name_constraint, "[::1]", ip_network("::1")),
            (setting_text.name_constraint, ip_network("::/8"), ip_network("::/8")),
        ):
            with self.subTest(value):
                self.assertEqual(kind(value), expected)

    def test_rejected(self) -> None:
        kinds: tuple[tuple[Callable[[object], object], tuple[object, ...]], ...] = (
            (setting_text.field_name, ("", "a b", 5)),
            (setting_text.token, ("", "a b", b"a", "\u00e4")),
            (setting_text.interface, ("", "localhost", None)),
            (
                setting_text.authz_url,
                (*("", "a.test", "ftp://a.test", "http://u@a.test", "http://a.test/?a", "http://a.test/x#y"), 5, None),
            ),
            (
                setting_text.upstream_proxy,
                (*("", "ftp://a.test", "http://a?b@a.test", "http://a.test/x", "http://a%3ab:c@a.test"), 5, None),
            ),
            (setting_text.dns_server, ("", "dns.test", 5, None)),
            (setting_text.upgrade_protocol, ("", "a b", "websocket", "h2c", 5, None)),
            (setting_text.bypass, ("10.0.0.0/99", 5, None, [5], {"a.test"})),
            (setting_text.host_pattern, ("*", "a b", 5)),
            (setting_text.host_name, ("", "a b", "a.test:8080", "https://a.test", 5, None)),
            (setting_text.audit_store, ("", "a.db", "sqlite:", "mysql://a.test", 5, None)),
            (setting_text.name_constraint, ("a b", "10.0.0.1/8", 5, None)),
        )
        for kind, values in kinds:
            for value in values:
                with self.subTest(kind.__name__, value=value):
                    self.assertTrue(self.assertRaises(BadValue, kind, value).remedy)
