"""Tests for L{egress.client_settings.variables}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.browser import browser_flags
from egress.client_settings.variables import BYPASSES, CLIENT_PROXY, ClientFiles, client_variables, environment

PROXY = "http://127.0.0.1:3128"
FILES = ClientFiles(
    ca=Path("/t/ca.pem"),
    bundle=Path("/t/bundle.pem"),
    truststore=Path("/t/truststore.p12"),
    wgetrc=Path("/t/w"),
    apt=Path("/t/apt.conf"),
    php=Path("/t/php"),
)


class VariablesTests(SynchronousTestCase):
    """The variables for programs behind a proxy."""

    def test_proxy(self) -> None:
        """Programs read the variables in either case."""
        found = client_variables(PROXY, FILES, {})
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "npm_config_https_proxy", CLIENT_PROXY):
            self.assertEqual(found[name], PROXY, name)
        for name in ("NODE_USE_ENV_PROXY", "PERL_LWP_ENV_PROXY"):
            self.assertEqual(found[name], "1")

    def test_files(self) -> None:
        """A variable that replaces the CAs names the bundle; one that adds a CA names the CA."""
        found = client_variables(PROXY, FILES, {})
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "npm_config_cafile"):
            self.assertEqual(found[name], "/t/bundle.pem", name)
        for name in ("NODE_EXTRA_CA_CERTS", "DENO_CERT"):
            self.assertEqual(found[name], "/t/ca.pem", name)
        self.assertEqual((found["WGETRC"], found["APT_CONFIG"]), ("/t/w", "/t/apt.conf"))

    def test_curl(self) -> None:
        """Its directory is set only if the user has a configuration of curl."""
        self.assertNotIn("CURL_HOME", client_variables(PROXY, FILES, {}))
        files = attrs.evolve(FILES, curl=Path("/t/curl"))
        self.assertEqual(client_variables(PROXY, files, {})["CURL_HOME"], "/t/curl")

    def test_php(self) -> None:
        """The directories of the user remain; an empty entry is the default directory."""
        for before, after in (({}, ":/t/php"), ({"PHP_INI_SCAN_DIR": "/own"}, "/own:/t/php")):
            self.assertEqual(client_variables(PROXY, FILES, before)["PHP_INI_SCAN_DIR"], after)

    def test_git(self) -> None:
        """The configuration in the environment overrides files; entries of the user remain."""
        found = client_variables(PROXY, FILES, {})
        self.assertEqual((found["GIT_CONFIG_COUNT"], found["GIT_CONFIG_KEY_0"]), ("1", "http.proxy"))
        before = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_1": "a.b", "GIT_CONFIG_VALUE_1": "c"}
        found = environment(PROXY, FILES, before)
        self.assertEqual((found["GIT_CONFIG_COUNT"], found["GIT_CONFIG_KEY_1"]), ("3", "a.b"))
        self.assertEqual((found["GIT_CONFIG_KEY_2"], found["GIT_CONFIG_VALUE_2"]), ("http.proxy", PROXY))
        self.assertEqual(client_variables(PROXY, FILES, {"GIT_CONFIG_COUNT": "x"})["GIT_CONFIG_COUNT"], "1")

    def test_without_files(self) -> None:
        found = client_variables(PROXY, None, {})
        self.assertNotIn("SSL_CERT_FILE", found)
        self.assertNotIn("APT_CONFIG", found)
        self.assertNotIn("trustStore", found["JAVA_TOOL_OPTIONS"])

    def test_browser(self) -> None:
        """Only a proxy of this process has a key that is known."""
        flags = client_variables(PROXY, FILES, {}, "abc=")["EGRESS_CHROMIUM_FLAGS"].split()
        self.assertEqual(flags, browser_flags(PROXY, "abc="))
        self.assertEqual(environment(PROXY, FILES, {})["EGRESS_CHROMIUM_FLAGS"].split(), browser_flags(PROXY, None))

    def test_java(self) -> None:
        """The options of the user remain, and those of the proxy win because they are last."""
        before = {"JAVA_TOOL_OPTIONS": "-Xmx1g -Dhttp.proxyHost=other.test"}
        words = client_variables(PROXY, FILES, before)["JAVA_TOOL_OPTIONS"].split()
        self.assertEqual(words[:2], ["-Xmx1g", "-Dhttp.proxyHost=other.test"])
        for word in (
            *("-Dhttp.proxyHost=127.0.0.1", "-Dhttp.proxyPort=3128", "-Dhttps.proxyHost=127.0.0.1"),
            *("-Dhttps.proxyPort=3128", "-Dhttp.nonProxyHosts=", "-Djavax.net.ssl.trustStore=/t/truststore.p12"),
        ):
            self.assertIn(word, words[2:])

    def test_build_tools(self) -> None:
        """Maven reads the properties of Java, and Gradle uses no daemon that runs already."""
        found = client_variables(PROXY, FILES, {"MAVEN_OPTS": "-Xmx1g"})
        self.assertTrue(found["MAVEN_OPTS"].startswith("-Xmx1g -Daether.connector.http.useSystemProperties=true"))
        self.assertEqual(found["GRADLE_OPTS"], "-Dorg.gradle.daemon=false")

    def test_java_ports(self) -> None:
        for url, port in (("http://proxy.test", 80), ("https://proxy.test", 443), ("http://[::1]:8080", 8080)):
            self.assertIn(f"-Dhttp.proxyPort={port} ", client_variables(url, None, {})["JAVA_TOOL_OPTIONS"])

    def test_java_paths(self) -> None:
        """The launcher of Java splits the variable at white space."""
        files = attrs.evolve(FILES, truststore=Path("/a b/t"))
        self.assertIn('trustStore="/a b/t" ', client_variables(PROXY, files, {})["JAVA_TOOL_OPTIONS"])

    def test_environment(self) -> None:
        """Other variables remain, except those with hosts that are contacted directly."""
        before = {"PATH": "/bin", "HTTP_PROXY": "http://other.test", **dict.fromkeys(BYPASSES, "*")}
        found = environment(PROXY, FILES, before)
        self.assertEqual((found["PATH"], found["HTTP_PROXY"]), ("/bin", PROXY))
        self.assertEqual(found.keys() & set(BYPASSES), set())
