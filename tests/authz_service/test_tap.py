"""Tests for L{egress.authz_service.tap}."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace

from twisted.application.service import IService, IServiceMaker, Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.authz_service import tap
from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.authz_service.tap import Options, makeService, start_message
from egress.config.model import ConfigError
from tests.tap import TapTestCase

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 9000)


class FakeService(Service):
    """A service that listens."""

    authorizer = SimpleNamespace(name="the policy")

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        return succeed((LOOPBACK,))

    def reload(self) -> Deferred[None]:
        raise AssertionError("nobody hung up")


class StartMessageTests(SynchronousTestCase):
    """The message at startup."""

    def test_message(self) -> None:
        config = AuthzServiceConfig(token="s3cret", metrics_port=9090)
        self.assertEqual(
            start_message((LOOPBACK,), "the policy", config).splitlines(),
            [
                f"egressauthz {__version__}",
                "  listens on  127.0.0.1:9000",
                "  decides     the policy",
                "  callers     must send the token",
                "  metrics     http://127.0.0.1:9090/metrics",
                "",
                "For a proxy: --authz-url http://127.0.0.1:9000",
            ],
        )

    def test_exposed(self) -> None:
        """The message warns that every client can send requests, unless authentication is required."""
        for address, listen, token, url, warned in (
            (LOOPBACK, "tcp:1", None, "http://127.0.0.1:9000", False),
            (IPv4Address("TCP", "0.0.0.0", 9000), "tcp:1", None, "http://127.0.0.1:9000", True),
            (IPv6Address("TCP", "::", 9000), "tcp:1", None, "http://[::1]:9000", True),
            (IPv4Address("TCP", "192.0.2.1", 9000), "tcp:1", "t", "http://192.0.2.1:9000", False),
            (IPv4Address("TCP", "192.0.2.1", 9000), "ssl:1", None, "https://192.0.2.1:9000", True),
            (IPv4Address("TCP", "192.0.2.1", 9000), "ssl:1:client-ca=a", None, "https://192.0.2.1:9000", False),
        ):
            with self.subTest(address, listen=listen):
                message = start_message((address,), "the policy", AuthzServiceConfig(listen=(listen,), token=token))
                self.assertIn(f"--authz-url {url}\n", message + "\n")
                self.assertEqual("Open to the network" in message, warned)

    def test_unix(self) -> None:
        config = AuthzServiceConfig(listen=("unix:/run/a",))
        message = start_message((UNIXAddress(b"/run/a"),), "the policy", config)
        self.assertNotIn("Open", message)
        self.assertNotIn("For a proxy", message)


class MakeServiceTests(TapTestCase):
    """The function that C{twistd} calls."""

    tap = tap

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {"EGRESSAUTHZ_LISTEN": "tcp:9001"})
        self.configs: list[AuthzServiceConfig] = []
        self.patch(tap, "EgressAuthzService", self.make)

    def make(self, reactor: object, config: AuthzServiceConfig) -> FakeService:
        self.configs.append(config)
        return FakeService()

    def test_service(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        service = makeService(self.options("--metrics-port", "9090"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual([reload.__name__ for reload in self.reloads], ["reload"])
        self.assertEqual(self.configs, [AuthzServiceConfig(listen=("tcp:9001",), metrics_port=9090)])
        service.startService()
        self.assertEqual(out.getvalue(), start_message((LOOPBACK,), "the policy", self.configs[0]))

    def test_interrupted(self) -> None:
        for foreground, expected in ((False, 0), (True, 1)):
            makeService(self.options(nodaemon=foreground))
            self.assertEqual(len(self.interruptible), expected)

    def test_invalid_value(self) -> None:
        self.refuse(
            self.options("--metrics-port", "x"),
            "egressauthz: --metrics-port 'x': write a TCP port from 1 to 65535",
        )

    def test_error_of_the_service(self) -> None:
        def refuse(reactor: object, config: AuthzServiceConfig) -> FakeService:
            raise ConfigError("--policy", "", "rule 3\nhas no reason")

        self.patch(tap, "EgressAuthzService", refuse)
        self.refuse(self.options(), "egressauthz: --policy: rule 3 has no reason")

    def test_standard_output_of_a_daemon(self) -> None:
        self.refuse(
            self.options("--audit-log", "-", nodaemon=False),
            "egressauthz: --audit-log '-': a daemon has no standard output: name a file, or use twistd -n",
        )

    def test_help(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertRaises(SystemExit, Options().parseOptions, ["--help"])
        text = out.getvalue()
        for option in AUTHZ_SERVICE_OPTIONS:
            self.assertIn(f"\n  --{option.name}", text)
            default = f"[default: {option.default}; environment: {option.variable.name}"
            self.assertIn(default, " ".join(text.split()))


class PluginTests(SynchronousTestCase):
    """C{twistd} finds the plugin."""

    def test_found(self) -> None:
        (maker,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "egressauthz"]
        self.assertIs(maker.options, Options)
        make: Callable[..., IService] = maker.makeService
        self.assertIs(make, makeService)
