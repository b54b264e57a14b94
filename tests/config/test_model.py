"""Tests for L{egress.config.model}."""

from __future__ import annotations

import math
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.config.admin_endpoint import AdminEndpoint
from egress.config.listener import Listener, ListenerTls
from egress.config.model import AuditFailure, ConfigError, Limits, Mode, OversizeBody, ProxyConfig
from egress.config.notify import NotifySettings
from egress.model.authority import Authority, UpstreamProxy
from egress.model.dns_server import DnsServer
from egress.model.no_proxy import Bypass


class LimitsTests(SynchronousTestCase):
    """No limit can be disabled with a zero."""

    def test_every_limit_is_positive(self) -> None:
        for attribute in attrs.fields(Limits):
            for value in (0, -1):
                with self.subTest(attribute.name, value=value):
                    error = self.assertRaises(ConfigError, Limits, **{attribute.name: value})
                    self.assertEqual(error.option, attribute.name)

    def test_defaults(self) -> None:
        self.assertEqual((Limits().body, Limits().body_memory), (16 * 1024 * 1024, 256 * 1024 * 1024))


class FieldTests(SynchronousTestCase):
    """Every field of every configuration converts valid values, and rejects all others."""

    CLASSES = (
        ProxyConfig,
        Limits,
        AuthzServiceConfig,
        Listener,
        ListenerTls,
        AdminEndpoint,
        UpstreamProxy,
        Bypass,
        DnsServer,
        NotifySettings,
    )
    # Values that other fields require, and fields for which zero is valid.
    NEEDED: ClassVar[dict[type, dict[str, Any]]] = {
        Listener: {"endpoint": "tcp:1"},
        ListenerTls: {"key": Path("a"), "certificate": Path("b")},
        AdminEndpoint: {"endpoint": "unix:/a:mode=600", "path": "/a"},
        DnsServer: {"address": ip_address("127.0.0.1")},
        UpstreamProxy: {"scheme": "http", "authority": Authority("a.test", 1)},
    }
    ZERO = frozenset({"authz_queue", "authz_max_stale"})

    def make(self, cls: type, name: str, value: object) -> Any:
        return getattr(cls(**{**self.NEEDED.get(cls, {}), name: value}), name)

    def test_every_field_is_checked(self) -> None:
        """A new field is checked by its type; a string also needs a constraint, which its module defines."""
        for cls in self.CLASSES:
            for field in attrs.fields(cls):
                with self.subTest(f"{cls.__name__}.{field.name}"):
                    self.assertIsNotNone(field.converter, "name its kind in checked(...), see egress.model.converters")

    def test_wrong_types(self) -> None:
        """An object of another type is rejected, and so is None if it has no meaning."""
        for cls in self.CLASSES:
            hints = get_type_hints(cls)
            for field in attrs.fields(cls):
                values: list[object] = [object(), 3 + 4j, {"a": 1}]
                # The compiler does not keep the types of fields.
                if field.default is not None and type(None) not in get_args(hints[field.name]):
                    values.append(None)
                for value in values:
                    with self.subTest(f"{cls.__name__}.{field.name}", value=value):
                        error = self.assertRaises(ConfigError, self.make, cls, field.name, value)
                        self.assertEqual(error.option, field.name)
                        self.assertTrue(error.remedy)

    def test_numbers(self) -> None:
        """A boolean is not a number; strings, infinity and negative values are rejected as well."""
        for cls in self.CLASSES:
            for field in attrs.fields(cls):
                if not re.match(r"(int|float)\b", str(field.type)) or cls is AdminEndpoint:
                    continue
                whole = str(field.type).startswith("int")
                wrong: list[object] = [True, False, "1", -1, math.inf, math.nan, 1.5 if whole else 10**400]
                if field.name not in self.ZERO:
                    wrong.append(0)
                for value in wrong:
                    with self.subTest(f"{cls.__name__}.{field.name}", value=value):
                        self.assertEqual(
                            self.assertRaises(ConfigError, self.make, cls, field.name, value).option, field.name
                        )

    def test_secrets(self) -> None:
        """An error displays no secret, and no URL with a password."""
        for name, value in (
            ("authz_token", "hunter2 hunter2"),
            ("shadow_authz_token", b"hunter2"),
            ("admin_token", ["hunter2"]),
            ("authz_url", "http://u:hunter2@a.test"),
            ("upstream_http", "ftp://u:hunter2@a.test"),
            ("upstream_https", ["http://u:hunter2@a.test"]),
            ("limits", b"hunter2"),
        ):
            with self.subTest(name):
                error = self.assertRaises(ConfigError, self.make, ProxyConfig, name, value)
                self.assertNotIn("hunter2", f"{error} {error.value} {error.remedy}")
        error = self.assertRaises(ConfigError, UpstreamProxy, "http", Authority("a.test", 1), b"Basic hunter2\r\nX: y")
        self.assertNotIn("hunter2", str(error))


