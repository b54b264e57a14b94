"""Tests for L{egress.tap}."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__, tap
from egress.config.listener import Listener
from egress.config.model import Mode, ProxyConfig
from egress.model.authority import Authority, UpstreamProxy
from egress.model.log_format import LoggedRequests
from egress.preflight import Finding, Level
from egress.runtime import plugin
from egress.runtime.build import build_name
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
    store_fault: str | None = None

    def __init__(self) -> None:
        super().__init__(succeed((LOOPBACK,)))
        self.checks = {"authorizer": "ok", "ca": "ok"}

    def readiness(self) -> Deferred[dict[str, str]]:
        return succeed(self.checks)


class StartMessageTests(SynchronousTestCase):
    """The start message."""

    def message(
        self,
        addresses: Sequence[IAddress] = (LOOPBACK,),
        certificate: Path = CERTIFICATE,
        ca: Any = None,
        store: Path | None = None,
        **config: Any,
    ) -> str:
        settings = ProxyConfig(**config)
        return start_message(addresses, certificate, ca or authority(), "the starter policy", settings, store=store)

    def fact(self, message: str, name: str) -> str | None:
        """Return the value of a fact in the message."""
        found = re.search(rf"(?m)^(?:  |egressproxy \S+ (?:\(compiled\) )?){name} +(.*)$", message)
        return None if found is None else found[1]

    def test_observing(self) -> None:
        """The message warns that nothing is enforced."""
        self.assertIn("NOTHING IS ENFORCED (--mode observe)", self.message(mode=Mode.OBSERVE))
        self.assertNotIn("ENFORCED", self.message())

    def test_facts(self) -> None:
        end = authority().not_after
        build = "" if build_name() == "pure" else f" ({build_name()})"
        self.assertEqual(
            self.message(ca_dir=CERTIFICATE.parent).splitlines(),
            [
                f"egressproxy {__version__}{build} listens on 127.0.0.1:8080",
                "  decides     the starter policy, mode enforce",
                f"  CA          /var/lib/ca/ca.pem, SHA-256 AB:CD, ends {end:%Y-%m-%d}, in 1000 days",
                "  upstream    none, direct",
                '  clients     eval "$(egress env --ca-dir /var/lib/ca)"',
            ],
        )

    def test_length(self) -> None:
        """With every option that adds to it, the message has six lines."""
        proxy = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic hunter2")
        message = self.message(
            (IPv4Address("TCP", "0.0.0.0", 8080), UNIXAddress(b"/run/egress.sock"), LOOPBACK),
            ca=authority(7, soon=True, limits="example.com", rooted=False),
            listen=("tcp:8080", "unix:/run/egress.sock", "tcp:8081:client-auth=clients.txt"),
            mode=Mode.OBSERVE,
            workers=8,
            upstream_http=proxy,
            metrics_port=9090,
            admin="unix:/run/admin.sock",
            passthrough=("a.example", "*.b.example"),
            audit_log="-",
            ca_dir=CERTIFICATE.parent,
        )
        lines = message.splitlines()
        self.assertEqual(len(lines), 6)
        for text in (
            "listens on 0.0.0.0:8080, unix:/run/egress.sock, 127.0.0.1:8080, 8 workers",
            "the starter policy, NOTHING IS ENFORCED",
            "/var/lib/ca/ca.pem, SHA-256 AB:CD, ends",
            "days: replace it, signs for example.com",
            "for http http://proxy.test:3128; for https none, direct; admin unix:/run/admin.sock; metrics http://",
            "Open to the network: 0.0.0.0:8080.",
            "Clients must trust the root",
            "Not intercepted: a.example, *.b.example.",
            "eval",
        ):
            self.assertIn(text, message)
        self.assertNotIn("hunter2", message)

    def test_upstream(self) -> None:
        """The upstream proxy may come from a variable that is meant for clients."""
        proxy = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic hunter2")
        self.assertEqual(self.fact(self.message(), "upstream"), "none, direct")
        both = self.message(upstream_http=proxy, upstream_https=proxy)
        self.assertEqual(self.fact(both, "upstream"), "http://proxy.test:3128")
        self.assertEqual(
            self.fact(self.message(upstream_http=proxy), "upstream"),
            "for http http://proxy.test:3128; for https none, direct",
        )

    def test_no_home_directory(self) -> None:
        def unknown() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(Path, "home", unknown)
        self.assertIn("egress env --ca-dir /b", self.message(ca_dir=Path("/b")))

    def test_expiry_of_the_ca(self) -> None:
        self.assertNotIn("replace it", self.message())
        self.assertRegex(self.message(ca=authority(7, soon=True)), r"ends .{10}, in 7 days: replace it\n")
        self.assertRegex(self.message(ca=authority(-2, soon=True)), r"ends .{10}, expired: replace it\n")

    def test_constraints(self) -> None:
        self.assertNotIn("signs for", self.message())
        self.assertIn(", signs for example.com\n", self.message(ca=authority(limits="example.com")))

    def test_unknown_root(self) -> None:
        """A chain without its root is nothing that a client could trust."""
        self.assertIn("Clients must trust the root of this CA", self.message(ca=authority(rooted=False)))
        self.assertNotIn("root", self.message())

    def test_clients(self) -> None:
        """The line for the shell has the options of egress env that differ from its defaults."""
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "egress env"),
            ({"ca_dir": Path("/a b")}, "egress env --ca-dir '/a b'"),
            ({"ca_cert": Path("/c"), "ca_key": Path("/k")}, "egress env --ca-cert /c --ca-key /k"),
            (
                {"ca_cert": Path("/c"), "ca_key": Path("/k"), "ca_root": Path("/r")},
                "egress env --ca-cert /c --ca-key /k --ca-root /r",
            ),
        )
        for config, expected in cases:
            with self.subTest(config):
                self.assertEqual(self.fact(self.message(**config), "clients"), f'eval "$({expected})"')

    def test_addresses(self) -> None:
        for address, listen, url, opened in (
            (LOOPBACK, "tcp:8080", None, False),
            (IPv4Address("TCP", "0.0.0.0", 8080), "tcp:8080", None, True),
            (IPv4Address("TCP", "192.0.2.1", 8080), "tcp:8080", "http://192.0.2.1:8080", True),
            (IPv6Address("TCP", "::", 8080), "tcp6:8080", "'http://[::1]:8080'", True),
            (IPv6Address("TCP", "::1", 8080), "tcp6:8080", "'http://[::1]:8080'", False),
            (IPv6Address("TCP", "fe80::1%eth0", 8080), "tcp6:8080", "'http://[fe80::1]:8080'", True),
            (LOOPBACK, "ssl:8080", "https://127.0.0.1:8080", False),
        ):
            with self.subTest(address):
                message = self.message((address,), listen=(listen,))
                option = "" if url is None else f" --proxy {url}"
                self.assertEqual(self.fact(message, "clients"), f'eval "$(egress env{option})"')
                self.assertEqual("Open to the network" in message, opened)

    def test_client_authentication(self) -> None:
        everywhere = IPv4Address("TCP", "0.0.0.0", 8080)
        for listen, told in (("tcp:8080", False), ("tcp:8080:client-auth=clients.txt", True)):
            with self.subTest(listen):
                message = self.message((everywhere,), listen=(listen,))
                self.assertEqual("egress env --proxy http://NAME:PASSWORD@127.0.0.1:8080" in message, told)
                self.assertEqual("Open to the network" in message, not told)

    def test_several_addresses(self) -> None:
        message = self.message(
            (UNIXAddress(b"/run/egress.sock"), LOOPBACK), listen=("unix:/run/egress.sock", "tcp:8080")
        )
        self.assertEqual(self.fact(message, "listens on"), "unix:/run/egress.sock, 127.0.0.1:8080")
        self.assertEqual(self.fact(message, "clients"), 'eval "$(egress env)"')

    def test_transparent_listener(self) -> None:
        """Clients do not use it by its address."""
        listen = (Listener("tcp:8081", transparent=True), Listener("tcp:8080"))
        addresses = (IPv4Address("TCP", "0.0.0.0", 8081), LOOPBACK)
        message = self.message(addresses, listen=listen)
        self.assertIn("0.0.0.0:8081 (transparent), ", message)
        self.assertIn('eval "$(egress env)"', message)
        self.assertNotIn('eval "$(egress', self.message(addresses[:1], listen=listen[:1]))

    def test_kinds_of_listeners(self) -> None:
        listen = (Listener("tcp:8081", socks5=True, proxy_protocol=True), Listener("tcp:8080"))
        message = self.message((IPv4Address("TCP", "0.0.0.0", 8081), LOOPBACK), listen=listen)
        self.assertEqual(
            self.fact(message, "listens on"), "0.0.0.0:8081 (PROXY protocol, SOCKS5 and HTTP), 127.0.0.1:8080"
        )

    def test_no_line_to_paste(self) -> None:
        for address in (UNIXAddress(b"/run/egress.sock"), UNIXAddress(None)):
            with self.subTest(address):
                self.assertIsNone(self.fact(self.message((address,), listen=("unix:/run/egress.sock",)), "clients"))

    def test_metrics(self) -> None:
        self.assertEqual(
            self.fact(self.message(metrics_port=9090, metrics_interface="::1"), "upstream"),
            "none, direct; metrics http://[::1]:9090/metrics",
        )

    def test_audit_store(self) -> None:
        message = self.message(admin="unix:/run/admin.sock", store=Path("/var/lib/ca/audit.db"))
        self.assertEqual(
            self.fact(message, "upstream"), "none, direct; admin unix:/run/admin.sock; audit store /var/lib/ca/audit.db"
        )


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
        self.assertEqual([reload.args[0].__name__ for reload in self.reloads], ["reload"])
        (config,) = self.configs
        self.assertEqual(
            attrs.evolve(config, log_requests=None),
            ProxyConfig(listen=("tcp:8081",), metrics_port=9090, ca_dir=Path("/var/lib/ca")),
        )

    def test_logged_requests(self) -> None:
        """By default, denied requests have a line, unless the audit log is on the same terminal."""
        for arguments, expected in (
            ((), LoggedRequests.DENIED),
            (("--audit-log", "audit.jsonl"), LoggedRequests.DENIED),
            (("--audit-log", "-"), LoggedRequests.NONE),
            (("--audit-log", "-", "--log-requests", "all"), LoggedRequests.ALL),
            (("--log-requests", "none"), LoggedRequests.NONE),
        ):
            makeService(self.options(*arguments))
            self.assertIs(self.configs[-1].log_requests, expected)

    def test_message(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(tap, "command_of", lambda name: f"/venv/bin/{name}")
        makeService(self.options("--ca-dir", str(CERTIFICATE.parent))).startService()
        ca = FakeProxy.certificate_authority
        config = ProxyConfig(listen=("tcp:8081",), ca_dir=CERTIFICATE.parent)
        expected = start_message((LOOPBACK,), CERTIFICATE, ca, "the starter policy", config, egress="/venv/bin/egress")
        self.assertEqual(out.getvalue(), expected)
        self.assertIn('eval "$(/venv/bin/egress env --ca-dir', expected)

    def test_audit_store(self) -> None:
        """The message names the audit store only if the proxy uses it."""
        for fault, expected in ((None, "; audit store /var/lib/ca/audit.db\n"), ("it is full", "admin.sock\n")):
            proxy, out = FakeProxy(), io.StringIO()
            proxy.store_fault = fault
            self.patch(tap, "EgressProxyService", lambda *_, proxy=proxy, **named: proxy)
            self.patch(sys, "stdout", out)
            with self.subTest(fault):
                makeService(self.options("--admin", "unix:/run/admin.sock", "--ca-dir", "/var/lib/ca")).startService()
                self.assertIn(expected, out.getvalue())

    def test_authorizer_that_is_not_ready(self) -> None:
        """The operator learns it before the first client."""
        for reason, expected in (("ok", []), ("it refused the connection", ["it refused the connection"])):
            proxy = FakeProxy()
            proxy.checks["authorizer"] = reason
            self.patch(tap, "EgressProxyService", lambda *_, proxy=proxy, **named: proxy)
            self.patch(sys, "stdout", io.StringIO())
            with capturedLogs() as events:
                makeService(self.options()).startService()
            warned = [event["reason"] for event in events if event["log_namespace"] == "egress.tap"]
            self.assertEqual(warned, expected)

    def test_check(self) -> None:
        """The findings go to standard output, and nothing is started."""
        findings = [Finding(Level.OK, "--listen", "x"), Finding(Level.ERROR, "--policy", "y")]
        self.patch(tap, "check_configuration", lambda reactor, config: succeed(findings))
        self.patch(plugin, "run", lambda start: self.successResultOf(start(None)))
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        for foreground in (True, False):
            error = self.assertRaises(SystemExit, makeService, self.options("--check", nodaemon=foreground))
            self.assertEqual(error.code, 1)
        self.assertEqual(out.getvalue(), 2 * "ok       EGRESS_LISTEN: x\nerror    --policy: y\n")
        self.assertEqual(self.configs, [])

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
