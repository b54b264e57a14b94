"""Chromium in front of the web console, driven by Playwright."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.processes import HERE, environment, node_module, program

PHONE = {"width": 360, "height": 740}
"""The smallest window that pages must fit."""


class BrowserError(AssertionError):
    """A command failed in the browser."""


class ConsoleChromium:
    """One Chromium, for several tests; each opens an empty profile.

    @param origin: the scheme, host and port of the console.
    """

    def __init__(self) -> None:
        self.origin = ""
        command = [
            program("node"),
            str(HERE / "console_driver.js"),
            node_module("playwright-core"),
            node_module("axe-core/axe.min.js"),
            program("chromium"),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def close(self) -> None:
        """End the browser."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _send(self, on: str, call: str, *arguments: Any) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"on": on, "call": call, "arguments": arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise BrowserError("the browser has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise BrowserError(f"{call}{arguments}: {answer['error']}")
        return answer.get("result")

    # -- profiles

    def open(self, origin: str, **options: Any) -> None:
        """Open an empty profile.

        @param origin: the scheme, host and port of the console.
        @param options: options of Playwright's C{browser.newContext()}, as in C{colorScheme="dark"}.
        """
        self.origin = origin
        self._send("driver", "open", options)

    def page(self, call: str, *arguments: Any) -> Any:
        """Call a method of Playwright's page, and return its result; of a response, the status."""
        return self._send("page", call, *arguments)

    def context(self, call: str, *arguments: Any) -> Any:
        """Call a method of Playwright's browser context."""
        return self._send("context", call, *arguments)

    def press(self, key: str) -> None:
        """Press a key."""
        self._send("keyboard", "press", key)

    def problems(self) -> list[str]:
        """Return the errors of scripts and requests since the last call.

        A browser aborts the requests of a page that it leaves, such as the icon on a slow machine.
        """
        found: list[str] = self._send("driver", "problems")
        return [problem for problem in found if "net::ERR_ABORTED" not in problem]

    # -- pages of the console

    def goto(self, path: str) -> int:
        """Open a page; return its status."""
        status: int = self.page("goto", f"{self.origin}{path}")
        return status

    def sign_in(self, token: str) -> None:
        """Sign in with a token, and wait for the page after that."""
        self.goto("/console/sign-in")
        self.page("fill", "#token", token)
        self.page("click", "main button[type=submit]")
        self.page("waitForURL", f"{self.origin}/console/live")

    def text(self, selector: str = "main") -> str:
        """Return the visible text of an element."""
        return " ".join(str(self.page("innerText", selector)).split())

    def wait_for(self, selector: str, **options: Any) -> None:
        """Wait until an element is visible."""
        self.page("waitForSelector", selector, options)

    def until(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true."""
        self._send("driver", "until", expression)

    def audit(self) -> list[str]:
        """Return what axe-core finds in the page, and whether the page scrolls sideways."""
        found: list[str] = self._send("driver", "audit")
        return found

    def screenshot(self, path: Path, **options: Any) -> None:
        """Save an image of the page."""
        self.page("screenshot", {"path": str(path), "animations": "disabled", **options})
