"""Tests for L{egress.doctor.examination}, with programs and contacts that the test replaces."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.checks import machine, network
from egress.checks.contact import Contact
from egress.checks.finding import Finding, Status, exit_status, ok
from egress.config.model import ProxyConfig
from egress.config.shared import SharedSettings
from egress.doctor import examination as module
from egress.doctor.examination import Examination, Subject
from egress.doctor.names import NAMES
from egress.doctor.processes import Processes
from egress.doctor.runtime_judgement import Attempt
from egress.model.shared_location import SharedLocation
from egress.tls.ca_store import CaDirectory
from tests.doctor.setups import PROXY, TRUSTED
from tests.files import make_directory
from tests.threads import ThreadlessReactor, at_once

RESPONSE = """urn:egressproxy:proxy-addressed
egressproxy.invalid:443 "GET / HTTP/1.1" 200 1
@v/list: 200 OK
Unsupported `Content-Type` "application/json"
"http://proxy"
"""


class ExaminationTests(SynchronousTestCase):
    """All checks of one subject."""

    def setUp(self) -> None:
        at_once(self)
        self.output = RESPONSE
        self.attempts: list[tuple[list[str], Mapping[str, str], Path]] = []
        self.contact = Contact(status=200, egressproxy=True, tunnel_status=200, ahead=0.0)
        self.stopped = 0
        self.absent: tuple[str, ...] = ()
        self.patch(module, "proxy_contact", lambda url, seconds: self.contact)
        self.patch(module, "accepts", lambda host, port, seconds: False)
        self.patch(shutil, "which", lambda name, path: None if name in self.absent else f"/bin/{name}")
        self.patch(Processes, "attempt", self.attempt)
        self.patch(Processes, "stop", self.stop)
        self.patch(network, "check_dns", lambda *_: succeed(ok("dns", "respond")))
        self.patch(network, "check_authorizer", lambda *_: succeed(ok("authorizer", "decided")))
        self.patch(network, "check_upstream", lambda *_: succeed((ok("upstream", "responds"), {"up": 0.0})))
        self.patch(network, "clock_of_authorizer", lambda *_: succeed({"service": None}))
        self.patch(machine, "docker_config", lambda environ: {"proxies": 1})
        self.ca_dir = make_directory(self)

    def attempt(self, command: Sequence[str], environ: Mapping[str, str], directory: Path, seconds: float) -> Attempt:
        self.attempts.append((list(command), environ, directory))
        return Attempt(command=command, status=0, output=self.output, seconds=0.1)

    def stop(self) -> None:
        self.stopped += 1

    def examine(self, *names: str, own: bool = False, environ: Mapping[str, str] = TRUSTED) -> list[Finding]:
        config = ProxyConfig(ca_dir=self.ca_dir)
        subject = Subject(proxy=PROXY, own=own, environ=environ, config=config, direct=("192.0.2.1", 443))
        running = Examination(ThreadlessReactor(), subject).run(names or NAMES)
        return self.successResultOf(running)

    def only(self, name: str, **options: Any) -> Finding:
        (finding,) = self.examine(name, **options)
        return finding

    def test_healthy(self) -> None:
        findings = self.examine(environ={name: value for name, value in TRUSTED.items() if name != "SSL_CERT_FILE"})
        self.assertEqual([finding.name for finding in findings], list(NAMES))
        self.assertEqual([finding for finding in findings if finding.status not in (Status.OK, Status.SKIPPED)], [])
        self.assertEqual(exit_status(findings), 0)
        self.assertEqual(self.stopped, 1)

    def test_other_cas(self) -> None:
        """With shared state, a CA that is valid is compared with those of other replicas."""
        compared: list[Any] = []

        def check(reactor: Any, config: ProxyConfig, own: Any) -> Deferred[Finding]:
            compared.append(own)
            return succeed(ok("ca", "agrees"))

        self.patch(network, "check_other_cas", check)
        shared = SharedSettings(location=SharedLocation.parse("unix:/run/r"), key=bytes(32))
        config = ProxyConfig(ca_dir=self.ca_dir / "ca", shared=shared)
        subject = Subject(proxy=PROXY, own=False, environ=TRUSTED, config=config, direct=("192.0.2.1", 443))

        def found() -> list[Finding]:
            return self.successResultOf(Examination(ThreadlessReactor(), subject).run(["ca"]))

        self.assertEqual([each.status for each in found()], [Status.SKIPPED])
        CaDirectory(config.ca_dir).load_or_create(datetime.now(timezone.utc))
        self.assertEqual([each.status for each in found()], [Status.OK, Status.OK])
        self.assertEqual(len(compared), 1)

    def test_environment_of_the_programs(self) -> None:
        """Each has its own empty directory, and the environment of the user."""
        self.examine("curl", "git")
        self.assertEqual(len(self.attempts), 2)
        for _, environ, directory in self.attempts:
            self.assertEqual({name: environ[name] for name in TRUSTED}, TRUSTED)
            self.assertEqual(environ["LC_ALL"], "C")
            self.assertFalse(directory.exists(), "it is removed")

    def test_name_constraints(self) -> None:
        """If the CA may not sign for the address, http is requested."""
        self.contact = Contact(status=200, egressproxy=True, tunnel_status=403)
        self.examine("curl")
        self.assertEqual(self.attempts[0][0][-1], "http://egressproxy.invalid/")

    def test_not_installed(self) -> None:
        self.absent = ("curl", "docker", "python3")
        found = self.examine("curl", "docker", "urllib")
        works = "uses the proxy, and trusts its CA"
        self.assertEqual([each.text for each in found], ["not installed", works, "not installed"])
        self.assertEqual(self.attempts[0][0][0], "/bin/python")

    def test_progress(self) -> None:
        advanced: list[None] = []
        subject = Subject(
            proxy=PROXY, own=False, environ={}, config=ProxyConfig(ca_dir=self.ca_dir), direct=("192.0.2.1", 1)
        )
        running = Examination(ThreadlessReactor(), subject, lambda: advanced.append(None)).run(["curl", "environment"])
        self.assertEqual(len(self.successResultOf(running)), 2)
        self.assertEqual(len(advanced), 2)

    def test_a_fault(self) -> None:
        self.output = "Could not resolve host"
        finding = self.only("curl")
        self.assertEqual((finding.status, finding.text), (Status.FAULT, "does not use the proxy"))

    def test_several_findings_of_one_check(self) -> None:
        found = self.examine("environment", environ={"NO_PROXY": "*"})
        self.assertEqual([finding.name for finding in found], ["environment"] * 2)

    def test_direct_egress(self) -> None:
        self.patch(module, "accepts", lambda host, port, seconds: (host, port) == ("192.0.2.1", 443))
        self.assertEqual(self.only("direct").status, Status.WARNING)

    def test_browser_flags(self) -> None:
        """They are those of egress run; a user of a running proxy has none."""
        environ = {**TRUSTED, "EGRESS_CHROMIUM_FLAGS": "--one --two=2"}
        self.examine("chromium", environ=environ, own=True)
        self.examine("chromium", environ=environ)
        (first, _, _), (second, _, _) = self.attempts
        self.assertEqual(set(first) - set(second) - {first[-3]}, {"--one", "--two=2"})

    def test_docker(self) -> None:
        self.assertEqual(self.only("docker").status, Status.OK)
        self.assertEqual(self.attempts[0][0][:2], ["/bin/docker", "info"])
        self.assertEqual(self.only("docker", own=True).status, Status.SKIPPED)

    def test_clock(self) -> None:
        self.contact = Contact(status=200, egressproxy=True, ahead=3600.0)
        self.assertIn("60 minutes behind the clock of the proxy", self.only("clock").text)
        self.assertIn("agrees with the clock of up", self.only("clock", own=True).text)

    def test_checks_that_fail(self) -> None:
        """An exception is a finding, and the other checks go on."""

        def broken(*_: object, **__: object) -> Any:
            raise ValueError("a defect")

        def later(*_: object) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            waiting.errback(ValueError("a defect"))
            return waiting

        self.patch(machine, "versions", broken)
        self.patch(network, "check_dns", later)
        self.patch(Processes, "attempt", broken)
        found = {each.name: each for each in self.examine("versions", "dns", "curl", "proxy")}
        for name in ("versions", "dns", "curl"):
            self.assertEqual(found[name].status, Status.ERROR)
            self.assertEqual(found[name].text, "could not be checked: ValueError: a defect")
        self.assertEqual(found["proxy"].status, Status.OK)

    def test_interrupted(self) -> None:
        """Nothing goes on after it is cancelled."""
        waiting: Deferred[Any] = Deferred()
        self.patch(network, "check_dns", lambda *_: waiting)
        subject = Subject(
            proxy=PROXY, own=False, environ={}, config=ProxyConfig(ca_dir=self.ca_dir), direct=("192.0.2.1", 1)
        )
        running = Examination(ThreadlessReactor(), subject).run(["dns"])
        self.assertNoResult(running)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.stopped, 1)
