"""Tests for L{egress.checks.judgements}."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.contact import Contact
from egress.checks.finding import Finding, Fix, Status
from egress.checks.judgements import (
    SET_CLOCK,
    CaFacts,
    failed,
    judge_authorizer,
    judge_ca,
    judge_clock,
    judge_descriptors,
    judge_direct,
    judge_dns,
    judge_docker,
    judge_other_cas,
    judge_proxy,
    judge_upstream,
    judge_versions,
)
from egress.model.authority import Authority, UpstreamHop, UpstreamProxy
from egress.model.decision import Decision, Verdict
from egress.shared.ca_views import CaView
from tests.doctor.setups import PROXY

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128))


class JudgementTestCase(SynchronousTestCase):
    """Base: findings."""

    def assert_found(self, finding: Finding, status: Status, text: str, fix: str | None = None) -> None:
        self.assertEqual(finding.status, status, finding)
        self.assertIn(text, finding.text)
        self.assertEqual(finding.to_fix, finding.fix is not None)
        if fix is not None:
            self.assertEqual(finding.fix and finding.fix.line, fix)


class ProxyTests(JudgementTestCase):
    """The response to a request for the proxy's own address."""

    def judge(self, own: bool = False, **contact: Any) -> Finding:
        return judge_proxy(Contact(**contact), PROXY, own=own)

    def test_responds(self) -> None:
        self.assert_found(self.judge(status=200, egressproxy=True, tunnel_status=200), Status.OK, PROXY)
        self.assert_found(self.judge(status=200, egressproxy=True), Status.OK, PROXY)

    def test_no_response(self) -> None:
        finding = self.judge(error="Connection refused")
        self.assert_found(finding, Status.FAULT, "Connection refused", "egressproxy")
        self.assert_found(self.judge(own=True, error="x"), Status.FAULT, "x", "egress run -- COMMAND")

    def test_credentials(self) -> None:
        finding = self.judge(status=407, egressproxy=True)
        line = "egress doctor --proxy http://NAME:PASSWORD@127.0.0.1:8080"
        self.assert_found(finding, Status.FAULT, "credentials", line)

    def test_another_program(self) -> None:
        self.assert_found(self.judge(status=200), Status.FAULT, "is not egressproxy", "egress doctor --own")
        self.assert_found(self.judge(status=407), Status.FAULT, "is not egressproxy")

    def test_another_status(self) -> None:
        self.assert_found(self.judge(status=503, egressproxy=True), Status.FAULT, "status 503")

    def test_no_tls(self) -> None:
        finding = self.judge(status=200, egressproxy=True, tunnel_error="EOF")
        self.assert_found(finding, Status.FAULT, "cannot intercept TLS: EOF", "egress ca show")

    def test_name_constraints(self) -> None:
        finding = self.judge(status=200, egressproxy=True, tunnel_status=403)
        self.assert_found(finding, Status.SKIPPED, "name constraints")


