"""Tests for L{egress.config}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config import ConfigError, Limits, Mode, OversizeBody, ProxyConfig
from egress.model.admin import AdminEndpoint
from egress.model.dns_server import DnsServer
from egress.model.entrance import Entrance


class LimitsTests(SynchronousTestCase):
    """No limit can be turned off by a zero."""

    def test_every_limit_is_positive(self) -> None:
        for attribute in attrs.fields(Limits):
            for value in (0, -1):
                with self.subTest(attribute.name, value=value):
                    error = self.assertRaises(ConfigError, Limits, **{attribute.name: value})
                    self.assertEqual(error.option, attribute.name)

    def test_defaults(self) -> None:
        self.assertEqual(Limits().body, 1024 * 1024)


class ProxyConfigTests(SynchronousTestCase):
    """The configuration of a proxy."""

    def test_timeout_is_positive(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, authz_timeout=0)

    def test_bounds_for_questions(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, authz_max_concurrency=0)
        self.assertRaises(ConfigError, ProxyConfig, authz_queue=-1)
        self.assertRaises(ConfigError, ProxyConfig, authz_breaker_failures=0)
        config = ProxyConfig(authz_queue=0, authz_breaker_failures=None)
        self.assertEqual((config.authz_max_concurrency, config.authz_queue), (256, 0))

    def test_there_is_at_least_one_process(self) -> None:
        self.assertEqual(ProxyConfig().workers, 1)
        self.assertRaises(ConfigError, ProxyConfig, workers=0)

    def test_admin(self) -> None:
        """Nobody is let in by an application that forgets the token."""
        self.assertIsNone(ProxyConfig().admin)
        self.assertEqual(ProxyConfig(admin="unix:/a").admin, AdminEndpoint.parse("unix:/a"))
        self.assertEqual(ProxyConfig(admin="tcp:9099", admin_token="hunter2").admin, AdminEndpoint.parse("tcp:9099"))
        self.assertNotIn("hunter2", repr(ProxyConfig(admin="tcp:9099", admin_token="hunter2")))
        self.assertEqual(self.assertRaises(ConfigError, ProxyConfig, admin="tcp:9099").option, "--admin")
        self.assertEqual(self.assertRaises(ConfigError, ProxyConfig, admin="tcp:x").option, "admin")

    def test_dns_servers(self) -> None:
        self.assertEqual(ProxyConfig().dns_servers, ())
        server = DnsServer.parse("[2001:db8::53]:5353")
        self.assertEqual(ProxyConfig(dns_servers=["[2001:db8::53]:5353", server]).dns_servers, (server, server))
        error = self.assertRaises(ConfigError, ProxyConfig, dns_servers=["dns.example"])
        self.assertEqual((error.option, error.value), ("dns_servers", "dns.example"))

    def test_bounds_for_people(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, approval_timeout=0)
        self.assertRaises(ConfigError, ProxyConfig, approval_queue=0)

    def test_observing_refuses_no_content(self) -> None:
        self.assertIs(ProxyConfig().over_body_limit, OversizeBody.REFUSE)
        self.assertIs(ProxyConfig(mode=Mode.OBSERVE).over_body_limit, OversizeBody.TRUNCATE)
        self.assertIs(ProxyConfig(oversize_body=OversizeBody.TRUNCATE).over_body_limit, OversizeBody.TRUNCATE)

    def test_entrances_are_read(self) -> None:
        entrance = Entrance("tcp:8080", None, True, Path("clients.txt"))
        self.assertEqual(ProxyConfig(listen=("tcp:8080:client-auth=clients.txt",)).listen, (entrance,))
        self.assertEqual(ProxyConfig(listen=(entrance,)).listen, (entrance,))
        error = self.assertRaises(ConfigError, ProxyConfig, listen=("tcp:8080:client-ca=ca.pem",))
        self.assertEqual((error.option, error.value), ("listen", "tcp:8080:client-ca=ca.pem"))

    def test_who_may_come_in(self) -> None:
        config = ProxyConfig(listen=("tcp:1", "tcp:2:client-auth=other.txt", "tcp:3:client-auth=none"))
        self.assertEqual([config.auth_at(each) for each in config.listen], [None, Path("other.txt"), None])
        config = attrs.evolve(config, client_auth=Path("all.txt"))
        self.assertEqual([config.auth_at(each) for each in config.listen], [Path("all.txt"), Path("other.txt"), None])

    def test_the_token_does_not_show(self) -> None:
        self.assertNotIn("hunter2", repr(ProxyConfig(authz_token="hunter2")))


class ConfigErrorTests(SynchronousTestCase):
    """One line that names option, value and remedy."""

    def test_text(self) -> None:
        self.assertEqual(str(ConfigError("--x", "y", "give z")), "--x 'y': give z")

    def test_a_secret_value_is_left_out(self) -> None:
        self.assertEqual(str(ConfigError("--x", "", "give z")), "--x: give z")
