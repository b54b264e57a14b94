"""The tutorial: every command is run as it is on the page, with local origins in place of public ones."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import attrs

from egress.policy.parse.load import load_policy
from tests.integration.base import TWISTD, IntegrationTestCase, proxy_environment
from tests.integration.processes import ROOT, SEARCH_PATH, Process, free_port, node_module, program

PAGE: Final = ROOT / "docs" / "tutorials" / "tutorial.md"
_BLOCK: Final = re.compile(r"^<!-- (proxy|run)(?:: ([a-z ]+))? -->\n```sh\n(.+?)^```$", re.MULTILINE | re.DOTALL)
PACKAGE: Final = "six"
WHEEL: Final = f"{PACKAGE}-1.17.0-py2.py3-none-any.whl"


@attrs.frozen
class Block:
    """A block of commands on the page.

    @ivar kind: C{"proxy"} for a block that continues to run, C{"run"} for others.
    @ivar name: its purpose, where a test checks its result.
    """

    kind: str
    name: str
    commands: str

    @property
    def terminal(self) -> str:
        """The terminal of the reader in which it runs: the proxy occupies the first one."""
        return "first" if self.kind == "proxy" or self.name == "copy" else "second"


def blocks() -> list[Block]:
    """Return the blocks of the page, in order."""
    return [Block(*found) for found in _BLOCK.findall(PAGE.read_text("utf-8"))]


def write_index(directory: Path) -> None:
    """Make a package index of one small package (PEP 503)."""
    simple = directory / "simple" / PACKAGE
    simple.mkdir(parents=True)
    packages = directory / "packages" / "b7" / "ce" / hashlib.sha256(PACKAGE.encode("ascii")).hexdigest()[:60]
    packages.mkdir(parents=True)
    with zipfile.ZipFile(packages / WHEEL, "w") as wheel:
        info = f"{PACKAGE}-1.17.0.dist-info"
        files = {
            f"{PACKAGE}.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.17.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        }
        lines = []
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).decode("ascii").rstrip("=")
            lines.append(f"{name},sha256={digest},{len(text)}\n")
        wheel.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    link = f"../../{packages.relative_to(directory)}/{WHEEL}"
    (simple / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{link}">{WHEEL}</a></body></html>\n')


class TutorialTests(IntegrationTestCase):
    """A user who pastes the commands gets the documented results."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        self.process: Process | None = None
        self.addCleanup(self.stop)
        # The clone is the working directory of the reader.
        (self.directory / "docs").symlink_to(ROOT / "docs")
        write_index(self.origins.directory / "www" / "files")
        self.addCleanup(shutil.rmtree, self.origins.directory / "www" / "files" / "simple")
        self.addCleanup(shutil.rmtree, self.origins.directory / "www" / "files" / "packages")
        self.shims()

    def shims(self) -> None:
        """Put the programs of the page on the path, each as it is installed here."""
        directory = self.directory / "bin"
        directory.mkdir()
        for name, command in {
            "twistd": f"{sys.executable} -c '{TWISTD}'",
            "egress": f"{sys.executable} -m egress",
            "pip": f"{sys.executable} -m pip",
            "newman": f"{program('node')} {node_module('newman/bin/newman.js')}",
        }.items():
            (directory / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
            (directory / name).chmod(0o755)

    def environment(self) -> dict[str, str]:
        """Return the environment that replaces the one of the reader."""
        return proxy_environment(
            HOME=str(self.directory),
            PATH=f"{self.directory / 'bin'}:{SEARCH_PATH}",
            EGRESS_LISTEN=f"tcp:{self.port}:interface=127.0.0.1",
            EGRESS_ALLOW_ADDRESS="127.0.0.0/8 ::1/128",
            EGRESS_SSL_EXTRA_CA_CERTS=str(self.origins.ca),
            PIP_INDEX_URL=f"https://127.0.0.1:{self.origins.https}/files/simple/",
            PIP_CONFIG_FILE="/dev/null",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )

    def here(self, commands: str) -> str:
        """Return the same commands, with the local origins and port."""
        for public, ours in (("127.0.0.1:8080", f"127.0.0.1:{self.port}"), ("https://postman-echo.com", self.base)):
            commands = commands.replace(public, ours)
        return commands

    @property
    def base(self) -> str:
        """Return the URL of the origin that replaces the API."""
        return self.origins.https_url("")

    def stop(self) -> None:
        """Interrupt the block with Ctrl-C."""
        process, self.process = self.process, None
        if process is not None:
            self.stop_cleanly(process)

    def start(self, block: Block) -> None:
        """Run a block that continues to run."""
        self.stop()
        # Replace the shell, so that the proxy receives the signal.
        commands = re.sub("^twistd", "exec twistd", self.here(block.commands), flags=re.MULTILINE)
        script = f". {self.state(block)}\n{commands}"
        self.process = Process(["sh", "-ec", script], self.directory, "proxy", self.environment())
        self.process.wait_for_port(self.port)

    def state(self, block: Block) -> Path:
        """Return the file with the variables and the working directory of a terminal."""
        path = self.directory / f"{block.terminal}.state"
        path.touch()
        return path

    def run_block(self, block: Block) -> str:
        """Run commands in the shell that the blocks of a terminal share.

        @return: their output.
        """
        state = self.state(block)
        keep = f'export -p > {state}\nprintf "cd \'%s\'\\n" "$PWD" >> {state}'
        script = f". {state}\nset -a\n{self.here(block.commands)}\nset +a\n{keep}"
        done = subprocess.run(
            ["sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.directory,
            env=self.environment(),
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{block.commands}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_every_command(self) -> None:
        """From observe mode to an enforced policy: the job passes, an unknown destination does not."""
        found = blocks()
        self.assertEqual([block.kind for block in found].count("proxy"), 2)
        printed = {}
        for block in found:
            if block.kind == "proxy":
                self.start(block)
            else:
                printed[block.name] = self.run_block(block)
        work = self.directory / "egress-tutorial"
        self.assertTrue((work / "wheels" / WHEEL).exists())
        rules = load_policy(work / "policy.toml").rules
        self.assertLessEqual(len(rules), 12)
        self.assertIn("1 test", printed["check"])
        self.assertIn("Newly allowed: 12 requests", printed["replay"])
        self.assertNotIn("denied:", printed["replay"])
        self.assertIn('"ruleId": "default"', printed["denied"])
        self.assertIn("no rule allows GET https://exfiltration.example.com", printed["denied"])

    def test_the_page_leaves_nothing_out(self) -> None:
        """Every block of shell commands on the page is run."""
        text = PAGE.read_text("utf-8")
        self.assertEqual(len(blocks()), text.count("```sh\n"))
