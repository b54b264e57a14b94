"""Tests for L{egress.resources}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.distribution.store import PolicyStore
from egress.config.model import ConfigError, ProxyConfig
from egress.model.authority import Authority
from egress.model.policy_url import PolicyUrl
from egress.policy.bundle import Bundle, encode_bundle
from egress.policy.rules import RuleSet
from egress.resources import (
    NO_POLICIES,
    SHADOW_POLICY,
    check_secrets,
    distributed_policies,
    load_resources,
    read_policy,
)
from egress.runtime.signing_keys import create_key
from tests.files import make_directory
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


class PolicyUrlTests(SynchronousTestCase):
    """The stored version of a policy with a URL, and signatures."""

    URL = PolicyUrl.parse("https://policies.test/policy.toml")

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.store = PolicyStore(self.directory, self.URL)
        self.store.prepare()
        create_key(self.directory / "key")
        self.key = self.directory / "key.pub"

    def config(self, **settings: Any) -> ProxyConfig:
        """Return a configuration with the URL."""
        return ProxyConfig(policy=self.URL, policy_dir=self.directory, **settings)

    def signed(self, version: int, text: str = "version = 1\n") -> bytes:
        """Return a signed bundle."""
        key = load_pem_private_key((self.directory / "key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return encode_bundle(Bundle(version, "policy.toml", {"policy.toml": text}), [key])

    def parse(self, config: ProxyConfig) -> Callable[[bytes], RuleSet]:
        """Return the function that verifies a downloaded policy."""
        return distributed_policies(config, NO_POLICIES)[0].parse

    def test_stored_version(self) -> None:
        self.store.save(b'version = 1\ndefault = "allow"\n')
        rules = load_resources(self.config(shadow_policy=self.URL), embedded=True)
        for each in (rules.rules, rules.shadow):
            assert each is not None
            self.assertTrue(each.is_loaded)
            self.assertEqual((each.name, each.files), (f"policy {self.URL}", (self.store.policy,)))

    def test_nothing_stored(self) -> None:
        rules, _ = read_policy(self.config())
        self.assertFalse(rules.is_loaded)
        self.assertEqual((rules.files, rules.rules), ((self.store.policy,), ()))

    def test_damaged_version(self) -> None:
        """It is not used; the proxy starts, and loads the policy again."""
        self.store.save(b"garbage")
        with capturedLogs() as events:
            self.assertFalse(read_policy(self.config())[0].is_loaded)
        self.assertIn("is not TOML", events[0]["error"])

    def test_signatures(self) -> None:
        config = self.config(policy_key=self.key)
        for content, loaded in ((b"version = 1\n", False), (self.signed(3), True)):
            self.store.save(content)
            with capturedLogs():
                self.assertEqual(read_policy(config)[0].is_loaded, loaded)
        self.assertEqual(self.parse(config)(self.signed(3)).version, 3)
        error = self.assertRaises(ValueError, self.parse(config), b"version = 1\n")
        self.assertIn("is not signed", str(error))

    def test_a_signed_file(self) -> None:
        file = self.directory / "policy"
        config = ProxyConfig(policy=file, policy_key=self.key)
        file.write_bytes(b"version = 1\n")
        error = self.assertRaises(ConfigError, read_policy, config)
        self.assertEqual((error.option, "is not signed" in error.remedy), ("--policy", True))
        file.write_bytes(self.signed(1))
        self.assertEqual(read_policy(config)[0].version, 1)

    def test_invalid_keys(self) -> None:
        other = self.directory / "other.pub"
        other.write_text("x")
        for path, words in ((other, "Ed25519 public keys"), (self.directory / "missing", "cannot be read")):
            error = self.assertRaises(ConfigError, read_policy, self.config(policy_key=path))
            self.assertEqual((error.option, words in error.remedy), ("--policy-key", True))

    def test_secrets(self) -> None:
        """A policy is not stored if the secrets that it names do not exist."""
        text = b'version = 1\n[[rules]]\naction = "allow"\n[rules.set_headers]\nAuthorization = "${secret:a}"\n'
        error = self.assertRaises(ValueError, self.parse(self.config()), text)
        self.assertIn("requires secrets", str(error))

    def test_shadow_policy(self) -> None:
        """The shadow policy has no effect, so it needs no secrets."""
        config = ProxyConfig(shadow_policy=self.URL, policy_dir=self.directory)
        (policy,) = distributed_policies(config, NO_POLICIES)
        self.assertEqual(policy.label, SHADOW_POLICY)
        self.assertIs(policy.parse(b"version = 1\n").is_loaded, True)
