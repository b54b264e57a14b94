"""Tests for L{egress.tap}."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__, tap
from egress.config.model import Mode, ProxyConfig
from egress.model.authority import Authority, UpstreamProxy
from egress.tap import makeService, start_message
from tests.tap import Cases, ListeningService

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 8080)
CERTIFICATE = Path("/var/lib/ca/ca.pem")
FINGERPRINT = "AB:CD"


def authority(days: int = 1000, soon: bool = False, limits: str | None = None, rooted: bool = True) -> Any:
    """A CA that expires in this many days."""
    return SimpleNamespace(
        fingerprint=FINGERPRINT,
        not_after=datetime.now(timezone.utc) + timedelta(days=days, hours=12),
        ends_soon=lambda now: soon,
        limits=limits,
        rooted=rooted,
    )


class FakeProxy(ListeningService):
    """A proxy that listens."""

    certificate_authority = authority()
    authorizer_name = "the starter policy"

    def __init__(self) -> None:
        super().__init__(succeed((LOOPBACK,)))


class StartMessageTests(SynchronousTestCase):
    """The start message."""

    def message(
        self,
        addresses: Sequence[IAddress] = (LOOPBACK,),
        certificate: Path = CERTIFICATE,
        ca: Any = None,
        **config: Any,
    ) -> str:
        return start_message(addresses, certificate, ca or authority(), "the starter policy", ProxyConfig(**config))

    def exports(self, message: str) -> dict[str, str]:
        """Parse the export lines as a shell would."""
        variables: dict[str, str] = {}
        for line in message.splitlines():
            if line.startswith("export "):
                found = dict(word.split("=", 1) for word in shlex.split(line)[1:])
                for name, value in found.items():
                    variables[name] = variables[value[1:]] if value.startswith("$") else value
        return variables

    def test_observing(self) -> None:
        """The message warns that nothing is enforced."""
        self.assertIn("\nNOTHING IS ENFORCED (--mode observe)", self.message(mode=Mode.OBSERVE))
        self.assertNotIn("ENFORCED", self.message())

    def test_facts(self) -> None:
        lines = self.message().splitlines()
        end = authority().not_after
        self.assertEqual(
            lines[:7],
            [
                f"egressproxy {__version__}",
                "  listens on  127.0.0.1:8080",
                "  decides     the starter policy",
                "  CA          /var/lib/ca/ca.pem",
                "  SHA-256     AB:CD",
                f"  CA ends     {end:%Y-%m-%d}, in 1000 days",
                "",
            ],
        )

    def test_upstream(self) -> None:
        """The upstream proxy may come from a variable that is meant for clients."""
        proxy = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic hunter2")
        self.assertNotIn("upstream", self.message())
        both = self.message(upstream_http=proxy, upstream_https=proxy)
        self.assertIn("\n  upstream    http://proxy.test:3128\n", both)
        self.assertIn(
            "\n  upstream    for http http://proxy.test:3128; for https none, direct\n",
            self.message(upstream_http=proxy),
        )

    def test_expiry_of_the_ca(self) -> None:
        self.assertNotIn("replace it", self.message())
        self.assertRegex(self.message(ca=authority(7, soon=True)), r"\n  CA ends     .{10}, in 7 days: replace it\n")
        self.assertRegex(self.message(ca=authority(-2, soon=True)), r"\n  CA ends     .{10}, expired: replace it\n")

    def test_constraints(self) -> None:
        self.assertNotIn("signs for", self.message())
        self.assertIn("\n  signs for   example.com\n", self.message(ca=authority(limits="example.com")))

    def test_unknown_root(self) -> None:
        """A chain without its root is nothing that a client could trust."""
        message = self.message(ca=authority(rooted=False))
        self.assertIn("Clients must trust the root of this CA", message)
        self.assertNotIn("CURL_CA_BUNDLE", message)
        self.assertIn("export HTTP_PROXY", message)

    def test_lines_to_paste(self) -> None:
        variables = self.exports(self.message())
        for name in ("HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            with self.subTest(name):
                self.assertEqual(variables.pop(name), "http://127.0.0.1:8080")
        for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"):
            with self.subTest(name):
                self.assertIn(name, variables)
        self.assertEqual(set(variables.values()), {str(CERTIFICATE)})

    def test_spaces(self) -> None:
        variables = self.exports(self.message(certificate=Path("/a b/ca.pem")))
        self.assertEqual(variables["CURL_CA_BUNDLE"], "/a b/ca.pem")

    def test_addresses(self) -> None:
        for address, listen, url, opened in (
            (LOOPBACK, "tcp:8080", "http://127.0.0.1:8080", False),
            (IPv4Address("TCP", "0.0.0.0", 8080), "tcp:8080", "http://127.0.0.1:8080", True),
            (IPv4Address("TCP", "192.0.2.1", 8080), "tcp:8080", "http://192.0.2.1:8080", True),
            (IPv6Address("TCP", "::", 8080), "tcp6:8080", "http://[::1]:8080", True),
            (IPv6Address("TCP", "::1", 8080), "tcp6:8080", "http://[::1]:8080", False),
            (IPv6Address("TCP", "fe80::1%eth0", 8080), "tcp6:8080", "http://[fe80::1]:8080", True),
            (LOOPBACK, "ssl:8080", "https://127.0.0.1:8080", False),
        ):
            with self.subTest(address):
                message = self.message((address,), listen=(listen,))
                self.assertEqual(self.exports(message)["HTTP_PROXY"], url)
                self.assertEqual("Open to the network" in message, opened)

    def test_client_authentication(self) -> None:
        everywhere = IPv4Address("TCP", "0.0.0.0", 8080)
        for listen, told in (("tcp:8080", False), ("tcp:8080:client-auth=clients.txt", True)):
            with self.subTest(listen):
                message = self.message((everywhere,), listen=(listen,))
                self.assertEqual("NAME:PASSWORD@" in message, told)
                self.assertEqual("Open to the network" in message, not told)

    def test_several_addresses(self) -> None:
        message = self.message(
            (UNIXAddress(b"/run/egress.sock"), LOOPBACK), listen=("unix:/run/egress.sock", "tcp:8080")
        )
        self.assertIn("  listens on  unix:/run/egress.sock, 127.0.0.1:8080\n", message)
        self.assertEqual(self.exports(message)["HTTP_PROXY"], "http://127.0.0.1:8080")

    def test_no_lines_to_paste(self) -> None:
        for address in (UNIXAddress(b"/run/egress.sock"), UNIXAddress(None)):
            with self.subTest(address):
                self.assertNotIn("export", self.message((address,), listen=("unix:/run/egress.sock",)))

    def test_metrics(self) -> None:
        self.assertIn(
            "  metrics     http://[::1]:9090/metrics\n", self.message(metrics_port=9090, metrics_interface="::1")
        )

    def test_workers(self) -> None:
        self.assertIn(" days\n  workers     3 processes\n\n", self.message(workers=3))

    def test_passthrough(self) -> None:
        self.assertIn(
            "Not intercepted: a.example, *.b.example.", self.message(passthrough=("a.example", "*.b.example"))
        )
        self.assertNotIn("Not intercepted", self.message())


class MakeServiceTests(Cases.AnyPlugin):
    """The function that C{twistd} calls."""

    tap = tap
    program = "egressproxy"
    service_name = "EgressProxyService"

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {"EGRESS_LISTEN": "tcp:8081"})
        self.patch(tap, "WorkerPool", self.make_workers)

    def service(self) -> FakeProxy:
        return FakeProxy()

    def make_workers(self, reactor: object, config: ProxyConfig) -> FakeProxy:
        self.assertEqual(config.workers, 2)
        return FakeProxy()

    def test_service(self) -> None:
        service = makeService(self.options("--metrics-port", "9090", "--ca-dir", "/var/lib/ca"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual([reload.__name__ for reload in self.reloads], ["reload"])
        (config,) = self.configs
        self.assertEqual(config, ProxyConfig(listen=("tcp:8081",), metrics_port=9090, ca_dir=Path("/var/lib/ca")))

    def test_message(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        makeService(self.options("--ca-dir", str(CERTIFICATE.parent))).startService()
        ca, config = FakeProxy.certificate_authority, ProxyConfig(listen=("tcp:8081",))
        self.assertEqual(out.getvalue(), start_message((LOOPBACK,), CERTIFICATE, ca, "the starter policy", config))

    def test_workers(self) -> None:
        makeService(self.options("--workers", "2"))
        self.assertEqual(self.configs, [])
        makeService(self.options("--workers", "1"))
        self.assertEqual([config.workers for config in self.configs], [1])

    def test_interrupted(self) -> None:
        pidfile = Path(self.mktemp())
        for foreground, expected in ((False, 0), (True, 1)):
            makeService(self.options(nodaemon=foreground, pidfile=str(pidfile)))
            self.assertEqual(len(self.interruptible), expected)
        pidfile.write_text("1")
        self.interruptible[0]()
        self.assertFalse(pidfile.exists())
