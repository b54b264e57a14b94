"""Tests for L{egress.parts}; L{tests.test_service} has those of the composed proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress import parts
from egress.config.model import ConfigError, Limits, Mode, OversizeBody, ProxyConfig
from egress.proxy.context import ProxyContext
from egress.runtime.role import DRY_RUN, WHOLE, Role
from egress.tls.ca_source import ca_source

WORKER = Role(())


class EffectiveConfigTests(SynchronousTestCase):
    """L{parts.effective_config}."""

    def effective(self, role: Role, *, own_authorizer: bool = False, **options: Any) -> ProxyConfig:
        return parts.effective_config(ProxyConfig(**options), role, own_authorizer=own_authorizer)

    def test_workers(self) -> None:
        """Only a supervisor has several processes."""
        error = self.assertRaises(ConfigError, self.effective, WHOLE, workers=2)
        self.assertEqual((error.option, error.value), ("workers", "2"))
        for role in (WORKER, DRY_RUN):
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
        for role, number in ((WHOLE, 1), (WORKER, 0), (DRY_RUN, 0)):
            with self.subTest(role), capturedLogs() as events:
                self.effective(role, mode=Mode.OBSERVE)
                found = [event for event in events if event["log_namespace"] == "egress.parts"]
                self.assertEqual(len([event for event in found if event["log_level"] is LogLevel.warn]), number)


class LimitsTests(SynchronousTestCase):
    """The connection limit fits the limit of open files."""

    def test_limits(self) -> None:
        for descriptors, connections in ((1024, 384), (1048576, Limits().connections)):
            with self.subTest(descriptors), mock.patch.object(parts, "soft_limit", return_value=descriptors):
                limits = parts.effective_config(ProxyConfig(), WHOLE, own_authorizer=False).limits
                self.assertEqual(limits.connections, connections)
                self.assertEqual(limits == Limits(), connections == Limits().connections)


class ContextTests(SynchronousTestCase):
    """L{parts.proxy_context}."""

    def context(self, **options: Any) -> ProxyContext:
        nothing: Any = None
        reactor: Any = Clock()
        return parts.proxy_context(
            *(reactor, ProxyConfig(**options)),
            authorizer=nothing,
            dialer=nothing,
            host_contexts=nothing,
            report=nothing,
        )

    def test_oversize_content(self) -> None:
        """In observe mode, content over the limit is truncated instead of rejected."""
        for mode, expected in ((Mode.ENFORCE, OversizeBody.REFUSE), (Mode.OBSERVE, OversizeBody.TRUNCATE)):
            self.assertIs(self.context(mode=mode).oversize_body, expected)

    def test_renewal_timeout(self) -> None:
        """It is longer than the longest deadline of an authorizer."""
        self.assertEqual(self.context(authz_timeout=5).authz.renewal_timeout, 10 + parts.RENEWAL_MARGIN)


class PartsTests(SynchronousTestCase):
    """The other functions."""

    def test_dry_run_makes_no_files(self) -> None:
        """A dry run makes a CA in memory, and opens no log."""
        directory = Path(self.mktemp())
        config = ProxyConfig(ca_dir=directory, audit_log=str(directory / "audit.jsonl"))
        _, note = parts.certificate_authority(config, ca_source(config), DRY_RUN)
        self.assertIn("there is no CA", note or "")
        self.assertIsNone(parts.audit_log(config, DRY_RUN))
        self.assertFalse(directory.exists())

    def test_unusable_ca(self) -> None:
        """The error names the option."""
        path = Path(self.mktemp())
        path.write_text("a file")
        config = ProxyConfig(ca_dir=path)
        error = self.assertRaises(ConfigError, parts.certificate_authority, config, ca_source(config), WHOLE)
        self.assertEqual(error.option, "--ca-dir")

    def test_unusable_audit_log(self) -> None:
        """The error names the option and the file."""
        path = Path(self.mktemp()) / "absent" / "audit.jsonl"
        error = self.assertRaises(ConfigError, parts.audit_log, ProxyConfig(audit_log=str(path)), WHOLE)
        self.assertEqual((error.option, error.value), ("--audit-log", str(path)))
