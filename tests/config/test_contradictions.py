"""Tests for L{egress.config.contradictions}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.config.contradictions import (
    AUTHZ_SERVICE,
    OWN_AUTHORIZER,
    PROXY,
    RULES_DECIDE,
    Contradicted,
    Contradiction,
    changed,
    check,
)
from egress.config.listener import Listener
from egress.config.model import AuthzApi, ConfigError, ProxyConfig
from egress.model.authority import Authority, UpstreamProxy

URL = "http://a.test"
HTTPS = "https://a.test"
UPSTREAM = UpstreamProxy("http", Authority("127.0.0.1", 3128))

# The field at fault with a configuration in which a setting would silently have no effect.
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("policy", {"policy": "p.toml", "authz_url": URL}),
    ("shadow_policy", {"shadow_policy": "p.toml", "shadow_authz_url": URL}),
    ("shadow_log", {"shadow_log": "s.jsonl"}),
    ("shadow_authz_token", {"shadow_authz_token": "hunter2", "shadow_policy": "p.toml"}),
    ("policy_interval", {"policy_interval": 5.0, "policy": "p.toml"}),
    ("policy_token_file", {"policy_token_file": "t", "policy": "p.toml"}),
    ("policy_client_cert", {"policy_client_cert": "c", "policy": "p.toml"}),
    ("policy_max_age", {"policy_max_age": 5.0, "shadow_policy": "p.toml"}),
    ("policy_dir", {"policy_dir": "d"}),
    ("policy_key", {"policy_key": "k"}),
    ("console_policy_edit", {"console_policy_edit": True, "admin": "unix:/a", "policy": "https://a.test/p"}),
    ("ca_name_constraints", {"ca_name_constraints": ["a.test"], "ca_cert": "c", "ca_key": "k"}),
    ("ca_key", {"ca_cert": "c"}),
    ("ca_cert", {"ca_key": "k"}),
    ("ca_cert", {"ca_root": "r"}),
    ("authz_response_headers", {"authz_response_headers": ["x"], "authz_url": URL}),
    ("authz_client_cert", {"authz_client_cert": "c"}),
    ("authz_client_cert", {"authz_client_cert": "c", "authz_url": URL}),
    ("authz_client_cert", {"authz_client_cert": "c", "shadow_authz_url": URL}),
    ("authz_via_upstream", {"authz_via_upstream": True}),
    ("authz_via_upstream", {"authz_via_upstream": True, "authz_url": URL}),
    (
        "client_auth",
        {"client_auth": "f", "listen": [Listener("tcp:1", sets_auth=True), Listener("tcp:2", sets_auth=True)]},
    ),
    (
        "client_auth",
        {"client_auth": "f", "listen": [Listener("tcp:1"), Listener("tcp:2", transparent=True)]},
    ),
    ("http2", {"http2": False, "listen": [Listener("tcp:1"), Listener("tcp:2", h2c=True)]}),
    ("authz_api", {"authz_api": "opa"}),
    ("authz_body", {"authz_body": "never", "policy": "p.toml"}),
    ("authz_decode_body", {"authz_decode_body": True}),
    ("authz_decode_body", {"authz_decode_body": True, "authz_url": URL, "authz_api": "ext-authz"}),
    ("authz_decode_body", {"authz_decode_body": True, "authz_url": URL, "authz_body": "never"}),
    ("authz_api", {"authz_response_headers": ["x"], "authz_api": "ext-authz", "shadow_policy": "p.toml"}),
    ("authz_token", {"authz_token": "hunter2", "shadow_authz_url": URL}),
    ("authz_max_ttl", {"authz_cache": None, "authz_max_ttl": 1, "authz_url": URL}),
    ("authz_max_stale", {"authz_cache": None, "authz_max_stale": 1, "authz_url": URL}),
    ("audit_failure", {"audit_failure": "deny"}),
    ("audit_signing_key", {"audit_signing_key": "k"}),
    ("audit_log_mode", {"audit_log_mode": "640"}),
    ("audit_log_group", {"audit_log_group": 0, "audit_log": "-"}),
    ("metrics_interface", {"metrics_interface": "::"}),
    ("audit_store_days", {"audit_store_days": 7}),
    ("audit_store_size", {"audit_store_size": 7}),
    ("audit_store_password", {"audit_store": "sqlite:a.db", "audit_store_password": "hunter2"}),
    ("audit_spool_size", {"audit_store": "sqlite:a.db", "audit_spool_size": 7}),
    ("admin", {"admin": "tcp:9099"}),
    ("admin_token", {"admin_token": "hunter2"}),
    ("admin_viewer_token", {"admin_viewer_token": "hunter2"}),
    ("admin_viewer_token", {"admin_viewer_token": "hunter2", "admin_token": "hunter2", "admin": "tcp:9099"}),
    ("admin_hosts", {"admin_hosts": ["proxy.example"]}),
    ("console_policy_edit", {"console_policy_edit": True, "policy": "p.toml"}),
    ("console_policy_edit", {"console_policy_edit": True, "admin": "unix:/a"}),
    ("approval_timeout", {"approval_timeout": 1}),
    ("approval_queue", {"approval_queue": 1}),
    ("upstream_http", {"upstream_http": UPSTREAM, "listen": ["tcp:3128"]}),
    ("upstream_http", {"upstream_http": "socks5h://a.test via http://127.0.0.1:3128", "listen": ["tcp:3128"]}),
    ("upstream_https", {"upstream_https": UPSTREAM, "listen": ["unix:/run/a", "tcp:port=3128:interface=127.0.0.1"]}),
)


class ProxyTests(SynchronousTestCase):
    """A setting without effect, or with the opposite effect, is rejected."""

    def test_rejected(self) -> None:
        for field, given in CASES:
            with self.subTest(given):
                error = self.assertRaises(Contradicted, ProxyConfig, **given)
                self.assertIsInstance(error, ConfigError)
                self.assertEqual(error.option, field)
                self.assertNotIn("hunter2", str(error))
                self.assertNotRegex(error.remedy, r"[{}]")

    def test_each_is_tested(self) -> None:
        self.assertEqual({field for field, _ in CASES}, {contradiction.field for contradiction in PROXY})

    def test_the_fields_of_remedies(self) -> None:
        """Each remedy names existing fields."""
        named: set[str] = set()
        for contradiction in (*PROXY, *RULES_DECIDE, *OWN_AUTHORIZER, *AUTHZ_SERVICE):
            contradiction.remedy_for(lambda field: named.add(field) or field)  # type: ignore[func-returns-value]
        self.assertTrue(named)
        for field in named:
            self.assertTrue(hasattr(ProxyConfig(), field), field)

    def test_accepted(self) -> None:
        for given in (
            {"shadow_log": "s.jsonl", "shadow_policy": "p.toml", "authz_url": URL},
            {"policy_interval": 5.0, "policy_key": "k", "policy": "https://a.test/p"},
            {"policy_max_age": 5.0, "policy_key": "k", "shadow_policy": "https://a.test/p"},
            {"authz_client_cert": "c", "authz_url": HTTPS},
            {"authz_client_cert": "c", "shadow_authz_url": HTTPS},
            {"authz_response_headers": ["x"], "authz_api": AuthzApi.EXT_AUTHZ, "authz_url": URL},
            {"authz_cache": None, "authz_url": URL},
            {"audit_failure": "deny", "audit_log": "-"},
            {"audit_log": "audit.jsonl", "audit_log_mode": "660", "audit_log_group": 0},
            {"audit_failure": "deny", "audit_store": "sqlite:a.db", "audit_store_days": 7},
            {"admin": "tcp:9099", "admin_token": "hunter2", "approval_queue": 1},
            {"admin": "unix:/a", "admin_token": "hunter2"},
            {"admin": "unix:/a", "admin_viewer_token": "hunter2", "admin_hosts": ["proxy.example"]},
            {"admin": "unix:/a", "policy": "p.toml", "console_policy_edit": True},
            {"ca_cert": "c", "ca_key": "k", "ca_dir": "unused"},
            {"upstream_http": UPSTREAM, "listen": ["tcp:3129", "tcp:3128:interface=192.0.2.1"]},
            {"client_auth": "f", "listen": [Listener("tcp:1", sets_auth=True), Listener("tcp:2")]},
            {"client_auth": "f", "listen": ["tcp:1", Listener("tcp:2", sets_auth=True, transparent=True)]},
            {"http2": False, "listen": ["tcp:1"]},
            {"listen": [Listener("tcp:2", h2c=True)]},
            # The defaults, given explicitly.
            {"authz_api": "postman", "metrics_interface": "127.0.0.1", "approval_timeout": 300},
        ):
            with self.subTest(given):
                ProxyConfig(**given)

    def test_value(self) -> None:
        """The error displays the contradictory value; a missing value is not displayed."""
        error = self.assertRaises(Contradicted, ProxyConfig, audit_failure="deny")
        self.assertEqual(
            str(error), "audit_failure 'deny': has no effect without an audit log: set audit_log or audit_store"
        )
        error = self.assertRaises(Contradicted, ProxyConfig, policy=Path("p.toml"), authz_url=URL)
        self.assertEqual(error.value, "p.toml")
        self.assertEqual(str(self.assertRaises(Contradicted, ProxyConfig, ca_cert="c")).partition(" ")[0], "ca_key:")


class AuthorizerTests(SynchronousTestCase):
    """Contradictions that depend on the kind of authorizer."""

    def test_rules_decide(self) -> None:
        for contradiction in RULES_DECIDE:
            self.assertTrue(contradiction.unused)
        check(ProxyConfig(), RULES_DECIDE)
        check(ProxyConfig(authz_url=URL, authz_queue=1), RULES_DECIDE)
        self.assertRaises(Contradicted, check, ProxyConfig(authz_queue=1), RULES_DECIDE)

    def test_application_authorizer(self) -> None:
        check(ProxyConfig(authz_queue=1), OWN_AUTHORIZER)
        apart: tuple[dict[str, Any], ...] = ({"authz_url": URL}, {"policy": "p.toml"})
        for given in apart:
            error = self.assertRaises(Contradicted, check, ProxyConfig(**given), OWN_AUTHORIZER)
            self.assertEqual([error.option], list(given))


class AuthzServiceTests(SynchronousTestCase):
    """The authorization service."""

    def test_rejected(self) -> None:
        for given in ({"audit_failure": "deny"}, {"metrics_interface": "::"}):
            error = self.assertRaises(Contradicted, AuthzServiceConfig, **given)
            self.assertEqual([error.option], list(given))
        AuthzServiceConfig(audit_failure="deny", audit_log="-", metrics_port=1, metrics_interface="::")  # type: ignore[arg-type]


class ContradictionTests(SynchronousTestCase):
    """One row of the table."""

    def test_spelling(self) -> None:
        row = Contradiction("a", lambda _: True, "give {b_c}, or {d}")
        self.assertEqual(row.remedy_for(lambda field: f"--{field}"), "give --b_c, or --d")

    def test_changed(self) -> None:
        self.assertFalse(changed(ProxyConfig(), "authz_queue"))
        self.assertTrue(changed(ProxyConfig(authz_queue=1, authz_url=URL), "authz_queue"))
