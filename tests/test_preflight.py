"""Tests for L{egress.preflight}."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import Any
from unittest import mock

import attrs
from twisted.internet.defer import fail as failed
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress import preflight as module
from egress.authz.distribution.store import PolicyStore
from egress.authz.remote.issuer_client import IssuerClient
from egress.checks.contact import Contact
from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.shared import SharedSettings
from egress.model.authority import Authority, UpstreamHop, UpstreamProxy
from egress.model.errors import ClientAuthUnavailable
from egress.model.policy_url import PolicyUrl
from egress.model.shared_location import SharedLocation
from egress.model.webhook import WebhookTarget
from egress.policy.bundle import Bundle, encode_bundle
from egress.preflight import Finding, Level, check_configuration, exit_status
from egress.shared.ca_fingerprints import NAMESPACE
from egress.shared.ca_views import CaView, encode
from egress.shared.keys import SharedKeys
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.tls.ca_source import ca_source
from egress.tls.ca_store import CaDirectory
from tests.certificates import TestCA
from tests.client_auth.jwt_issuer import key_set
from tests.files import make_directory
from tests.test_start_warnings import ASK
from tests.threads import ThreadlessReactor, at_once

UPSTREAM = UpstreamProxy("http", Authority("192.0.2.7", 3128), None)


class _Transport(StringTransport):
    protocol: Any = None

    def abortConnection(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""


class CheckTests(SynchronousTestCase):
    """The findings."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = ThreadlessReactor()
        self.directory = make_directory(self).absolute()

    def check(self, **options: Any) -> Any:
        config = ProxyConfig(**{"ca_dir": self.directory / "ca", **options})
        return check_configuration(self.reactor, config)

    def found(self, **options: Any) -> list[str]:
        return [str(finding) for finding in self.successResultOf(self.check(**options))]

    def accept(self) -> _Transport:
        """Accept the last connection."""
        factory: Any = self.reactor.tcpClients[-1][2]
        transport = _Transport()
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport

    def refuse(self) -> None:
        """Refuse the last connection."""
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectRefused()))
        self.reactor.advance(1)

    def test_audit_store_on_a_server(self) -> None:
        """The server is contacted; the proxy starts without it, but not with tables that it cannot use."""
        url = "postgresql://egress@db.test/audit"
        for result, expected in (
            (False, f"ok       --audit-store: {url} accepts connections ("),
            (True, "; the first start creates or updates its tables"),
            (StoreUnreachable(f"{url}: refused"), f"warning  --audit-store: {url}: refused; until it can be reached, "),
            (StoreError(f"{url}: a newer version"), f"error    --audit-store: {url}: a newer version"),
        ):
            with self.subTest(expected), mock.patch.object(module, "missing_tables", side_effect=[result]):
                found = self.found(audit_store=url, audit_store_password="hunter2")
                self.assertTrue(any(expected in each for each in found), found)
                self.assertNotIn("hunter2", "".join(found))
        with mock.patch.object(module, "missing_tables"), mock.patch.object(os, "access", return_value=False):
            found = self.found(audit_store=url)
        self.assertTrue(
            any(each.startswith("error    --ca-dir: the spool of --audit-store needs it") for each in found)
        )

    def test_nothing_to_change(self) -> None:
        """There are no effects: no CA, no log, no listener."""
        log = self.directory / "audit.jsonl"
        findings = self.successResultOf(self.check(audit_log=str(log)))
        self.assertEqual({finding.level for finding in findings}, {Level.OK})
        self.assertEqual([each.option for each in findings], ["--ca-dir", "--audit-log", "--listen", "--policy"])
        self.assertEqual(exit_status(findings), 0)
        self.assertEqual(list(self.directory.iterdir()), [])
        self.assertEqual(self.reactor.tcpServers, [])

    def test_issuers(self) -> None:
        """The keys of an issuer of tokens are downloaded."""
        refused = failed(ClientAuthUnavailable("refused"))
        for result, expected in (
            (succeed(key_set()), "ok       --client-auth: the keys of the issuer of tokens can be downloaded"),
            (refused, "error    --client-auth: the keys of the issuer of tokens are not known: refused; until then, "),
        ):
            with mock.patch.object(IssuerClient, "fetch", return_value=result):
                found = self.found(client_auth="jwt:https://issuer.test")
            self.assertEqual(len([each for each in found if each.startswith(expected)]), 1, found)

    def test_ca(self) -> None:
        config = ProxyConfig(ca_dir=self.directory / "ca")
        self.assertIn("there is no CA in", self.found()[0])
        ca_source(config).load_or_create(datetime.now(timezone.utc))
        self.assertRegex(self.found()[0], r"^ok       --ca-dir: .*/ca\.pem ends ")
        (self.directory / "ca" / "ca.pem").write_text("x")
        (self.directory / "ca" / "ca.pem").chmod(0o644)
        self.assertTrue(self.found()[0].startswith("error    --ca-dir: "), self.found())

    def test_unwritable(self) -> None:
        """A directory of another user."""
        self.patch(os, "access", lambda path, mode: False)
        log = self.directory / "audit.jsonl"
        store = self.directory / "audit.db"
        found = self.found(audit_log=str(log), audit_store=f"sqlite:{store}")
        self.assertIn(f"error    --audit-store: {store} cannot be written: make {self.directory} writable", found[2])
        self.assertIn(f"error    --ca-dir: {self.directory} is not writable", found[0])
        self.assertIn(f"error    --audit-log: {log} cannot be written: make {self.directory} writable", found[1])

    def test_default_store(self) -> None:
        """Its directory need not exist; a proxy starts without it."""
        store = self.directory / "state" / "audit.db"
        options: dict[str, Any] = {"audit_store": f"sqlite:{store}", "audit_store_required": False}
        self.assertIn(f"ok       --audit-store: {store} is writable", self.found(**options))
        self.patch(os, "access", lambda path, mode: False)
        warning = f"warning  --audit-store: {store} cannot be written: make {self.directory} writable, or set none"
        self.assertIn(warning, self.found(**options))

    def test_warnings(self) -> None:
        policy = self.directory / "policy.toml"
        policy.write_text(ASK)
        findings = self.successResultOf(self.check(policy=policy))
        (warning,) = [finding for finding in findings if finding.level is Level.WARNING]
        self.assertEqual(warning.option, "--admin")
        self.assertEqual(exit_status(findings), 0)

    def test_invalid_policy(self) -> None:
        policy = self.directory / "policy.toml"
        policy.write_text("version = 9")
        findings = self.successResultOf(self.check(policy=policy))
        self.assertEqual((findings[-1].level, findings[-1].option), (Level.ERROR, "--policy"))
        self.assertEqual(exit_status(findings), 1)

    def test_workers(self) -> None:
        self.assertEqual(len(self.found(workers=4)), 3)

    def test_authorizer(self) -> None:
        checking = self.check(authz_url="http://192.0.2.1:9000")
        self.assertNoResult(checking)
        self.assertEqual(self.reactor.tcpClients[-1][1], 9000)
        self.reactor.advance(0.012)
        self.accept()
        last = self.successResultOf(checking)[-1]
        self.assertEqual((last.level, last.option), (Level.OK, "--authz-url"))
        self.assertTrue(last.text.endswith("accepts connections (12 ms)"), last.text)

    def test_unreachable_authorizer(self) -> None:
        checking = self.check(authz_url="http://192.0.2.1:9000")
        self.refuse()
        last = self.successResultOf(checking)[-1]
        self.assertEqual((last.level, last.option), (Level.ERROR, "--authz-url"))
        self.assertIn("refused the connection", last.text)

    def test_silent_authorizer(self) -> None:
        checking = self.check(authz_url="http://192.0.2.1:9000")
        self.reactor.advance(3)
        last = self.successResultOf(checking)[-1]
        self.assertEqual((last.level, last.option), (Level.ERROR, "--authz-url"))
        self.assertIn("3 s", last.text)

    def test_webhooks(self) -> None:
        """A receiver of notifications that cannot be reached is a warning, without the path of its URL."""
        target = WebhookTarget.parse("slack:http://192.0.2.3:9000/hunter2")
        given: Any
        for given, option in (({"url": (target,)}, "--notify-url"), ({"url_file": (target,)}, "--notify-url-file")):
            for act, level, text in (
                (self.accept, Level.OK, "http://192.0.2.3:9000 accepts connections"),
                (self.refuse, Level.WARNING, "http://192.0.2.3:9000 cannot be used: the connection was refused"),
            ):
                with self.subTest(option, text=text):
                    checking = self.check(notify=NotifySettings(**given, allow_http=True))
                    act()
                    finding = self.successResultOf(checking)[-1]
                    self.assertEqual((finding.level, finding.option), (level, option))
                    self.assertIn(text, finding.text)
                    self.assertNotIn("hunter2", finding.text)
        checking = self.check(
            notify=NotifySettings(url=(target,), allow_http=True, via_upstream=True), upstream_https=UPSTREAM
        )
        self.accept()
        self.assertNotIn("--notify-url", [finding.option for finding in self.successResultOf(checking)])

    def test_shared_state(self) -> None:
        """An engine that cannot be used is a warning: each proxy then calls the authorizer itself."""
        given: Any = {"location": "redis://192.0.2.3:7000", "key": bytes(32)}

        def respond() -> None:
            factory: Any = self.reactor.tcpClients[-1][2]
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(_Transport())
            self.reactor.advance(0)
            protocol.dataReceived(b":0\r\n")

        for act, level, text in (
            (respond, Level.OK, "redis://192.0.2.3:7000 accepts commands (0 ms)"),
            (self.refuse, Level.WARNING, "redis://192.0.2.3:7000 cannot be used: "),
        ):
            with self.subTest(text):
                checking = self.check(shared=SharedSettings(**given))
                act()
                finding = self.successResultOf(checking)[-1]
                self.assertEqual((finding.level, finding.option), (level, "--shared"))
                self.assertIn(text, finding.text)

    def test_other_ca(self) -> None:
        """A replica with another CA is a warning."""
        directory = CaDirectory(self.directory / "ca")
        directory.load_or_create(datetime.now(timezone.utc))
        key, other = bytes(32), TestCA("Other").certificate
        keys = SharedKeys(key, NAMESPACE)
        name = keys.name(keys.group(b"ca"), b"ca")
        value = keys.seal(name, encode([CaView.of(other, [], "node-2", time.time())]))
        for reply, text in ((value, "the root of the CA on node-2"), (b"", None)):
            shared = SharedSettings(location=SharedLocation.parse("redis://192.0.2.3:7000"), key=key)
            checking = self.check(ca_dir=directory.path, shared=shared)
            factory: Any = self.reactor.tcpClients[-1][2]
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(_Transport())
            self.reactor.advance(0)
            protocol.dataReceived(b":0\r\n")
            self.reactor.advance(0)
            protocol.dataReceived(b"$%d\r\n%b\r\n" % (len(reply), reply))
            findings = [each for each in self.successResultOf(checking) if each.option in ("--shared", "--ca-dir")]
            warnings = [each.text for each in findings if (each.level, each.option) == (Level.WARNING, "--ca-dir")]
            self.assertEqual(len(warnings), 0 if text is None else 1, findings)
            self.assertIn(text or "", "".join(warnings))

    def test_policy_urls(self) -> None:
        """A policy is downloaded and checked, but not stored."""
        url = PolicyUrl.parse("http://127.0.0.1:8000/policy.toml")
        store = PolicyStore(self.directory / "ca" / "policy", url)
        token = self.directory / "token"
        token.write_text("secret")

        def check(option: str, content: bytes | None) -> Any:
            settings: dict[str, Any] = {option: url, "policy_token_file": token}
            checking = self.check(**settings)
            if content is None:
                self.refuse()
            else:
                transport = self.accept()
                self.assertIn(b"Authorization: Bearer secret\r\n", transport.value())
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
                transport.protocol.dataReceived(head + content)
            found = [each for each in self.successResultOf(checking) if each.text.startswith(str(url))]
            return [(each.level, each.option, each.text.removeprefix(f"{url}")) for each in found]

        for option, field in (("--policy", "policy"), ("--shadow-policy", "shadow_policy")):
            self.assertEqual(check(field, b"version = 1\n"), [(Level.OK, option, ": 0 rules")])
            bundle = encode_bundle(Bundle(7, "a", {"a": "version = 1\n"}), [])
            self.assertEqual(check(field, bundle), [(Level.OK, option, ": version 7, 0 rules")])
            ((level, _, text),) = check(field, b"garbage")
            self.assertEqual((level, "is not TOML" in text), (Level.ERROR, True))
            ((level, _, text),) = check(field, None)
            self.assertEqual((level, "the connection was refused; there is no" in text), (Level.ERROR, True))
        self.assertIsNone(store.read())
        store.prepare()
        store.save(b"version = 1\n")
        ((level, _, text),) = check("policy", None)
        self.assertEqual((level, "the stored version decides" in text), (Level.WARNING, True))

    def test_shadow(self) -> None:
        """An unreachable shadow is a warning: it has no effect on requests."""
        for fail, level, text in (
            (self.accept, Level.OK, "http://192.0.2.3:9000/validate accepts connections (0 ms)"),
            (self.refuse, Level.WARNING, "the shadow is not ready: the authorization service refused the connection"),
        ):
            checking = self.check(shadow_authz_url="http://192.0.2.3:9000")
            fail()
            findings = self.successResultOf(checking)
            self.assertEqual((findings[-1].level, findings[-1].option), (level, "--shadow-authz-url"))
            self.assertIn(text, findings[-1].text)
            self.assertEqual(exit_status(findings), 0)

    def test_upstream(self) -> None:
        checking = self.check(upstream_http=UPSTREAM, upstream_https=UPSTREAM)
        self.assertEqual(self.reactor.tcpClients[-1][1], 3128)
        self.reactor.advance(0.5)
        transport = self.accept()
        last = self.successResultOf(checking)[-1]
        self.assertEqual(str(last), "ok       --upstream-proxy: http://192.0.2.7:3128 accepts connections (500 ms)")
        self.assertTrue(transport.disconnecting)

    def test_chain_of_upstreams(self) -> None:
        """A chain, and a proxy that speaks SOCKS5, must open a tunnel or accept the credentials."""
        chain = attrs.evolve(UPSTREAM, via=UpstreamHop("http", Authority("192.0.2.8", 3128)))
        for upstream in (chain, UpstreamProxy("socks5h", Authority("192.0.2.7", 1080))):
            for error, level, text in (
                (None, Level.OK, f"{upstream} responds (0 ms)"),
                ("down", Level.ERROR, f"{upstream} cannot be used: down"),
            ):
                self.patch(module, "upstream_contact", lambda upstream, seconds, error=error: Contact(error=error))
                last = self.successResultOf(self.check(upstream_https=upstream))[-1]
                self.assertEqual((last.level, last.option, last.text), (level, "--upstream-proxy", text))

    def test_unreachable_upstream(self) -> None:
        for fail in (self.refuse, lambda: self.reactor.advance(3)):
            checking = self.check(upstream_https=UPSTREAM)
            fail()
            last = self.successResultOf(checking)[-1]
            self.assertEqual((last.level, last.option), (Level.ERROR, "--upstream-proxy"))
            self.assertIn("http://192.0.2.7:3128 cannot be reached: ", last.text)


class FindingTests(SynchronousTestCase):
    """A finding."""

    def test_forms(self) -> None:
        finding = Finding(Level.WARNING, "--admin", "is not set")
        self.assertEqual(str(finding), "warning  --admin: is not set")
        self.assertEqual(finding.as_json(), {"level": "warning", "option": "--admin", "text": "is not set"})

    def test_of_error(self) -> None:
        self.assertEqual(str(Finding.of(ConfigError("--x", "1", "write\n2"))), "error    --x: '1': write 2")
        self.assertEqual(str(Finding.of(ConfigError("--x", "", "write 2"))), "error    --x: write 2")
