"""A Chromium that loads pages through a proxy, and tells what it loaded."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.processes import HERE, environment, node_module, program


class PageLoader:
    """One browser for several pages; each page has an empty profile.

    @param home: the home directory, whose NSS database has the CA to trust.
    @param options: more options of Chromium.
    """

    def __init__(self, home: Path, *options: str) -> None:
        modules = (node_module("playwright-core"), program("chromium"))
        self._process = subprocess.Popen(
            [program("node"), str(HERE / "page_loader.js"), *modules, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(HOME=str(home)),
        )

    def close(self) -> None:
        """End the browser."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def load(self, url: str, proxy: str = "") -> dict[str, Any]:
        """Load a page.

        @param proxy: the URL of the proxy; by default, the options of Chromium select it.
        @return: C{result} of the page's script, C{loaded} responses, C{timing} as the page sees it, and the status
            codes of WebSocket C{handshakes}.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"proxy": proxy, "url": url}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise AssertionError("the browser has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{url}: {answer['error']}")
        return answer


def trust_in(home: Path, ca: Path) -> None:
    """Make Chromium with this home directory trust a CA."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    add = ["-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "egressproxy", "-i", str(ca)]
    subprocess.run([program("certutil"), *add], check=True, capture_output=True, env=environment())