class ConversionTests(SynchronousTestCase):
    """Text from an application means the same as on the command line."""

    def test_conversions(self) -> None:
        for name, written, read in (
            ("mode", "observe", Mode.OBSERVE),
            ("mode", "OBSERVE", Mode.OBSERVE),
            ("oversize_body", "truncate", OversizeBody.TRUNCATE),
            ("deny_address", ("10.0.0.0/8", ip_address("fd00::1")), (ip_network("10.0.0.0/8"), ip_network("fd00::1"))),
            ("allow_address", ["127.0.0.1"], (ip_network("127.0.0.1"),)),
            ("allow_ports", ["443", "8000-8999", 80], (range(443, 444), range(8000, 9000), range(80, 81))),
            ("opaque_ports", [range(22, 23)], (range(22, 23),)),
            ("passthrough", ["*.a.test:8443"], ("*.a.test:8443",)),
            ("ca_name_constraints", ["*.a.test", "10.0.0.0/8"], ("a.test", ip_network("10.0.0.0/8"))),
            ("client_auth", "clients.txt", Path("clients.txt")),
            ("ca_dir", "ca", Path("ca")),
            ("audit_log", Path("audit.jsonl"), "audit.jsonl"),
            ("upstream_http", "http://a.test:3128", UpstreamProxy("http", Authority("a.test", 3128))),
            ("bypass", "a.test, 10.0.0.0/8", Bypass.parse("a.test,10.0.0.0/8")),
            ("bypass", ["a.test", "10.0.0.0/8"], Bypass.parse("a.test,10.0.0.0/8")),
            ("authz_timeout", 5, 5.0),
            ("authz_url", "HTTP://A.test/", "http://a.test/"),
            ("listen", ["tcp:1"], (Listener("tcp:1"),)),
        ):
            with self.subTest(name, written=written):
                given: dict[str, Any] = {name: written}
                self.assertEqual(getattr(ProxyConfig(**given), name), read)

    def test_regressions(self) -> None:
        """Each of these settings has an effect or is rejected."""
        given: dict[str, Any] = {"audit_failure": "deny", "mode": "observe", "deny_address": ("10.0.0.0/8",)}
        config = ProxyConfig(audit_log="/dev/full", **given)
        self.assertIs(config.audit_failure, AuditFailure.DENY)
        self.assertIs(config.mode, Mode.OBSERVE)
        self.assertEqual(config.deny_address, (ip_network("10.0.0.0/8"),))

    def test_rejected(self) -> None:
        for name, value in (
            ("mode", "watch"),
            ("mode", True),
            ("deny_address", "10.0.0.0/8"),
            ("deny_address", ("10.0.0.1/8",)),
            ("deny_address", (167772160,)),
            ("allow_ports", (0,)),
            ("allow_ports", (True,)),
            ("allow_ports", (range(1, 70000),)),
            ("allow_ports", (range(1, 10, 2),)),
            ("allow_ports", (range(2, 1),)),
            ("listen", "tcp:8080"),
            ("listen", ()),
            ("listen", (8080,)),
            ("admin", 9099),
            ("authz_via_upstream", "false"),
            ("authz_via_upstream", 1),
            ("metrics_port", 0),
            ("metrics_port", 65536),
            ("metrics_interface", "localhost"),
            ("passthrough", ("a b",)),
            ("passthrough", "a.test"),
            ("bypass", "10.0.0.0/99"),
            ("audit_log", ""),
            ("policy", ""),
            ("policy", "a\0b"),
            ("limits", {"body": 1}),
            ("upstream_http", "ftp://a.test"),
        ):
            with self.subTest(name, value=value):
                error = self.assertRaises(ConfigError, ProxyConfig, **{name: value})
                self.assertEqual(error.option, name)


