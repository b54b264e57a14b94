"""Tests for L{egress.doctor.runtime_judgement}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Finding, Status
from egress.doctor.runtime_judgement import Attempt, error_line, judge_attempt
from egress.doctor.runtimes import RUNTIMES
from tests.doctor.setups import TRUSTED, setup

RESPONSES = {
    "go": "# get https://egressproxy.invalid/egressproxy.invalid/probe/@v/list: 200 OK (0.032s)",
    "pip": 'https://egressproxy.invalid:443 "GET /simple/egressproxy-probe/ HTTP/1.1" 200 347',
    "uv": 'error: Unsupported `Content-Type` "application/json" for `https://egressproxy.invalid/simple/`',
    "git": '<= Recv header: Proxy-Status: egressproxy; details="x"',
    "cargo": 'DEBUG network: http-debug: < Proxy-Status: egressproxy; details="x"',
    "chromium": "<pre>egressproxy: Response of the proxy (200)",
}


class JudgementTests(SynchronousTestCase):
    """The judgement about one request."""

    def judge(self, name: str, output: str, status: int | None = 1, environ: dict[str, str] | None = None) -> Finding:
        runtime = next(each for each in RUNTIMES if each.name == name)
        attempt = Attempt(command=["/bin/x", "a"], status=status, output=output, seconds=0.5)
        return judge_attempt(runtime, attempt, setup(environ))

    def test_responses(self) -> None:
        """The response counts, whatever the exit status is: the content is unexpected."""
        for runtime in RUNTIMES:
            with self.subTest(runtime.name):
                output = RESPONSES.get(runtime.name, '{"type": "urn:egressproxy:proxy-addressed"}')
                finding = self.judge(runtime.name, f"first\n{output}\nlast")
                self.assertEqual((finding.status, finding.seconds, finding.fix), (Status.OK, 0.5, None))

    def test_a_response_of_something_else(self) -> None:
        """The exit status alone proves nothing."""
        for runtime in RUNTIMES:
            self.assertEqual(self.judge(runtime.name, "hello", 0).status, Status.FAULT)

    def test_unusable(self) -> None:
        for name, output, text in (
            ("httpx", "not installed: httpx", "not installed"),
            ("node", "ReferenceError: fetch is not defined", "ReferenceError: fetch is not defined"),
            ("java", "x\nerror: module jdk.compiler not found", "error: module jdk.compiler not found"),
        ):
            finding = self.judge(name, output)
            self.assertEqual((finding.status, finding.text), (Status.SKIPPED, text))

    def test_version_managers(self) -> None:
        for name, output in (
            ("cargo", "error: rustup could not choose a version of cargo to run"),
            ("urllib", "pyenv: python3: command not found"),
            ("node", "No version is set for command node"),
        ):
            self.assertEqual(self.judge(name, output, 127).status, Status.SKIPPED)

    def test_causes(self) -> None:
        finding = self.judge("curl", "curl: (6) Could not resolve host: egressproxy.invalid")
        self.assertEqual((finding.status, finding.text), (Status.FAULT, "does not use the proxy"))
        finding = self.judge("curl", "certificate signed by unknown authority")
        self.assertEqual(finding.text, "does not trust the CA of the proxy")

    def test_no_proxy(self) -> None:
        finding = self.judge("curl", "Could not resolve host", environ={**TRUSTED, "NO_PROXY": "*"})
        self.assertEqual(finding.fix and finding.fix.line, "unset NO_PROXY")

    def test_timeout(self) -> None:
        finding = self.judge("curl", "Could not resolve host", None)
        self.assertEqual(finding.text, "received no response in time")
        self.assertEqual(finding.fix and finding.fix.line, "/bin/x a")

    def test_other_failures(self) -> None:
        self.assertEqual(self.judge("curl", "one\nlast\n\n").text, "failed: last")
        self.assertEqual(self.judge("curl", "").text, "failed: no output")

    def test_error_line(self) -> None:
        self.assertEqual(error_line("a\n  b\x1b[0m  \n"), "b [0m")
        self.assertEqual(error_line("via http://ci:hunter2@proxy.test"), "via http://REDACTED@proxy.test")
        self.assertEqual(
            error_line("error: no default\nhelp: x\n\nStack backtrace:\n13: <unknown>"), "error: no default"
        )
        self.assertEqual(error_line("x" * 200), f"{'x' * 157}...")