class CaTests(JudgementTestCase):
    """The CA."""

    def judge(self, **facts: Any) -> Finding:
        return judge_ca(CaFacts(**{"begin": NOW - DAY, "end": NOW + 400 * DAY, **facts}), NOW)

    def test_valid(self) -> None:
        self.assert_found(self.judge(), Status.OK, "is valid until 2028-01-03, in 400 days")
        self.assert_found(self.judge(signed=True), Status.OK, "is valid")

    def test_other_cas(self) -> None:
        """Those of the replicas that share state."""
        own, same, other = (
            CaView(root, frozenset({root}), f"F{root}", node, 0.0)
            for root, node in (("1", "a"), ("1", "b"), ("2", "c"))
        )
        self.assert_found(judge_other_cas(own, [same]), Status.OK, "agrees with the other replicas")
        self.assert_found(judge_other_cas(own, []), Status.OK, "no other replica is running")
        found = judge_other_cas(own, [same, other])
        fix = "egress ca show, on each replica; give all of them one root"
        self.assert_found(found, Status.WARNING, "the root of the CA on c (SHA-256 F2) is another one", fix)
        self.assert_found(judge_other_cas(own, "no reply"), Status.SKIPPED, "are not known: no reply")
        self.assert_found(judge_other_cas(None, []), Status.SKIPPED, "(--ca-root)")

    def test_missing(self) -> None:
        self.assert_found(self.judge(missing=True), Status.SKIPPED, "there is no CA")

    def test_problems(self) -> None:
        finding = self.judge(problem="/ca: other users can write to it; run chmod 700 /ca")
        self.assert_found(finding, Status.FAULT, "/ca: other users can write to it", "run chmod 700 /ca")
        self.assert_found(self.judge(problem="no semicolon"), Status.FAULT, "no semicolon", "no semicolon")

    def test_exposed_key(self) -> None:
        finding = self.judge(exposed=Path("/ca/ca-key.pem"))
        self.assert_found(finding, Status.FAULT, "other users can read its key", "chmod 600 /ca/ca-key.pem")
        self.assertEqual(finding.fix and finding.fix.command, ("chmod", "600", "/ca/ca-key.pem"))

    def test_validity(self) -> None:
        self.assert_found(self.judge(begin=NOW + DAY), Status.FAULT, "is not valid before 2026-11-30", SET_CLOCK.line)
        self.assert_found(self.judge(end=NOW), Status.FAULT, "2026-11-29, expired", "egress ca rotate")
        self.assert_found(self.judge(ends_soon=True), Status.WARNING, "ends on 2028", "egress ca rotate")

    def test_the_ca_of_another_proxy(self) -> None:
        self.assert_found(self.judge(signed=False), Status.WARNING, "the CA of another proxy")


class ClockTests(JudgementTestCase):
    """The clock."""

    def judge(self, ahead: dict[str, float], leaf: tuple[datetime, datetime] | None = None) -> Finding:
        return judge_clock(ahead, leaf, NOW)

    def test_agrees(self) -> None:
        found = self.judge({"the proxy": 0.0, "the service": -60.0}, (NOW - DAY, NOW + DAY))
        self.assert_found(found, Status.OK, "agrees with the clock of the proxy and of the service")

    def test_differs(self) -> None:
        for seconds, text in (
            (61.0, "61 seconds behind the clock of the proxy"),
            (-3600.0, "60 minutes ahead of the clock of the proxy"),
            (7200.0, "2 hours behind"),
            (-400 * 86400.0, "400 days ahead"),
        ):
            self.assert_found(self.judge({"the proxy": seconds}), Status.FAULT, text, "timedatectl set-ntp true")

    def test_leaf(self) -> None:
        for leaf in ((NOW + DAY, NOW + 2 * DAY), (NOW - DAY, NOW)):
            self.assert_found(self.judge({}, leaf), Status.FAULT, "and not now, 2026-11-29 12:00 UTC")

    def test_no_other_clock(self) -> None:
        self.assert_found(self.judge({}), Status.SKIPPED, "no other clock")


class NetworkTests(JudgementTestCase):
    """The authorizer, upstream proxies, DNS, and direct egress."""

    def test_authorizer(self) -> None:
        deny = Decision(Verdict.DENY, "no", "x")
        start = Fix("start it")
        found = judge_authorizer("service", deny, 0.012, 5.0, start)
        self.assert_found(found, Status.OK, "service decided in 12 ms")
        found = judge_authorizer("service", deny, 2.6, 5.0, start)
        self.assert_found(found, Status.WARNING, "--authz-timeout is 5 s", "--authz-timeout 6s")
        found = judge_authorizer("service", "it is down", 0.0, 5.0, start)
        self.assert_found(found, Status.FAULT, "service: it is down", "start it")

    def test_upstream(self) -> None:
        self.assert_found(judge_upstream({}), Status.SKIPPED, "no upstream proxy")
        self.assert_found(judge_upstream({UPSTREAM: Contact(status=502)}), Status.OK, "http://proxy.test:3128")
        self.assert_found(judge_upstream({UPSTREAM: Contact(error="refused")}), Status.FAULT, "refused")
        line = "--upstream-proxy http://NAME:PASSWORD@proxy.test:3128"
        self.assert_found(judge_upstream({UPSTREAM: Contact(status=407)}), Status.FAULT, "credentials", line)

    def test_a_chain(self) -> None:
        """The line keeps the proxy before it, without its credentials."""
        for credentials, login in ((None, ""), (b"Basic " + b64encode(b"ci:s3cret"), "NAME:PASSWORD@")):
            first = UpstreamHop("socks5h", Authority("first.test", 1080), credentials)
            chain = UpstreamProxy("http", Authority("proxy.test", 3128), None, first)
            line = f"--upstream-proxy 'http://NAME:PASSWORD@proxy.test:3128 via socks5h://{login}first.test:1080'"
            text = "http://proxy.test:3128 via socks5h://first.test:1080 rejects the credentials"
            self.assert_found(judge_upstream({chain: Contact(status=407)}), Status.FAULT, text, line)

    def test_dns(self) -> None:
        self.assert_found(judge_dns(None, "a.invalid"), Status.OK, "respond")
        self.assert_found(judge_dns("timeout", "a.invalid"), Status.FAULT, "do not respond: timeout")
        self.assert_found(judge_dns(["192.0.2.1"], "a.invalid"), Status.WARNING, "192.0.2.1 for a.invalid")
        self.assert_found(judge_dns(["198.18.0.1", "2001:2::1"], "a.invalid"), Status.OK, "placeholder addresses")
        self.assert_found(judge_dns(["198.18.0.1", "192.0.2.1"], "a.invalid"), Status.WARNING, "192.0.2.1")

    def test_direct(self) -> None:
        self.assert_found(judge_direct("192.0.2.1:443", False), Status.OK, "cannot be reached")
        self.assert_found(judge_direct("192.0.2.1:443", True), Status.WARNING, "can be reached without the proxy")


