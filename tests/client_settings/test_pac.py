"""Tests for L{egress.client_settings.pac}; C{tests.integration.test_client_pages} evaluates the file."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.pac import proxy_pac
from egress.model.authority import Authority
from egress.model.no_proxy import Bypass

PROXY = Authority("proxy.test", 8080)


class PacTests(SynchronousTestCase):
    """The values in the file."""

    def value(self, script: str, name: str) -> Any:
        """Return the value of a variable."""
        found = re.search(rf"^var {name} = (.*);$", script, re.MULTILINE)
        assert found is not None
        return json.loads(found[1])

    def test_proxy(self) -> None:
        for proxy, tls, expected in (
            (PROXY, False, "PROXY proxy.test:8080"),
            (Authority("2001:db8::1", 8443), True, "HTTPS [2001:db8::1]:8443"),
        ):
            script = proxy_pac(proxy, Bypass(), tls=tls)
            self.assertEqual(self.value(script, "proxy"), expected)
            self.assertTrue(script.isascii())
            self.assertNotIn("; DIRECT", script, "without the proxy, requests fail")

    def test_direct(self) -> None:
        script = proxy_pac(PROXY, Bypass.parse("corp.test,*.a.test:8443,10.0.0.0/8,*x.test"), tls=False)
        self.assertEqual(
            self.value(script, "direct"),
            {
                "everything": False,
                "hosts": [
                    {"host": "corp.test", "subdomains": True, "exact": True, "port": 0},
                    {"host": "a.test", "subdomains": True, "exact": True, "port": 8443},
                ],
                "networks": [{"bytes": [10, 0, 0, 0], "bits": 8}],
                "endings": ["x.test"],
            },
        )
        self.assertTrue(self.value(proxy_pac(PROXY, Bypass.parse("*"), tls=False), "direct")["everything"])
