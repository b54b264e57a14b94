"""Tests for L{egress.authz_service.tap}."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.authz_service import tap
from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.authz_service.tap import Options, makeService, start_message
from tests.tap import Cases, ListeningService

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 9000)


class FakeService(ListeningService):
    """A service that listens."""

    authorizer = SimpleNamespace(name="the policy")

    def __init__(self) -> None:
        super().__init__(succeed((LOOPBACK,)))


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


class MakeServiceTests(Cases.AnyPlugin):
    """The function that C{twistd} calls."""

    tap = tap
    program = "egressauthz"
    service_name = "EgressAuthzService"

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {"EGRESSAUTHZ_LISTEN": "tcp:9001"})

    def service(self) -> FakeService:
        return FakeService()

    def test_service(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        service = makeService(self.options("--metrics-port", "9090"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual([reload.args[0].__name__ for reload in self.reloads], ["reload"])
        self.assertEqual(self.configs, [AuthzServiceConfig(listen=("tcp:9001",), metrics_port=9090)])
        service.startService()
        self.assertEqual(out.getvalue(), start_message((LOOPBACK,), "the policy", self.configs[0]))

    def test_interrupted(self) -> None:
        for foreground, expected in ((False, 0), (True, 1)):
            makeService(self.options(nodaemon=foreground))
            self.assertEqual(len(self.interruptible), expected)

    def test_help(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertRaises(SystemExit, Options().parseOptions, ["--help-all"])
        text = out.getvalue()
        for option in AUTHZ_SERVICE_OPTIONS:
            self.assertIn(f"\n  --{option.name}", text)
            default = f"[default: {option.default}; environment: {option.variable.name}"
            self.assertIn(default, " ".join(text.split()))
