"""Clients whose configuration files name another proxy and another CA: the variables of C{egress run} override them."""

from __future__ import annotations

import json
import sys
from typing import Final

from tests.integration.base import IntegrationTestCase, run_egress
from tests.integration.processes import program

# Nothing listens on this port.
OTHER: Final = "http://127.0.0.1:9"
MISSING: Final = "/nonexistent/ca.pem"
REASON: Final = "this host is closed"
POLICY: Final = f'version = 1\n[[rules]]\naction = "deny"\nreason = "{REASON}"\nhosts = ["closed.test"]\n'

FILES: Final = {
    ".npmrc": f"proxy={OTHER}\nhttps-proxy={OTHER}\nnoproxy=closed.test\ncafile={MISSING}\n"
    "fetch-retries=0\nupdate-notifier=false\n",
    ".config/pip/pip.conf": f"[global]\nproxy = {OTHER}\ncert = {MISSING}\nretries = 0\n",
    ".gitconfig": f"[http]\n\tproxy = {OTHER}\n\tsslCAInfo = {MISSING}\n",
    ".curlrc": f'proxy = "{OTHER}"\nnoproxy = "closed.test"\ncacert = "{MISSING}"\nfail\n',
    ".wgetrc": f"https_proxy = {OTHER}\nca_certificate = {MISSING}\nno_proxy = closed.test\nuse_proxy = off\n",
}


class ExistingSettingsTests(IntegrationTestCase):
    """Each client sends its request to the proxy, and accepts its certificate."""

    def setUp(self) -> None:
        super().setUp()
        for name, text in FILES.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def urls(self, *command: str, options: tuple[str, ...] = ()) -> set[str]:
        """Run a command behind a proxy that denies its requests, and return their URLs."""
        audit = self.directory / "audit.jsonl"
        audit.unlink(missing_ok=True)
        arguments = ["--policy", str(self.write("policy.toml", POLICY)), "--ca-dir", str(self.directory / "ca")]
        done = run_egress(
            *("run", *arguments, "--audit-log", str(audit), *options, "--", *command),
            directory=self.directory,
            HOME=str(self.directory),
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(REASON, done.stderr, done.stdout)
        records = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
        self.assertEqual({record["outcome"] for record in records}, {"denied"}, records)
        return {record["url"] for record in records}

    def test_npm(self) -> None:
        found = self.urls(program("npm"), "view", "six", "--registry", "https://closed.test/")
        self.assertEqual(found, {"https://closed.test/six"})

    def test_pip(self) -> None:
        command = (sys.executable, "-m", "pip", "download", "--no-deps", "--index-url", "https://closed.test/simple/")
        self.assertIn("https://closed.test/simple/six/", self.urls(*command, "six"))
        # An option for the CA of the proxy works, too.
        own = str(self.directory / "ca" / "ca.pem")
        self.assertIn("https://closed.test/simple/six/", self.urls(*command, "--cert", own, "six"))

    def test_git(self) -> None:
        found = self.urls(program("git"), "ls-remote", "https://closed.test/x")
        self.assertEqual(found, {"https://closed.test/x/info/refs?service=git-upload-pack"})

    def test_wget(self) -> None:
        self.assertEqual(
            self.urls(program("wget"), "-q", "-O", "-", "https://closed.test/x"), {"https://closed.test/x"}
        )

    def test_curl(self) -> None:
        """The other settings remain."""
        self.assertEqual(self.urls(program("curl"), "-sS", "https://closed.test/x"), {"https://closed.test/x"})
