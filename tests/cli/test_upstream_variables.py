"""Tests for L{egress.cli.upstream_variables}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.upstream_variables import notes, without_client_proxies
from egress.client_settings.variables import CLIENT_PROXY, client_variables
from egress.config.load import load_config

OWN = "http://127.0.0.1:8080"
CORPORATE = "http://proxy.test:3128"


class RemovedTests(SynchronousTestCase):
    """The variables that name the described proxy itself are removed."""

    def removed(self, *listeners: str, **environ: str) -> list[str]:
        arguments = {"listen": list(listeners)} if listeners else {}
        described, removed = without_client_proxies(arguments, {"PATH": "/bin", **environ})
        self.assertEqual(described, {name: environ.get(name, "/bin") for name in ("PATH", *environ.keys() - removed)})
        return removed

    def test_own_listener(self) -> None:
        self.assertEqual(self.removed(HTTP_PROXY=OWN, https_proxy="localhost:8080"), ["HTTP_PROXY", "https_proxy"])
        self.assertEqual(self.removed("tcp:9090", HTTP_PROXY=OWN, HTTPS_PROXY="127.0.0.1:9090"), ["HTTPS_PROXY"])
        self.assertEqual(self.removed(ALL_PROXY="socks5h://a.test via socks5h://127.0.0.1:8080"), ["ALL_PROXY"])

    def test_marked(self) -> None:
        """The variables of C{egress env} and C{egress run} belong to a client, whatever the port of the proxy."""
        environ = client_variables("http://127.0.0.1:40001", None, {})
        _, removed = without_client_proxies({}, environ)
        self.assertEqual(removed, ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
        # Something else was set later.
        self.assertEqual(without_client_proxies({}, {**environ, "HTTPS_PROXY": CORPORATE})[1][2:3], ["https_proxy"])

    def test_others(self) -> None:
        for environ in ({}, {"HTTPS_PROXY": CORPORATE}, {"HTTP_PROXY": ""}, {"HTTPS_PROXY": "socks4://127.0.0.1:8080"}):
            self.assertEqual(self.removed(**environ), [])
        self.assertEqual(self.removed(HTTPS_PROXY=CORPORATE, **{CLIENT_PROXY: OWN}), [])
        # An option of the proxy itself is no variable of a client.
        self.assertEqual(self.removed(EGRESS_UPSTREAM_PROXY=CORPORATE), [])


class NotesTests(SynchronousTestCase):
    """The notes say which variables are used."""

    def notes(self, *options: str, **environ: str) -> list[str]:
        arguments = {"upstream-proxy": list(options)} if options else {}
        described, removed = without_client_proxies(arguments, environ)
        return notes(arguments, described, load_config(arguments, described), removed)

    def test_notes(self) -> None:
        self.assertEqual(self.notes(), [])
        (line,) = self.notes(HTTPS_PROXY=OWN)
        self.assertIn("HTTPS_PROXY: not used as the upstream proxy", line)
        (line,) = self.notes(HTTP_PROXY=CORPORATE, HTTPS_PROXY=CORPORATE)
        self.assertIn("HTTP_PROXY, HTTPS_PROXY: used as the upstream proxy", line)
        self.assertNotIn("hunter2", str(self.notes(HTTPS_PROXY="http://me:hunter2@proxy.test:3128")))

    def test_options(self) -> None:
        """An option leaves no doubt."""
        self.assertEqual(self.notes("none", HTTP_PROXY=OWN, HTTPS_PROXY=CORPORATE), [])
        self.assertEqual(self.notes(HTTPS_PROXY=CORPORATE, EGRESS_UPSTREAM_PROXY=CORPORATE), [])
