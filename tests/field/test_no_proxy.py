"""C{NO_PROXY} as environments contain it.

Reports of this class: nahi/httpclient#301 (C{192.168.*}), curl/curl#9773 (CIDR), bjowes/cypress-ntlm-auth#268 (an entry
that keeps a program from starting).
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.model.authority import Authority

PROXY = {"HTTPS_PROXY": "http://proxy.example:3128"}


def load(no_proxy: str, arguments: dict[str, list[str]] | None = None) -> ProxyConfig:
    return load_config(arguments or {}, {**PROXY, "NO_PROXY": no_proxy}, MemoryReactorClock(), Path.cwd())


class NoProxyTests(SynchronousTestCase):
    """Forms of several programs, in one variable."""

    def test_forms(self) -> None:
        bypass = load("192.168.*,169.254/16,*example.com,foo-.example.com, .internal  fd00::/8,localhost:8080").bypass
        for text, direct in (
            ("192.168.1.1:80", True),
            ("192.169.1.1:80", False),
            ("169.254.169.254:80", True),
            ("api.example.com:443", True),
            ("example.com:443", True),
            ("notexample.com:443", True),
            ("example.org:443", False),
            ("a.internal:443", True),
            ("[fd00::1]:443", True),
            ("localhost:8080", True),
            ("localhost:80", False),
        ):
            with self.subTest(text):
                self.assertIs(bypass.matches(Authority.parse(text)), direct)
        self.assertTrue(load("foo-.example.com").bypass.matches(Authority.parse("foo-.example.com:443")))

    def test_unknown_forms_are_skipped_with_a_warning(self) -> None:
        with capturedLogs() as logged:
            bypass = load("<local>,a.test,10.0.0.0/33,http://b.test").bypass
        self.assertTrue(bypass.matches(Authority.parse("a.test:443")))
        self.assertEqual(len(logged), 3)
        self.assertFalse(bypass.matches(Authority.parse("b.test:443")))

    def test_in_an_option_they_are_an_error(self) -> None:
        for entry in ("<local>", "10.0.0.0/33", "http://b.test"):
            with self.subTest(entry):
                self.assertRaises(ConfigError, load, "", {"no-proxy": [entry]})
