"""Tests for L{egress.resources}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.model.authority import Authority
from egress.resources import check_secrets, load_resources
from tests.grpc.descriptor_sets import descriptor_set


class LoadedResourcesTests(SynchronousTestCase):
    """All files are loaded, or the error names the invalid one."""

    def test_policy(self) -> None:
        files = load_resources(ProxyConfig(), embedded=True)
        assert files.rules is not None
        self.assertEqual(files.rules.name, "policy starter")
        self.assertIs(files.trust, files.authz_trust)

    def test_another_authorizer_decides(self) -> None:
        self.assertIsNone(load_resources(ProxyConfig(policy=Path("missing")), embedded=False).rules)

    def test_shadow(self) -> None:
        """The shadow policy is loaded, whichever authorizer decides."""
        policy = Path(self.mktemp())
        policy.write_text("version = 1")
        for embedded in (True, False):
            shadow = load_resources(ProxyConfig(shadow_policy=policy), embedded=embedded).shadow
            assert shadow is not None
            self.assertEqual(shadow.name, f"policy {policy}")
        self.assertIsNone(load_resources(ProxyConfig(), embedded=True).shadow)

    def test_grpc_descriptors(self) -> None:
        """Policies know the types of gRPC messages, and a policy that needs them is an error without them."""
        policy, types, missing = (Path(self.mktemp()) for _ in range(3))
        policy.write_text(
            'version = 1\n[[rules]]\naction = "allow"\ngrpc = { method = "Get", fields = { name = "a" } }\n'
        )
        types.write_bytes(descriptor_set())
        config = ProxyConfig(policy=policy, shadow_policy=policy, grpc_descriptors=(types,))
        files = load_resources(config, embedded=True)
        for rules in (files.rules, files.shadow):
            assert rules is not None
            self.assertIsNotNone(rules.descriptors)
        for config, option, says in (
            (ProxyConfig(policy=policy), "--policy", "set --grpc-descriptors"),
            (ProxyConfig(shadow_policy=policy), "--shadow-policy", "set --grpc-descriptors"),
            (ProxyConfig(grpc_descriptors=(policy,)), "--grpc-descriptors", "is not a descriptor set"),
            (ProxyConfig(grpc_descriptors=(missing,)), "--grpc-descriptors", "cannot be read: No such file"),
        ):
            error = self.assertRaises(ConfigError, load_resources, config, embedded=True)
            self.assertEqual(error.option, option)
            self.assertIn(says, str(error))

    def test_origin_tls(self) -> None:
        """It applies to connections for clients, not to the authorization service."""
        terms = Path(self.mktemp())
        terms.write_text('[[origin]]\nhosts = ["authz.test"]\nminimum-version = "TLSv1.3"\n')
        files = load_resources(ProxyConfig(origin_tls=terms), embedded=False)
        authority = Authority("authz.test", 443)
        failure = Failure(SSL.Error([("SSL routines", "", "unsupported protocol")]))
        for trust, oldest in ((files.trust, "1.3"), (files.authz_trust, "1.2")):
            reason = trust.connection_creator(authority).explain(failure).reason
            self.assertIn(f"does not support TLS {oldest} or later", reason)

    def test_secrets_of_a_policy(self) -> None:
        """A policy that names a missing secret is an error."""
        policy = Path(self.mktemp())
        policy.write_text(
            'version = 1\n[[rules]]\naction = "allow"\nhosts = ["a.example"]\n'
            'set_headers = { X-Key = "${secret:key}" }\n'
        )
        error = self.assertRaises(ConfigError, load_resources, ProxyConfig(policy=policy), embedded=True)
        self.assertEqual(error.option, "--policy")
        self.assertIn("key", str(error))

    def test_secrets(self) -> None:
        self.assertIsNone(load_resources(ProxyConfig(), embedded=True).secrets)
        path = Path(self.mktemp())
        path.write_text('[a]\nenv = "A"\nhosts = ["a.test"]\n')
        secrets = load_resources(ProxyConfig(secrets=path), embedded=True).secrets
        assert secrets is not None
        check_secrets(["a"], secrets)
        check_secrets([], None)
        for names, table, says in (
            (["b", "a"], secrets, "does not contain b"),
            (["a"], None, "set --secrets to a file with a"),
        ):
            error = self.assertRaises(ConfigError, check_secrets, names, table)
            self.assertEqual(error.option, "--policy")
            self.assertIn(says, str(error))

    def test_refused(self) -> None:
        garbage = Path(self.mktemp())
        garbage.write_text("garbage")
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("--policy", {"policy": garbage}),
            ("--shadow-policy", {"shadow_policy": garbage}),
            ("--ssl-extra-ca-certs", {"extra_ca_certs": garbage}),
            ("--authz-client-cert", {"authz_url": "https://authz.test", "authz_client_cert": garbage}),
            ("--origin-tls", {"origin_tls": garbage}),
            ("--secrets", {"secrets": garbage}),
        )
        for option, options in cases:
            with self.subTest(option):
                config = ProxyConfig(**options)
                self.assertEqual(
                    self.assertRaises(ConfigError, load_resources, config, embedded=config.authz_url is None).option,
                    option,
                )
