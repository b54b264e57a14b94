"""Tests for L{egress.doctor.remedies}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Fix
from egress.checks.judgements import OTHER_CA, SET_CLOCK
from egress.doctor.remedies import fix_for, set_up
from egress.doctor.runtimes import RUNTIMES
from egress.doctor.symptoms import Cause
from tests.doctor.setups import BUNDLE, CA, NAMED, PROXY, TRUSTED, setup

SET_UP = f'eval "$(egress env --proxy {PROXY})"'
COMMAND = ["/usr/bin/probe", "--of", "a program"]


class RemedyTests(SynchronousTestCase):
    """The line that fixes a fault."""

    def fix(
        self, name: str, cause: Cause, environ: dict[str, str] | None = None, output: str = "", **options: Any
    ) -> Fix:
        bypasses = options.pop("bypasses", [])
        return fix_for(name, cause, setup(environ, **options), output=output, bypasses=bypasses, command=COMMAND)

    def line(self, *arguments: Any, **options: Any) -> str:
        return self.fix(*arguments, **options).line

    def test_every_cause(self) -> None:
        """Each runtime has a fix for each cause, in one line."""
        options: dict[str, Any]
        for runtime in RUNTIMES:
            for cause in Cause:
                for options in ({}, {"own": True}, {"ca": None}, {"bundle": None}, {"environ": {}}):
                    with self.subTest(f"{runtime.name} {cause.name} {options}"):
                        line = self.line(runtime.name, cause, **options)
                        self.assertTrue(line and "\n" not in line)

    def test_set_up(self) -> None:
        self.assertEqual(set_up(setup()).line, SET_UP)
        options = setup(ca_options=("--ca-dir", "/a b"))
        self.assertEqual(set_up(options).line, f"eval \"$(egress env --proxy {PROXY} --ca-dir '/a b')\"")
        self.assertEqual(set_up(setup(own=True)).line, "egress run -- COMMAND")

    def test_clock(self) -> None:
        self.assertEqual(self.fix("curl", Cause.CLOCK), SET_CLOCK)

    def test_credentials(self) -> None:
        self.assertEqual(
            self.line("curl", Cause.CREDENTIALS),
            'eval "$(egress env --proxy http://NAME:PASSWORD@127.0.0.1:8080)"',
        )

    def test_programs_that_send_no_credentials(self) -> None:
        """They need a listener without client authentication."""
        for name in ("java", "chromium"):
            self.assertIn("client-auth=none", self.line(name, Cause.CREDENTIALS))

    def test_another_proxy(self) -> None:
        self.assertEqual(self.line("curl", Cause.REFUSED), SET_UP)

    def test_others(self) -> None:
        for cause in (Cause.TIMEOUT, Cause.OTHER, Cause.NOT_PERMITTED):
            self.assertEqual(self.line("curl", cause), "/usr/bin/probe --of 'a program'")

    # -- programs that do not use the proxy

    def test_bypasses(self) -> None:
        bypasses = ["NO_PROXY", "npm_config_noproxy"]
        self.assertEqual(self.line("curl", Cause.DIRECT, bypasses=bypasses), "unset NO_PROXY")
        self.assertEqual(self.line("npm", Cause.DIRECT, bypasses=bypasses), "unset NO_PROXY npm_config_noproxy")
        self.assertEqual(self.line("java", Cause.DIRECT, bypasses=bypasses), SET_UP)

    def test_no_variables(self) -> None:
        for name in ("curl", "node", "wget", "npm"):
            self.assertEqual(self.line(name, Cause.DIRECT, {}), SET_UP)

    def test_node(self) -> None:
        for old in ("20.1.0", "22.20.9", "23.11.0", "24.4.1"):
            line = self.line("node", Cause.DIRECT, output=f"version v{old}\nENOTFOUND")
            self.assertIn("install Node.js 24.5", line)
        self.assertIn("install Node.js 24.5", self.line("node", Cause.DIRECT))
        for new in ("22.21.0", "24.5.0"):
            line = self.line("node", Cause.DIRECT, output=f"version v{new}\nENOTFOUND")
            self.assertEqual(line, "export NODE_USE_ENV_PROXY=1")
        new = "version v26.0.0"
        self.assertEqual(self.line("node", Cause.DIRECT, output=new), "export NODE_USE_ENV_PROXY=1")
        environ = {**NAMED, "NODE_USE_ENV_PROXY": "1"}
        self.assertEqual(self.line("node", Cause.DIRECT, environ, output=new), SET_UP)

    def test_wget(self) -> None:
        line = self.line("wget", Cause.DIRECT, {"HTTPS_PROXY": PROXY})
        self.assertEqual(line, f"export https_proxy={PROXY} http_proxy={PROXY}")

    def test_npm(self) -> None:
        self.assertEqual(self.line("npm", Cause.DIRECT), f"npm config set https-proxy {PROXY}")

    def test_own_proxy(self) -> None:
        self.assertIn("configuration of curl", self.line("curl", Cause.DIRECT, own=True))
        self.assertIn("configuration of curl", self.line("curl", Cause.TRUST, own=True))

    # -- programs that do not trust the CA

    def test_no_variable_for_a_ca(self) -> None:
        """One line sets all of them."""
        for name in ("curl", "node", "java", "wget"):
            self.assertEqual(self.line(name, Cause.TRUST, NAMED), SET_UP)

    def test_no_bundle(self) -> None:
        self.assertEqual(self.line("curl", Cause.TRUST, bundle=None), SET_UP)

    def test_another_ca(self) -> None:
        self.assertEqual(self.fix("curl", Cause.TRUST, ca=None), OTHER_CA)

    def test_variables(self) -> None:
        for name, variable in (
            ("urllib", "SSL_CERT_FILE"),
            ("go", "SSL_CERT_FILE"),
            ("curl", "SSL_CERT_FILE"),
            ("requests", "REQUESTS_CA_BUNDLE"),
            ("cargo", "CARGO_HTTP_CAINFO"),
        ):
            self.assertEqual(self.line(name, Cause.TRUST), f"export {variable}={BUNDLE}")
        self.assertEqual(self.line("node", Cause.TRUST), f"export NODE_EXTRA_CA_CERTS={CA}")

    def test_configurations(self) -> None:
        """A program can apply these."""
        for name, command in (
            ("git", ("git", "config", "--global", "http.sslCAInfo")),
            ("npm", ("npm", "config", "set", "cafile")),
            ("pip", ("pip", "config", "set", "global.cert")),
        ):
            self.assertEqual(self.fix(name, Cause.TRUST).command, (*command, str(BUNDLE)))
        # The variable has precedence over the configuration.
        environ = {**TRUSTED, "GIT_SSL_CAINFO": "/other.pem"}
        self.assertEqual(self.line("git", Cause.TRUST, environ), f"export GIT_SSL_CAINFO={BUNDLE}")

    def test_wgetrc(self) -> None:
        self.assertEqual(self.line("wget", Cause.TRUST), f"echo 'ca_certificate = {BUNDLE}' >> ~/.wgetrc")
        environ = {**TRUSTED, "WGETRC": "/w"}
        self.assertEqual(self.line("wget", Cause.TRUST, environ), f"echo 'ca_certificate = {BUNDLE}' >> /w")

    def test_chromium(self) -> None:
        self.assertEqual(self.line("chromium", Cause.TRUST), "egress trust install --store nss")
        fix = self.fix("chromium", Cause.TRUST, ca_options=("--ca-dir", "/a b"))
        self.assertEqual(fix.command, ("egress", "trust", "install", "--store", "nss", "--ca-dir", "/a b"))
        fix = self.fix("chromium", Cause.TRUST, ca_options=("--ca-cert", "/c", "--ca-key", "/k", "--ca-root", "/r"))
        self.assertEqual(fix.line, "egress trust install --store nss --ca-root /r")
        fix = self.fix("chromium", Cause.TRUST, ca_options=("--ca-cert", "/c", "--ca-key", "/k"))
        self.assertEqual(fix.line, "egress trust install --store nss --ca-cert /c")

    def test_java(self) -> None:
        environ = {**NAMED, "JAVA_TOOL_OPTIONS": "-Dhttps.proxyHost=a"}
        self.assertEqual(self.line("java", Cause.TRUST, environ), "egress trust install --store java")

    def test_java_with_a_trust_store(self) -> None:
        begin, end = ["keytool", "-importcert", "-noprompt"], ["-alias", "egressproxy", "-file", str(CA)]
        public = ["-storepass", "changeit"]
        store = "-Djavax.net.ssl.trustStore"
        for options, middle in (
            (f"{store}=/one {store}=/two", ["-keystore", "/two", *public]),
            (f'{store}="/a b" {store}Password=changeit', ["-keystore", "/a b", *public]),
            (f"{store}=/one {store}Password=hunter2", ["-keystore", "/one"]),
        ):
            with self.subTest(options):
                fix = self.fix("java", Cause.TRUST, {**NAMED, "JAVA_TOOL_OPTIONS": options})
                self.assertEqual(list(fix.command or ()), [*begin, *middle, *end])
                self.assertNotIn("hunter2", fix.line)
        environ = {**NAMED, "_JAVA_OPTIONS": f"{store}=/last", "JAVA_TOOL_OPTIONS": f"{store}=/first"}
        self.assertIn("/last", self.line("java", Cause.TRUST, environ))
