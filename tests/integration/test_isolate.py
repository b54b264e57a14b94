"""C{egress run --isolate}: programs that reach only the proxy, whatever they do."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.integration import test_run_clients
from tests.integration.base import proxy_environment
from tests.integration.names import NameServer
from tests.integration.peers import GOOD, ORIGIN
from tests.integration.processes import program
from tests.integration.run_steps import CLOSED, CONTENT, FILE, REASON
from tests.integration.test_run import RunTestCase


class IsolatedClientTests(test_run_clients.ClientTests):
    """Each client works in the sandbox without other settings, and shows the reason of a denial."""

    options = ("--isolate",)


# Each attempt sends "escaped" to an address of this machine or of another.
_ESCAPES = """
import socket, sys
tcp, udp, dns = map(int, sys.argv[1:4])

def attempt(family, kind, protocol, address, port):
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(3)
            sock.connect((address, port))
            sock.send(b"escaped\\n")
            return sock.recv(64)
    except OSError as error:
        return error

for address in sys.argv[4:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for name, kind, protocol, port in (
        ("TCP", socket.SOCK_STREAM, 0, tcp),
        ("UDP", socket.SOCK_DGRAM, 0, udp),
        ("DNS", socket.SOCK_DGRAM, 0, dns),
        ("raw", socket.SOCK_RAW, socket.IPPROTO_UDP, udp),
    ):
        print(address, name, attempt(family, kind, protocol, address, port), flush=True)
"""


class Outside:
    """Listeners on all addresses of this machine, which record what reaches them.

    @ivar received: the data that they received; an empty string for a connection.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._udp.bind(("::", 0))
        self.tcp, self.udp = (int(each.getsockname()[1]) for each in (self._tcp, self._udp))
        for serve in (self._serve_tcp, self._serve_udp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            self.received.append(b"")
            connection.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                self.received.append(self._udp.recv(64))
            except OSError:
                return

    def close(self) -> None:
        """Stop listening."""
        self._tcp.close()
        self._udp.close()


def own_addresses() -> list[str]:
    """Return the addresses of this machine."""
    listed = subprocess.run([program("ip"), "-json", "address"], capture_output=True, check=True)
    return [
        address["local"]
        for link in json.loads(listed.stdout)
        for address in link["addr_info"]
        if address["scope"] == "global"
    ]


class EscapeTests(RunTestCase):
    """No connection and no datagram leaves the sandbox, except through the proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.directory.chmod(0o755)
        self.names = NameServer({ORIGIN: [GOOD]})
        self.addCleanup(self.names.close)

    def isolated(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in the sandbox."""
        return self.egress_run(*command, options=("--isolate", "--dns-server", self.names.address, *options))

    def test_programs_that_ignore_the_proxy(self) -> None:
        """Their connections are redirected to the proxy, which knows the name."""
        urls = [
            f"{scheme}://{ORIGIN}:{port}{path}"
            for scheme, port in (("http", self.origins.http), ("https", self.origins.https))
            for path in (FILE, CLOSED)
        ]
        done = self.isolated("curl", "-sS", "--noproxy", "*", *urls)
        self.assertEqual(done.stdout.count(CONTENT), 2, done)
        self.assertEqual(done.stdout.count(f'"reason": "{REASON}"'), 2, done)
        self.assertIn(" 4 requests, 2 allowed, 2 refused\n", done.stderr)
        self.assertTrue(self.names.asked(ORIGIN), "by the proxy, after it allowed the request")
        # The same with all variables removed, in a process that has namespaces of its own.
        script = f"env -i {shlex.join(['curl', '-sS', '--cacert', str(self.ca_dir / 'ca.pem'), urls[2], urls[3]])}"
        done = self.isolated("sh", "-c", script)
        self.assertIn(CONTENT, done.stdout)
        self.assertIn(REASON, done.stdout)

    def test_the_command_changes_the_policy(self) -> None:
        """The policy of the start decides until the end."""
        url = self.origins.http_url(CLOSED)
        script = f"cp {self.policy} copy; echo 'version = 1\n[[rules]]\naction = \"allow\"' >{self.policy}; sleep 3; "
        done = self.isolated("sh", "-c", f"{script} curl -sS {url}; cp copy {self.policy}")
        self.assertIn(REASON, done.stdout)
        self.assertIn(" 1 request, 0 allowed, 1 refused\n", done.stderr)

    def test_denied_names_are_not_queried(self) -> None:
        done = self.isolated("curl", "-sS", "--noproxy", "*", "-m", "5", f"http://secret.test{CLOSED}")
        self.assertIn(REASON, done.stdout)
        done = self.isolated(sys.executable, "-c", "import socket; print(socket.gethostbyname('secret.test'))")
        self.assertTrue(done.stdout.startswith("198.18."), done)
        self.assertFalse(self.names.asked("secret.test"), "the name server of the sandbox queries no network")

    def test_nothing_reaches_the_outside(self) -> None:
        outside = Outside()
        self.addCleanup(outside.close)
        own = own_addresses()
        addresses = ["127.0.0.1", "::1", "203.0.113.1", "2001:db8::1", *own]
        for wrapper in ((), ("unshare", "--user", "--map-root-user", "--net"), ("setsid", "--wait")):
            with self.subTest(wrapper=wrapper):
                command = (*wrapper, sys.executable, "-c", _ESCAPES, str(outside.tcp), str(outside.udp))
                done = self.isolated(*command, str(self.names.port), *addresses)
                self.assertEqual(done.stdout.count("\n"), 4 * len(addresses), done)
                self.assertNotIn("timed out", done.stdout, "programs do not wait for what is rejected")
        self.assertEqual((outside.received, self.names.queries, self.names.over_tcp), ([], [], []))
        # The listeners work.
        for address in ("127.0.0.1", *own):
            socket.create_connection((address, outside.tcp)).close()
        self.wait_until(lambda: len(outside.received) == 1 + len(own), "connections from outside of the sandbox")

    def test_nothing_remains(self) -> None:
        """A process in the background ends with the command, and the files of the sandbox are removed."""
        temporary = self.directory / "temporary"
        temporary.mkdir()
        seconds = f"3{os.getpid()}"
        script = f"setsid nohup sleep {seconds} >/dev/null 2>&1 & (sleep {seconds} &); echo started"
        done = subprocess.run(
            self.command("sh", "-c", script, options=("--isolate",)),
            capture_output=True,
            text=True,
            timeout=60,
            env=proxy_environment(TMPDIR=str(temporary)),
            check=False,
        )
        self.assertEqual((done.stdout, done.returncode), ("started\n", 0), done)
        self.assertEqual(list(temporary.iterdir()), [])
        self.assertNotIn(seconds, " ".join(command_lines()))
        # A namespace without a process lasts only as long as it is mounted.
        self.assertNotIn("nsfs", Path("/proc/self/mountinfo").read_text("utf-8"))

    def test_killed(self) -> None:
        """The processes of the sandbox end with C{egress run}, even if it is killed."""
        seconds = f"4{os.getpid()}"
        with subprocess.Popen(
            self.command("sh", "-c", f"sleep {seconds}", options=("--isolate",)),
            env=proxy_environment(),
            stderr=subprocess.DEVNULL,
        ) as running:
            self.wait_until(lambda: any(line.startswith(f"sleep {seconds}") for line in command_lines()), "sleep")
            running.kill()
        self.wait_until(lambda: seconds not in " ".join(command_lines()), "the end of sleep")

    def test_read_only_file_system(self) -> None:
        work = self.directory / "work"
        work.mkdir()
        script = f"echo x >{work}/in; echo x >{self.directory}/out; echo x >/tmp/private; cat /tmp/private"
        done = self.isolated("sh", "-c", script, options=("--isolate-fs", str(work)))
        self.assertEqual((work / "in").read_text(), "x\n", done)
        self.assertFalse((self.directory / "out").exists(), done)
        self.assertIn("Read-only file system", done.stderr)
        self.assertEqual(done.stdout, "x\n")
        self.assertFalse(Path("/tmp/private").exists())


def command_lines() -> list[str]:
    """Return the command lines of all processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return found
