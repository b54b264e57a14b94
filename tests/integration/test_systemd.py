"""The systemd units in a real systemd: installed as documented, reloaded, restarted and upgraded under load, stopped.

systemd runs as the first process of a container of C{systemd-nspawn(1)}, with an empty C{/etc} and the programs of this
machine.  The container has no network but its loopback interface.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.base import IntegrationTestCase
from tests.integration.processes import ROOT, Process, environment, program
from tests.integration.wheelhouse import wheelhouse

UNITS = ROOT / "deploy" / "systemd"
PAGE = ROOT / "docs" / "how-to" / "deploy.md"
LOG = "/var/log/egressproxy/audit.jsonl"
POLICY = """
version = 1
[[rules]]
id = "local"
action = "allow"
hosts = ["127.0.0.1"]
"""
# Each request on a new connection, until the input ends.
LOAD = """
import http.client, json, select, sys
statuses, errors = [], []
while not select.select([sys.stdin], [], [], 0.005)[0]:
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    try:
        connection.request("GET", "http://127.0.0.1:8000/")
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        if len(statuses) == 10:
            print("runs", flush=True)
    except Exception as error:
        errors.append(repr(error))
    connection.close()
print(json.dumps([statuses, errors]))
"""
ORIGIN = "python3 -m http.server --bind 127.0.0.1 --directory /usr/share/doc 8000"


def steps(after: str) -> str:
    """Return the commands of the page, with wheels in place of the package index.

    @param after: the text before the commands.
    """
    text = PAGE.read_text("utf-8").partition(after)[2].partition("```sh\n")[2].partition("```")[0]
    text = text.replace("pip install ", "pip --quiet install --no-index --find-links /mnt/wheels ")
    return "set -e\n" + text.replace("deploy/systemd/", "/mnt/units/")


class Machine:
    """A container with systemd as its first process."""

    def __init__(self, directory: Path, binds: dict[Path, str]) -> None:
        if os.geteuid():
            raise SkipTest("systemd-nspawn needs root")
        arguments = [
            *(program("systemd-nspawn"), "--quiet", "--directory=/", "--volatile=yes", "--private-network"),
            *("--register=no", "--keep-unit", "--console=pipe", f"--machine=egress-{os.getpid()}"),
            *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
            *("/lib/systemd/systemd", "systemd.unit=basic.target", "systemd.mask=systemd-networkd-wait-online.service"),
        ]
        env = environment(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1")
        self.process = Process(arguments, directory, "nspawn", env)
        self._first = ""

    def is_up(self) -> bool:
        """Tell whether systemd has started its units."""
        pid = self.process.popen.pid
        if self.process.popen.poll() is not None:
            raise AssertionError(f"systemd does not start: {self.process.output()}")
        # Until the container exists, there may be other children.
        self._first = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        return self._first.isdigit() and self.execute("systemctl", "is-active", "basic.target").stdout == "active\n"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a program in the container."""
        return [program("nsenter"), "--target", self._first, "--all", "--", *arguments]

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container."""
        return subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(),
            check=False,
        )


class UnitTests(IntegrationTestCase):
    """The life of the service."""

    def setUp(self) -> None:
        super().setUp()
        self.machine = Machine(self.directory, {wheelhouse(): "/mnt/wheels", UNITS: "/mnt/units"})
        self.addCleanup(self.machine.process.stop)
        self.wait_until(self.machine.is_up, "systemd")

    def run_in(self, *arguments: str) -> str:
        """Run a program, which must succeed, in the container."""
        done = self.machine.execute(*arguments)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}{self.journal()}")
        return done.stdout

    def journal(self) -> str:
        return self.machine.execute("journalctl", "--no-pager", "--output=cat", "--unit=egressproxy*").stdout

    def write_in(self, path: str, text: str) -> None:
        """Write a file in the container."""
        self.run_in("sh", "-c", 'printf %s "$2" >"$1"', "write", path, text)

    def get(self, path: str = "/", *options: str) -> int:
        """Send a request through the proxy."""
        url = f"http://127.0.0.1:8000{path}"
        arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:8080", *options, url]
        return int(self.run_in("curl", *arguments))

    def load(self) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            self.machine.command("python3", "-c", LOAD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.addCleanup(started.kill)
        assert started.stdout is not None
        self.assertEqual(started.stdout.readline(), "runs\n")
        return started

    def check(self, load: subprocess.Popen[str]) -> None:
        """Check that each request of a load got its response."""
        output, _ = load.communicate("end\n", timeout=60)
        statuses, errors = json.loads(output)
        self.assertEqual((set(statuses), errors), ({200}, []))
        self.assertGreater(len(statuses), 11)

    def property(self, name: str) -> str:
        return self.run_in("systemctl", "show", "--value", f"--property={name}", "egressproxy.service").strip()

    def lines(self) -> list[str]:
        return self.run_in("cat", LOG).splitlines()

    def test_the_life_of_the_service(self) -> None:
        self.run_in("sh", "-c", steps("Install each version in a directory of its own:"))
        self.write_in("/etc/egressproxy/policy.toml", POLICY)
        self.write_in("/etc/egressproxy/environment", "EGRESS_ALLOW_ADDRESS=127.0.0.0/8\n")
        self.run_in("systemd-run", "--unit=origin", *ORIGIN.split())
        # "restart" returns when the proxy listens: no waiting.
        self.run_in("systemctl", "restart", "egressproxy.service")
        self.assertEqual(self.get(), 200)
        for step in (self.restricted, self.reload, self.restart, self.upgrade, self.rotate, self.stop):
            step()
        self.assertNotIn("Traceback", self.journal())

    def restricted(self) -> None:
        """The process has no privileges, and writes only its own directories."""
        status = self.run_in("cat", f"/proc/{self.property('MainPID')}/status")
        self.assertIn("NoNewPrivs:\t1", status)
        self.assertIn("CapBnd:\t0000000000000000", status)
        self.assertNotIn("Uid:\t0", status)
        self.assertIn("process_resident_memory_bytes", self.run_in("curl", "-s", "http://127.0.0.1:9090/metrics"))
        self.assertEqual(self.run_in("find", "/", "-xdev", "-name", "twistd.*", "-not", "-path", "/opt/*"), "")
        shown = self.run_in("systemd-analyze", "security", "--no-pager", "egressproxy.service")
        exposure = re.search(r"Overall exposure level.*: ([0-9.]+)", shown)
        assert exposure is not None
        self.assertLessEqual(float(exposure[1]), 2.0)

    def reload(self) -> None:
        closed = POLICY + 'paths = ["/python3"]\n'
        self.write_in("/etc/egressproxy/policy.toml", closed)
        self.run_in("systemctl", "reload", "egressproxy.service")
        self.wait_until(lambda: self.get() == 403, "the new policy")
        self.write_in("/etc/egressproxy/policy.toml", POLICY)
        self.run_in("systemctl", "reload", "egressproxy.service")
        self.wait_until(lambda: self.get() == 200, "the previous policy")

    def restart(self) -> None:
        """A restart refuses no connection."""
        before = self.property("MainPID")
        load = self.load()
        self.run_in("systemctl", "restart", "egressproxy.service")
        self.assertNotEqual(self.property("MainPID"), before)
        self.assertEqual(self.get(), 200)
        self.check(load)

    def upgrade(self) -> None:
        """A second process accepts connections while the first one drains."""
        load = self.load()
        self.run_in("sh", "-c", steps("The instance of `egressproxy@.service` is the port of its metrics:"))
        self.assertEqual(self.get(), 200)
        arguments = self.run_in("cat", f"/proc/{self.property('MainPID')}/cmdline")
        self.assertTrue(arguments.startswith("/opt/egressproxy/2/bin/python"), arguments)
        self.check(load)

    def rotate(self) -> None:
        before = len(self.lines())
        self.assertGreater(before, 20)
        self.run_in("logrotate", "--force", "--state", "/tmp/state", "/etc/logrotate.d/egressproxy")
        self.wait_until(
            lambda: self.get() == 200 and self.machine.execute("test", "-s", LOG).returncode == 0, "a new file"
        )
        self.assertLess(len(self.lines()), before)
        names = self.run_in("ls", "-l", "/var/log/egressproxy")
        self.assertEqual(names.count("audit.jsonl"), 2, names)
        self.assertEqual(names.count(" egressproxy egressproxy "), 2, names)

    def logs(self) -> bool:
        """Send a request, and tell whether the audit log has records."""
        return self.get() == 200 and self.machine.execute("test", "-s", LOG).returncode == 0

    def stop(self) -> None:
        self.run_in("systemctl", "stop", "egressproxy.service", "egressproxy.socket")
        self.assertEqual(self.property("Result"), "success")
        self.assertNotEqual(self.machine.execute("curl", "-s", "http://127.0.0.1:8080/").returncode, 0)


class FilesTests(SynchronousTestCase):
    """The unit files."""

    def test_instances(self) -> None:
        """The template has the same settings as the service, but for its own resources."""

        def settings(name: str) -> set[str]:
            lines = (UNITS / name).read_text("utf-8").partition("[Install]")[0].splitlines()
            return {line for line in lines if "=" in line and not line.startswith("#")}

        service, template = settings("egressproxy.service"), settings("egressproxy@.service")
        self.assertEqual(
            {line.partition("=")[0] for line in service ^ template},
            {"Description", "Environment", "RuntimeDirectory", "Sockets"},
        )

    def test_verify(self) -> None:
        """systemd knows all settings; the programs are not installed here."""
        names = [UNITS / "egressproxy.service", UNITS / "egressproxy@9091.service", UNITS / "egressproxy.socket"]
        done = subprocess.run(
            [program("systemd-analyze"), "verify", "--man=no", *names],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        found = [line for line in done.stderr.splitlines() if "egressproxy" in line and "is not executable" not in line]
        self.assertEqual(found, [])
