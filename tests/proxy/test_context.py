"""Tests for L{egress.proxy.context}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import PROXY_HOST, Authority
from egress.proxy.context import AuthzContext
from tests.proxy.fakes import Proxy


class ProxyContextTests(SynchronousTestCase):
    """Values that are derived from the configuration."""

    def test_passthrough(self) -> None:
        tunnels = Proxy(passthrough=("a.test", "*.b.test:443")).parts.tunnels
        for host, port, passes in (
            ("a.test", 443, True),
            ("x.a.test", 443, False),
            ("x.b.test", 443, True),
            ("x.b.test", 444, False),
            ("b.test", 443, False),
        ):
            with self.subTest(f"{host}:{port}"):
                self.assertEqual(tunnels.is_passthrough(Authority(host, port)), passes)

    def test_the_proxy_itself_is_not_passed_through(self) -> None:
        tunnels = Proxy(passthrough=("*.test", PROXY_HOST), opaque_ports=(range(1, 65536),)).parts.tunnels
        self.assertTrue(tunnels.is_passthrough(Authority("x.a.test", 443)))
        self.assertFalse(tunnels.is_passthrough(Authority(PROXY_HOST, 443)))

    def test_opaque_ports(self) -> None:
        tunnels = Proxy(passthrough=("a.test:22",), opaque_ports=(range(5432, 5434), range(22, 23))).parts.tunnels
        for host, port, passes, opaque in (
            ("a.test", 22, True, True),
            ("b.test", 22, True, True),
            ("b.test", 5433, True, True),
            ("b.test", 5434, False, False),
            ("a.test", 443, False, False),
        ):
            with self.subTest(f"{host}:{port}"):
                authority = Authority(host, port)
                self.assertEqual(
                    (tunnels.is_passthrough(authority), tunnels.is_opaque_port(authority)), (passes, opaque)
                )

    def test_date(self) -> None:
        # RFC 9110 section 5.6.7.
        self.assertEqual(Proxy().parts.date(), b"Tue, 14 Nov 2023 22:13:20 GMT")

    def test_limits_of_heads(self) -> None:
        parts = Proxy().parts
        limits = parts.limits
        self.assertEqual(
            (parts.head_limits.head, parts.head_limits.fields, parts.head_limits.target),
            (limits.head, limits.fields, limits.target),
        )

    def test_ids_differ(self) -> None:
        own = Proxy().parts.authz
        authz = AuthzContext(own.clock, own.authorizer, own.report)
        self.assertNotEqual(authz.new_id(), authz.new_id())
