"""C{egress init}: the files work with the proxy and with C{egress run}."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.base import IntegrationTestCase, proxy_environment, run_egress, twistd
from tests.integration.processes import Process, free_port

OPTIONS = ("--templates", "npm", "--upstream-proxy", "none", "--ca-dir", "ca")
URL = "https://blocked.example.com/a"


class InitTests(IntegrationTestCase):
    """A new project."""

    def setUp(self) -> None:
        super().setUp()
        self.project = self.directory / "project"
        self.project.mkdir()
        done = run_egress("init", "--yes", *OPTIONS, directory=self.project)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_check(self) -> None:
        """The checks of the configuration and of the policy pass."""
        for command in (("check", "--config", "egress.toml"), ("policy", "check", "--quiet", "policy.toml")):
            done = run_egress(*command, directory=self.project)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_run(self) -> None:
        """The next step that the command prints works."""
        url = "http://168.63.129.16/machine/"
        curl = ["curl", "-sS", "-o", "/dev/stderr", "-w", "%{http_code}\n", url, "-o", "/dev/stderr", URL]
        egress = [sys.executable, "-m", "egress", "run", "--config", "egress.toml", "--", *curl]
        done = subprocess.run(
            egress, cwd=self.project, env=proxy_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.stdout, "403\n403\n", done.stderr)
        self.assertIn("168.63.129.16 is a cloud metadata service", done.stderr)
        self.assertEqual(
            sorted(path.name for path in self.project.iterdir()), ["audit.jsonl", "ca", "egress.toml", "policy.toml"]
        )
        self.assertEqual(len((self.project / "audit.jsonl").read_text().splitlines()), 2)

    def test_proxy(self) -> None:
        port = free_port()
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        command = twistd("--config", str(self.project / "egress.toml"), *listen)
        process = Process(command, self.directory, "egressproxy", proxy_environment())
        self.addCleanup(process.stop)
        process.wait_for_port(port)
        ca = str(self.project / "ca" / "ca.pem")
        done = self.run_program("curl", "-sS", "-x", f"http://127.0.0.1:{port}", "--cacert", ca, URL)
        self.assertIn("no rule allows GET https://blocked.example.com", done.stdout)
