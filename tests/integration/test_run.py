"""C{egress run}: programs behind a proxy of their own, without other settings."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.base import DENY_CLOSED, IntegrationTestCase, proxy_environment, run_in_fork, start_of
from tests.integration.processes import ROOT, free_port


class RunTestCase(IntegrationTestCase):
    """Base: commands behind a proxy that allows everything except C{/closed}.

    @cvar forks_commands: whether C{egress run} may be a fork; only where the clients are tested, and not the command.
    """

    forks_commands = False

    def setUp(self) -> None:
        super().setUp()
        self.ca_dir = self.directory / "ca"
        self.policy = self.write("policy.toml", DENY_CLOSED)

    def command(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the command line of a command behind a proxy."""
        own = ("--policy", str(self.policy), "--ca-dir", str(self.ca_dir), "--allow-address", "127.0.0.0/8,::1/128")
        trust = ("--ssl-extra-ca-certs", str(self.origins.ca))
        return [sys.executable, "-m", "egress", "run", *own, *trust, *options, "--", *command]

    def egress_run(
        self, *command: str, options: tuple[str, ...] = (), **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command behind a proxy.  Its environment excludes all hosts from any proxy."""
        line = self.command(*command, options=options)
        env = proxy_environment(NO_PROXY="*", no_proxy="*", **environ)
        if self.forks_commands and start_of(environ) is not None:
            return run_in_fork(line, self.directory, env, seconds=120)
        return subprocess.run(
            line, capture_output=True, text=True, timeout=120, cwd=self.directory, env=env, check=False
        )

    def urls(self) -> tuple[str, str, str, str]:
        """Return two URLs that are allowed, and two that are denied, each with HTTP and HTTPS."""
        origins = self.origins
        allowed = origins.http_url("/files/hello.txt"), origins.https_url("/files/hello.txt")
        return (*allowed, origins.http_url("/closed/a"), origins.https_url("/closed/b"))


class ProcessTests(RunTestCase):
    """The command behaves as without the proxy."""

    def test_exit_statuses(self) -> None:
        for command, status in (
            (("sh", "-c", "exit 7"), 7),
            (("sh", "-c", "kill -9 $$"), 137),
            (("/absent",), 127),
            ((str(self.policy),), 126),
        ):
            with self.subTest(command):
                self.assertEqual(self.egress_run(*command).returncode, status)

    def test_streams(self) -> None:
        """The command has the streams of the caller, and nothing else is written to standard output."""
        done = subprocess.run(
            self.command("sh", "-c", "cat; echo two >&2", options=("--quiet",)),
            input="one\n",
            capture_output=True,
            text=True,
            timeout=60,
            env=proxy_environment(),
            check=False,
        )
        self.assertEqual((done.stdout, done.stderr), ("one\n", "two\n"))

    def test_nothing_remains(self) -> None:
        script = 'echo "$SSL_CERT_FILE" "$HTTP_PROXY"; exec sleep 60 >&- 2>&- &'
        done = self.egress_run("sh", "-c", script)
        bundle, url = done.stdout.split()
        self.assertFalse(Path(bundle).parent.exists())
        curl = subprocess.run(["curl", "-sS", "-x", url, "http://a.test/"], capture_output=True, check=False)
        self.assertEqual(curl.returncode, 7, "nothing listens")

    def test_signals(self) -> None:
        """The command decides what a signal does."""
        ready = self.directory / "ready"
        script = f"trap 'exit 9' TERM; touch {shlex.quote(str(ready))}; while :; do sleep 0.1; done"
        process = subprocess.Popen(
            self.command("sh", "-c", script), stderr=subprocess.PIPE, text=True, env=proxy_environment()
        )
        try:
            self.wait_until(ready.exists)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        self.assertEqual(process.returncode, 9, errors)

    def test_interrupt_from_the_terminal(self) -> None:
        """Ctrl-C reaches the command once, and the summary is still printed."""
        controller, terminal = os.openpty()
        self.addCleanup(os.close, controller)
        script = "import signal, sys, time\ncount = 0\ndef hit(*_):\n global count\n count += 1\n"
        script += "signal.signal(signal.SIGINT, hit)\nprint('ready', flush=True)\ntime.sleep(2)\nprint('hits', count)"
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *self.command(sys.executable, "-c", script)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=proxy_environment(),
        )
        os.close(terminal)
        seen = b""
        deadline = time.monotonic() + 60
        try:
            while b"refused" not in seen and time.monotonic() < deadline:
                before = seen
                seen += os.read(controller, 4096)
                if b"ready" in seen and b"ready" not in before:
                    os.write(controller, b"\x03")
        finally:
            process.kill()
            process.wait()
        self.assertIn(b"hits 1", seen)
        self.assertIn(b"0 requests, 0 allowed, 0 refused", seen)


class FileTests(RunTestCase):
    """The files that C{egress run} writes."""

    def test_learn_and_enforce(self) -> None:
        """A learned policy allows the same requests, and no others; the report has the denial."""
        policy, report = self.directory / "learned.toml", self.directory / "report.json"
        closed = self.write("closed.toml", "version = 1\n")
        self.policy = closed
        allowed, secure, *others = self.urls()
        done = self.egress_run("curl", "-sS", allowed, secure, options=("--learn", str(policy)))
        self.assertEqual(done.stdout, "hello\nhello\n", done.stderr)
        self.assertIn("2 would be denied without observe mode", done.stderr)
        self.policy = policy
        done = self.egress_run("curl", "-sS", allowed, secure, others[1], options=("--report", str(report)))
        self.assertTrue(done.stdout.startswith("hello\nhello\n{"), done)
        document = json.loads(report.read_text())
        self.assertEqual((document["requests"], document["allowed"], document["refused"]), (3, 2, 1))
        self.assertEqual([refusal["url"] for refusal in document["refusals"]], [others[1]])


class RunningProxyTests(RunTestCase):
    """C{egress run --proxy}: a command behind a proxy that runs already."""

    def test_command(self) -> None:
        """The running proxy decides, has the records, and continues to run."""
        proxy = self.start_proxy("--policy", str(self.policy))
        egress = [sys.executable, "-m", "egress", "run", "--proxy", proxy.url, "--ca-dir", str(proxy.ca.parent)]
        for _ in range(2):
            done = self.run_program(*egress, "--", "curl", "-sS", *self.urls(), NO_PROXY="*", PYTHONPATH=str(ROOT))
            self.assertEqual(done.stdout.count("hello"), 2, done)
            self.assertEqual(done.stdout.count("this path is closed"), 4, done)
            self.assertIn(f"egress run curl: the audit log of the proxy {proxy.url} has the requests\n", done.stderr)
        self.records(proxy, 8)

    def test_no_proxy(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        done = self.run_program(sys.executable, "-m", "egress", "run", "--proxy", url, "true", PYTHONPATH=str(ROOT))
        self.assertEqual(done.returncode, 125)
        self.assertIn(f"egress: --proxy '{url}': cannot connect: Connection refused; start the proxy", done.stderr)


class EnvTests(RunTestCase):
    """C{egress env}: a shell behind a running proxy."""

    def test_shell(self) -> None:
        proxy = self.start_proxy("--policy", str(self.policy))
        egress = shlex.join([sys.executable, "-m", "egress", "env", "--ca-dir", str(proxy.ca.parent)])
        script = f'eval "$({egress} --proxy {proxy.url})" && curl -sS {shlex.join(self.urls())}'
        done = self.run_program("sh", "-c", script, NO_PROXY="*", PYTHONPATH=proxy_environment()["PYTHONPATH"])
        self.assertEqual(done.stdout.count("hello"), 2, done)
        self.assertEqual(done.stdout.count("this path is closed"), 4, done)
        self.assertEqual(json.loads(proxy.audit.read_text().splitlines()[0])["verdict"], "allow")