class MachineTests(JudgementTestCase):
    """Limits, versions, and Docker."""

    def test_descriptors(self) -> None:
        self.assert_found(judge_descriptors(9232, 16384), Status.OK, "9,232 connections")
        self.assert_found(judge_descriptors(100, 100), Status.OK, "100 connections")
        self.assert_found(judge_descriptors(384, 16384), Status.WARNING, "384", "ulimit -n 65536")

    def judge_versions(self, openssl: str = "OpenSSL 3.0.2 15 Mar 2022", **versions: str) -> Finding:
        required = ["attrs >= 22.2", "twisted[tls]>=25.5", 'tomli>=2; python_version < "3.11"', "idna", "absent >= 9"]
        return judge_versions({"egressproxy": "1.0", "python": "3.11.7", **versions}, required, openssl)

    def test_versions(self) -> None:
        found = self.judge_versions(attrs="22.10", twisted="25.5.0rc1", tomli="2.0")
        self.assert_found(found, Status.OK, "egressproxy 1.0, python 3.11.7, twisted 25.5.0rc1, OpenSSL 3.0.2")
        self.assert_found(self.judge_versions("BoringSSL"), Status.OK, "BoringSSL")

    def test_old_versions(self) -> None:
        found = self.judge_versions(twisted="24.3.0")
        self.assert_found(found, Status.FAULT, "twisted 24.3.0 is older than 25.5", "pip install 'twisted>=25.5'")
        found = self.judge_versions("OpenSSL 1.1.1w  11 Sep 2023")
        self.assert_found(found, Status.WARNING, "no security fixes")

    def judge_docker(
        self, status: int | None, output: str, config: dict[str, object] | None = None, own: bool = False
    ) -> Finding:
        return judge_docker(status, output, config or {}, PROXY, own=own)

    def test_docker(self) -> None:
        configured = f'"{PROXY}"\n'
        self.assert_found(self.judge_docker(0, configured, {"proxies": {"default": {}}}), Status.OK, "have a proxy")
        self.assert_found(self.judge_docker(0, configured, own=True), Status.SKIPPED, "permanently")
        self.assert_found(self.judge_docker(1, '""\nCannot connect'), Status.SKIPPED, "does not run")
        self.assert_found(self.judge_docker(None, ""), Status.SKIPPED, "does not run")
        self.assert_found(self.judge_docker(0, '""\n'), Status.WARNING, "pulls images without the proxy")
        self.assert_found(self.judge_docker(0, configured), Status.WARNING, "containers have no proxy variables")

    def test_failed_check(self) -> None:
        self.assert_found(failed("dns", ValueError("no")), Status.ERROR, "could not be checked: ValueError: no")
        self.assert_found(failed("dns", ValueError()), Status.ERROR, "ValueError")
