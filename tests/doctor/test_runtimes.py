"""Tests for L{egress.doctor.runtimes}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.doctor import runtimes as module
from egress.doctor.runtimes import RUNTIMES, Place, Runtime, command_of, variables_of
from egress.http.error_response import encode_error_response
from egress.model.decision import Decision, Verdict
from egress.model.errors import Denied, ProxyAddressed

URL = "https://egressproxy.invalid/"


def place(root: bool = False) -> Place:
    return Place(program="/bin/x", url=URL, files=Path("/programs"), scratch=Path("/scratch"), root=root)


class RuntimeTests(SynchronousTestCase):
    """The commands of the probes, and how they recognize a response."""

    def runtime(self, name: str) -> Runtime:
        return next(each for each in RUNTIMES if each.name == name)

    def test_commands(self) -> None:
        for runtime in RUNTIMES:
            with self.subTest(runtime.name):
                command = command_of(runtime, place())
                self.assertEqual(command[0], "/bin/x")
                mentioned = [*command, *variables_of(runtime, place()).values()]
                self.assertTrue(any("egressproxy.invalid" in text for text in mentioned))
                self.assertFalse(any("{" in text for text in mentioned))

    def test_names(self) -> None:
        names = [runtime.name for runtime in RUNTIMES]
        self.assertEqual(len(names), len(set(names)))

    def test_files_exist(self) -> None:
        """Each program of a probe is in the package."""
        folder = Path(module.__file__).parent / "programs"
        named = {Path(text).name for each in RUNTIMES for text in command_of(each, place()) if "/programs/" in text}
        self.assertEqual(named, {path.name for path in folder.iterdir()})

    def test_chromium(self) -> None:
        """It refuses to run as root with its sandbox."""
        chromium = self.runtime("chromium")
        self.assertNotIn("--no-sandbox", command_of(chromium, place()))
        self.assertIn("--no-sandbox", command_of(chromium, place(root=True)))
        flags = attrs.evolve(place(), browser_flags=("--proxy-server=x",))
        self.assertIn("--proxy-server=x", command_of(chromium, flags))

    def test_variables(self) -> None:
        self.assertEqual(variables_of(self.runtime("curl"), place()), {"LC_ALL": "C", "LANGUAGE": "C"})
        self.assertEqual(variables_of(self.runtime("go"), place())["GOPROXY"], URL)

    def test_the_response_of_the_proxy(self) -> None:
        """Both forms of it are recognized; other responses of the proxy are not."""
        curl = self.runtime("curl")
        for accept in (None, b"text/html"):
            for error, recognized in (
                (ProxyAddressed("x"), True),
                (Denied(Decision(Verdict.DENY, "x", "x")), False),
            ):
                response = encode_error_response(
                    error, "1", accept=accept, head_only=False, keep_alive=True, date=b"now"
                ).partition(b"\r\n\r\n")[2]
                self.assertEqual(curl.response.search(response.decode()) is not None, recognized)
        self.assertIsNotNone(curl.response.search('< Proxy-Status: egressproxy; details="x"'))
        self.assertIsNone(curl.response.search('< Proxy-Status: egressproxy; error=denied; details="x"'))
