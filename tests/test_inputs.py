"""Tests for L{egress.inputs}; L{tests.test_service} has those of the composed proxy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from egress import inputs
from egress.config.model import AuditFailure, ConfigError, Limits, Mode, ProxyConfig
from egress.runtime.role import DRY_RUN, SUPERVISOR, WHOLE, Role
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.postgresql_connection import Database
from egress.tls.ca_source import ca_source
from tests.files import make_directory
from tests.proxy.fakes import ScriptedAuthorizer
from tests.test_start_warnings import ASK

WORKER = Role(())


class EffectiveConfigTests(SynchronousTestCase):
    """L{inputs.effective_config}."""

    def effective(self, role: Role, *, own_authorizer: bool = False, **options: Any) -> ProxyConfig:
        return inputs.effective_config(ProxyConfig(**options), role, own_authorizer=own_authorizer)

    def test_workers(self) -> None:
        """Only a supervisor starts several processes."""
        error = self.assertRaises(ConfigError, self.effective, WHOLE, workers=2)
        self.assertEqual((error.option, error.value), ("workers", "2"))
        for role in (WORKER, SUPERVISOR, DRY_RUN):
            with self.subTest(role):
                self.assertEqual(self.effective(role, workers=2).workers, 2)

    def test_dry_run_without_shadow(self) -> None:
        """An explanation has no second opinion."""
        shadow: dict[str, Any] = {"shadow_policy": Path("shadow.toml"), "shadow_log": "shadow.jsonl"}
        self.assertIsNotNone(self.effective(WHOLE, **shadow).shadow_policy)
        config = self.effective(DRY_RUN, **shadow)
        self.assertEqual((config.shadow_policy, config.shadow_log), (None, None))

    def test_own_authorizer(self) -> None:
        """A policy next to an authorizer of the application is a contradiction."""
        self.effective(WHOLE, policy=Path("p.toml"))
        self.assertRaises(ConfigError, self.effective, WHOLE, own_authorizer=True, policy=Path("p.toml"))

    def test_observe_mode_is_announced_once(self) -> None:
        """The supervisor announces it, not each worker."""
        for role, number in ((WHOLE, 1), (SUPERVISOR, 1), (WORKER, 0), (DRY_RUN, 0)):
            with self.subTest(role), capturedLogs() as events:
                self.effective(role, mode=Mode.OBSERVE)
                found = [event for event in events if event["log_namespace"] == "egress.inputs"]
                self.assertEqual(len([event for event in found if event["log_level"] is LogLevel.warn]), number)


class LimitsTests(SynchronousTestCase):
    """The connection limit fits the limit of open files."""

    def test_limits(self) -> None:
        for descriptors, connections in ((1024, 384), (1048576, Limits().connections)):
            with self.subTest(descriptors), mock.patch.object(inputs, "soft_limit", return_value=descriptors):
                limits = inputs.effective_config(ProxyConfig(), WHOLE, own_authorizer=False).limits
                self.assertEqual(limits.connections, connections)
                self.assertEqual(limits == Limits(), connections == Limits().connections)

    def test_message(self) -> None:
        """Fewer connections than the default are remarkable only if they are few."""
        wanted = attrs.evolve(Limits(), connections=10_000)
        for descriptors, limits, level in (
            (20_000, Limits(), LogLevel.debug),
            (20_000, wanted, LogLevel.warn),
            (1024, Limits(), LogLevel.warn),
            (1048576, wanted, None),
        ):
            with mock.patch.object(inputs, "soft_limit", return_value=descriptors), capturedLogs() as events:
                inputs.effective_config(ProxyConfig(limits=limits), WHOLE, own_authorizer=False)
            self.assertEqual([event["log_level"] for event in events], [] if level is None else [level])


class LoadInputsTests(SynchronousTestCase):
    """L{inputs.load_inputs}."""

    def load(self, role: Role = WHOLE, own: Any = None, **options: Any) -> inputs.ProxyInputs:
        config = ProxyConfig(ca_dir=Path(self.mktemp()), **options)
        return inputs.load_inputs(
            config,
            role,
            own=own,
            clock=Clock(),
            in_thread=lambda check: succeed(check()),
            fetch_of=lambda issuer, trust: Deferred,
        )

    def note(self, close: Callable[[], None], closed: list[str], path: str) -> None:
        close()
        closed.append(path)

    def test_who_decides(self) -> None:
        """The authorizer of the application, the service, or the policy."""
        own = ScriptedAuthorizer()
        cases: tuple[tuple[Any, dict[str, Any], str], ...] = (
            (own, {}, own.name),
            (None, {"authz_url": "http://authz.test"}, "the authorization service http://authz.test/validate"),
            (None, {}, "policy starter"),
        )
        for given, options, name in cases:
            with self.subTest(name):
                loaded = self.load(own=given, **options)
                self.assertEqual(loaded.sources.name, name)
                self.assertEqual(loaded.resources.rules is None, name != "policy starter")

    def test_warnings(self) -> None:
        """Of a supervisor and its workers, only one process warns."""
        policy = make_directory(self) / "policy.toml"
        policy.write_text(ASK)
        for role, number in ((WHOLE, 1), (SUPERVISOR, 1), (WORKER, 0), (DRY_RUN, 0)):
            with self.subTest(role), capturedLogs() as events:
                self.load(role, policy=policy)
                self.assertEqual([event["option"] for event in events if "option" in event], ["--admin"] * number)

    def test_close(self) -> None:
        """The files that were opened are closed."""
        directory = make_directory(self)
        audit, shadow = str(directory / "audit.jsonl"), str(directory / "shadow.jsonl")
        loaded = self.load(audit_log=audit, shadow_authz_url="http://authz.test", shadow_log=shadow)
        closed: list[str] = []
        for log, path in ((loaded.audit_log, audit), (loaded.sources.shadow_log, shadow)):
            assert log is not None
            self.patch(log, "close", partial(self.note, log.close, closed, path))
        loaded.close()
        self.assertEqual(closed, [audit, shadow])
        loaded = self.load(audit_store=f"sqlite:{directory / 'audit.db'}")
        assert loaded.audit_store is not None
        loaded.close()
        self.assertRaises(StoreError, loaded.audit_store.last_seq)
        self.load().close()

    def test_listeners(self) -> None:
        """Each listener has settings, in the order of the configuration."""
        loaded = self.load(listen=("tcp:1", "tcp:2:https=allow"))
        self.assertEqual(["https" in listener.auth_policy.schemes for listener in loaded.listeners], [False, True])


class FunctionTests(SynchronousTestCase):
    """The functions for single inputs."""

    def test_dry_run_makes_no_files(self) -> None:
        """A dry run makes a CA in memory, and opens no log."""
        directory = Path(self.mktemp())
        store = f"sqlite:{directory / 'audit.db'}"
        config = ProxyConfig(ca_dir=directory, audit_log=str(directory / "audit.jsonl"), audit_store=store)
        _, note = inputs.certificate_authority(config, ca_source(config), DRY_RUN)
        self.assertIn("there is no CA", note or "")
        self.assertIsNone(inputs.audit_log(config, DRY_RUN))
        self.assertEqual(inputs.audit_store(config, DRY_RUN), (None, None))
        self.assertFalse(directory.exists())

    def test_unusable_ca(self) -> None:
        """The error names the option."""
        path = Path(self.mktemp())
        path.write_text("a file")
        config = ProxyConfig(ca_dir=path)
        error = self.assertRaises(ConfigError, inputs.certificate_authority, config, ca_source(config), WHOLE)
        self.assertEqual(error.option, "--ca-dir")

    def test_unusable_audit_log(self) -> None:
        """The error names the option and the file."""
        path = Path(self.mktemp()) / "absent" / "audit.jsonl"
        error = self.assertRaises(ConfigError, inputs.audit_log, ProxyConfig(audit_log=str(path)), WHOLE)
        self.assertEqual((error.option, error.value), ("--audit-log", str(path)))

    def test_unusable_audit_store(self) -> None:
        """The error names the option and the location."""
        location = f"sqlite:{Path(self.mktemp()) / 'absent' / 'audit.db'}"
        error = self.assertRaises(ConfigError, inputs.audit_store, ProxyConfig(audit_store=location), WHOLE)
        self.assertEqual((error.option, error.value), ("--audit-store", location))

    def default_store(self, path: Path, role: Role = WHOLE, **options: Any) -> tuple[Any, str | None]:
        config = ProxyConfig(audit_store=f"sqlite:{path}", audit_store_required=False, **options)
        found = inputs.audit_store(config, role)
        if found[0] is not None:
            self.addCleanup(found[0].close)
        return found

    def test_store_on_a_server(self) -> None:
        """A proxy starts while the server is away, with a warning; its workers do not connect at their start."""
        config = ProxyConfig(ca_dir=make_directory(self), audit_store="postgresql://egress@db.test/audit")
        for role, warnings in ((WHOLE, 1), (SUPERVISOR, 1), (Role(endpoints=(), worker=2), 0)):
            with (
                self.subTest(role),
                mock.patch.object(Database, "connect", side_effect=StoreUnreachable("refused")) as connect,
                capturedLogs() as events,
            ):
                store, fault = inputs.audit_store(config, role)
                assert store is not None
                store.close()
                self.assertEqual((fault, connect.call_count, len(events)), (None, warnings, warnings))
                for event in events:
                    self.assertIn("records wait in the spool", formatEvent(event))

    def test_default_store(self) -> None:
        """Its directory is created like that of the CA."""
        path = make_directory(self) / "state" / "audit.db"
        store, fault = self.default_store(path)
        self.assertEqual((store.last_seq(), fault), (0, None))
        self.assertEqual((path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777), (0o700, 0o600))

    def test_unusable_default_store(self) -> None:
        """A proxy starts without its default store, and one of its processes warns."""
        directory = make_directory(self)
        (directory / "file").write_text("no directory")
        (directory / "text.db").write_bytes(b"no database" * 100)
        for path, expected in (
            (directory / "file" / "audit.db", "cannot be"),
            (directory / "text.db", "not a database"),
        ):
            for role, number in ((WHOLE, 1), (SUPERVISOR, 1), (WORKER, 0)):
                with self.subTest(path.name, role=role), capturedLogs() as events:
                    store, fault = self.default_store(path, role)
                    self.assertIsNone(store)
                    self.assertIn(expected, fault or "")
                    self.assertEqual([event["fault"] for event in events if "fault" in event], [fault] * number)

    def test_required_default_store(self) -> None:
        """A proxy that must record every request does not start without its only record."""
        path = make_directory(self) / "audit.db"
        path.write_bytes(b"no database" * 100)
        deny = AuditFailure.DENY
        error = self.assertRaises(ConfigError, self.default_store, path, audit_failure=deny)
        self.assertEqual(error.option, "--audit-store")
        log = str(path.with_name("audit.jsonl"))
        self.assertIsNone(self.default_store(path, audit_failure=deny, audit_log=log)[0])