class ProxyConfigTests(SynchronousTestCase):
    """The configuration of a proxy."""

    def test_timeout_is_positive(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, authz_timeout=0)

    def test_concurrency_limits(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, authz_max_concurrency=0)
        self.assertRaises(ConfigError, ProxyConfig, authz_queue=-1)
        self.assertRaises(ConfigError, ProxyConfig, authz_breaker_failures=0)
        config = ProxyConfig(authz_queue=0, authz_breaker_failures=None)
        self.assertEqual((config.authz_max_concurrency, config.authz_queue), (256, 0))

    def test_at_least_one_worker(self) -> None:
        self.assertEqual(ProxyConfig().workers, 1)
        self.assertRaises(ConfigError, ProxyConfig, workers=0)

    def test_admin(self) -> None:
        """An application that omits the token exposes no admin API."""
        self.assertIsNone(ProxyConfig().admin)
        self.assertEqual(ProxyConfig(admin="unix:/a").admin, AdminEndpoint.parse("unix:/a"))
        self.assertEqual(ProxyConfig(admin="tcp:9099", admin_token="hunter2").admin, AdminEndpoint.parse("tcp:9099"))
        self.assertNotIn("hunter2", repr(ProxyConfig(admin="tcp:9099", admin_token="hunter2")))
        self.assertEqual(self.assertRaises(ConfigError, ProxyConfig, admin="tcp:9099").option, "admin")
        self.assertEqual(self.assertRaises(ConfigError, ProxyConfig, admin="tcp:x").option, "admin")

    def test_dns_servers(self) -> None:
        self.assertEqual(ProxyConfig().dns_servers, ())
        server = DnsServer.parse("[2001:db8::53]:5353")
        servers: Any = ["[2001:db8::53]:5353", server]
        self.assertEqual(ProxyConfig(dns_servers=servers).dns_servers, (server, server))
        error = self.assertRaises(ConfigError, ProxyConfig, dns_servers=["dns.example"])
        self.assertEqual((error.option, error.value), ("dns_servers", "dns.example"))

    def test_upgrade_protocols(self) -> None:
        self.assertEqual(ProxyConfig(upgrade_protocols=("TCP",)).upgrade_protocols, ("tcp",))
        error = self.assertRaises(ConfigError, ProxyConfig, upgrade_protocols=("tcp", "h2c"))
        self.assertEqual((error.option, error.value), ("upgrade_protocols", "h2c"))

    def test_approval_limits(self) -> None:
        self.assertRaises(ConfigError, ProxyConfig, approval_timeout=0)
        self.assertRaises(ConfigError, ProxyConfig, approval_queue=0)

    def test_observe_mode_rejects_no_content(self) -> None:
        self.assertIs(ProxyConfig().over_body_limit, OversizeBody.REFUSE)
        self.assertIs(ProxyConfig(mode=Mode.OBSERVE).over_body_limit, OversizeBody.TRUNCATE)
        self.assertIs(ProxyConfig(oversize_body=OversizeBody.TRUNCATE).over_body_limit, OversizeBody.TRUNCATE)

    def test_listeners_are_parsed(self) -> None:
        listener = Listener("tcp:8080", None, True, Path("clients.txt"))
        self.assertEqual(ProxyConfig(listen=("tcp:8080:client-auth=clients.txt",)).listen, (listener,))
        self.assertEqual(ProxyConfig(listen=(listener,)).listen, (listener,))
        error = self.assertRaises(ConfigError, ProxyConfig, listen=("tcp:8080:client-ca=ca.pem",))
        self.assertEqual((error.option, error.value), ("listen", "tcp:8080:client-ca=ca.pem"))

    def test_client_auth_of_listeners(self) -> None:
        config = ProxyConfig(listen=("tcp:1", "tcp:2:client-auth=other.txt", "tcp:3:client-auth=none"))
        self.assertEqual([config.auth_at(each) for each in config.listen], [None, Path("other.txt"), None])
        config = attrs.evolve(config, client_auth=Path("all.txt"))
        self.assertEqual([config.auth_at(each) for each in config.listen], [Path("all.txt"), Path("other.txt"), None])

    def test_token_is_not_displayed(self) -> None:
        self.assertNotIn("hunter2", repr(ProxyConfig(authz_url="http://a.test", authz_token="hunter2")))


class ConfigErrorTests(SynchronousTestCase):
    """One line with the option, the value and the remedy."""

    def test_text(self) -> None:
        self.assertEqual(str(ConfigError("--x", "y", "give z")), "--x 'y': give z")

    def test_secret_value_is_omitted(self) -> None:
        self.assertEqual(str(ConfigError("--x", "", "give z")), "--x: give z")
