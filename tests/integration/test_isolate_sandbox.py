"""The sandbox of C{egress run --isolate}: real namespaces, and programs that look for a way around the proxy."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from egress.launch.isolate.messages import View
from egress.launch.isolate.sandbox import CannotIsolate, Sandbox, SandboxSockets
from egress.launch.runner import executable_of
from tests.integration.processes import ROOT, program

_NOBODY = 65534
# The interpreter of the system: that of the tests can be in a directory that other users cannot read.
_PYTHON = "/usr/bin/python3"
_SO_ORIGINAL_DST = 80


def original_address(accepted: socket.socket) -> tuple[str, int]:
    """Return the address to which a program connected."""
    if accepted.family == socket.AF_INET:
        data = accepted.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        packed = data[4:8]
    else:
        data = accepted.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        packed = data[8:24]
    return socket.inet_ntop(accepted.family, packed), struct.unpack_from("!H", data, 2)[0]


class Recorder:
    """The proxy: responds to connections with their original address, and to queries with the query.

    @ivar connections: the original addresses.
    @ivar queries: the bytes, and the number of the connection or 0 for UDP.
    """

    def __init__(self, sockets: SandboxSockets) -> None:
        self.sockets = sockets
        self.connections: list[tuple[str, int]] = []
        self.queries: list[bytes] = []
        for each in (sockets.proxy, *sockets.transparent):
            threading.Thread(target=self._accept, args=(each,), daemon=True).start()
        for each in sockets.dns_tcp:
            threading.Thread(target=self._accept_queries, args=(each,), daemon=True).start()
        for each in sockets.dns_udp:
            threading.Thread(target=self._receive, args=(each,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                with accepted:
                    host, port = address = original_address(accepted)
                    self.connections.append(address)
                    accepted.recv(4096)
                    accepted.sendall(f"HTTP/1.0 200 OK\r\n\r\n{host} {port}\n".encode())

    def _accept_queries(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                with accepted:
                    query = accepted.recv(4096)
                    self.queries.append(query)
                    accepted.sendall(query)

    def _receive(self, bound: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, client = bound.recvfrom(4096)
                if client is None:  # the socket was shut down
                    return
                self.queries.append(query)
                bound.sendto(query, client)

    def close(self) -> None:
        """Stop accepting.  A call that waits in a thread ends only with a shutdown."""
        for each in (self.sockets.proxy, *self.sockets.transparent, *self.sockets.dns_tcp, *self.sockets.dns_udp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.sockets.close()


def global_reactor() -> Any:
    """Return the reactor, which is installed in the process that runs a test."""
    from twisted.internet import reactor

    return reactor


class AsNobody:
    """The reactor; it starts processes as a user without privileges."""

    def __getattr__(self, name: str) -> Any:
        return getattr(global_reactor(), name)

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, **options: Any) -> Any:
        """See C{IReactorProcess.spawnProcess}."""
        options.update(uid=_NOBODY, gid=_NOBODY)
        return global_reactor().spawnProcess(protocol, _PYTHON, [_PYTHON, *arguments[1:]], **options)


class SandboxTestCase(TestCase):
    """Base: runs commands in a sandbox, whose standard output is a file."""

    timeout = 60

    def setUp(self) -> None:
        if not sys.platform.startswith("linux"):
            self.skipTest("namespaces exist only on Linux")
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o777)
        self.reactor = global_reactor()
        self.view = View()
        self.hidden: list[str] = []

    @inlineCallbacks
    def sandbox(self, *command: str, **environ: str) -> Generator[Deferred[Any], Any, str]:
        """Run a command; return what it writes."""
        script = f'exec >"{self.directory}/out" 2>&1; exec "$@"'
        made = yield Sandbox.start(self.reactor, self.view)
        self.recorder = Recorder(made.sockets)
        self.addCleanup(self.recorder.close)
        shell = ["sh", "-c", script, "sh", *command]
        running = made.run(executable_of(shell, os.environ), shell, {**os.environ, **environ}, hidden=self.hidden)
        self.status = yield running
        return (self.directory / "out").read_text()

    def python(self, code: str) -> Deferred[str]:
        """Run a program in the sandbox; return what it writes."""
        return self.sandbox(_PYTHON, "-c", code)


_SEND = """
import socket
for family, address in {targets!r}:
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        try:
            udp.sendto(b"query", (address, {port}))
            print(address, udp.recvfrom(100)[0].decode())
        except OSError as error:
            print(address, type(error).__name__)
"""

# In the syntax of "nft list ruleset".
_RULES = """
table ip egress {
	chain redirect {
		type nat hook output priority -100; policy accept;
		udp dport 53 redirect to :53
		tcp dport 53 redirect to :53
		ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :61081
	}

	chain reject {
		type filter hook output priority filter; policy drop;
		ip daddr 127.0.0.0/8 accept
		ip daddr 192.0.0.8 accept
	}
}
table ip6 egress {
	chain redirect {
		type nat hook output priority -100; policy accept;
		udp dport 53 redirect to :53
		tcp dport 53 redirect to :53
		ip6 daddr != ::1 meta l4proto tcp redirect to :61081
	}

	chain reject {
		type filter hook output priority filter; policy drop;
		ip6 daddr ::1 accept
		ip6 daddr 100::8 accept
	}
}
"""


class NetworkTests(SandboxTestCase):
    """What the programs of the sandbox reach."""

    @inlineCallbacks
    def test_tcp(self) -> Generator[Deferred[Any], Any, None]:
        """Connections to any address, of programs that do not know the proxy."""
        urls = ("http://198.51.100.7/", "http://[2001:db8::7]:8080/", "http://127.0.0.1:61080/", "http://192.0.0.8:9/")
        written = yield self.sandbox("curl", "-sS", "--noproxy", "*", *urls, NO_PROXY="*")
        expected = "198.51.100.7 80\n2001:db8::7 8080\n127.0.0.1 61080\n192.0.0.8 9\n"
        self.assertEqual((written, self.status), (expected, 0))

    @inlineCallbacks
    def test_dns(self) -> Generator[Deferred[Any], Any, None]:
        """Queries to any name server reach that of the proxy, and the responses appear to be from the other one."""
        targets = [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET, "127.0.0.53"), (socket.AF_INET6, "2001:db8::53")]
        written = yield self.python(
            _SEND.format(targets=[(int(family), address) for family, address in targets], port=53)
        )
        self.assertEqual(written, "8.8.8.8 query\n127.0.0.53 query\n2001:db8::53 query\n")
        connect = "import socket; s = socket.create_connection(('8.8.8.8', 53)); s.sendall(b'tcp'); print(s.recv(9))"
        written = yield self.python(connect)
        self.assertEqual((written, self.recorder.queries), ("b'tcp'\n", [b"tcp"]))

    @inlineCallbacks
    def test_names(self) -> Generator[Deferred[Any], Any, None]:
        """The resolver of the C library asks the name server of the proxy."""
        code = "import socket\ntry: socket.getaddrinfo('name.test', 80)\nexcept OSError: pass"
        yield self.python(code)
        self.assertIn(b"\x04name\x04test\0", b"".join(self.recorder.queries))

    @inlineCallbacks
    def test_udp(self) -> Generator[Deferred[Any], Any, None]:
        """Other datagrams fail without a delay, so that a client of HTTP/3 uses TCP."""
        targets = [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:db8::1")]
        written = yield self.python(
            _SEND.format(targets=[(int(family), address) for family, address in targets], port=443)
        )
        self.assertEqual(written, "8.8.8.8 PermissionError\n2001:db8::1 PermissionError\n")

    @inlineCallbacks
    def test_raw_sockets(self) -> Generator[Deferred[Any], Any, None]:
        """The command has no capability over the network, whoever its user is."""
        families = [("AF_INET", "SOCK_RAW", 1), ("AF_INET6", "SOCK_RAW", 58), ("AF_PACKET", "SOCK_RAW", 3)]
        code = "import socket as s\n" + "".join(
            f"try: s.socket(s.{family}, s.{kind}, {number}); print('open')\nexcept OSError as e: print(e.errno)\n"
            for family, kind, number in families
        )
        written = yield self.python(code)
        self.assertEqual(written, "1\n1\n1\n")

    @inlineCallbacks
    def test_rules(self) -> Generator[Deferred[Any], Any, None]:
        """The command cannot change them; they are those that C{nft} would install."""
        made = yield Sandbox.start(global_reactor())
        self.addCleanup(made.sockets.close)
        running = made.run("/bin/sh", ["sh", "-c", "! nft flush ruleset 2>/dev/null && sleep 60"], dict(os.environ))
        # The helper is outside of the user namespace of the command.
        enter = ["nsenter", f"--target={made.pid}", "--user", "--net", "--preserve-credentials"]
        listed = yield deferToThread(
            subprocess.run, [*enter, "nft", "list", "ruleset"], capture_output=True, text=True, check=False
        )
        running.cancel()
        running.addErrback(lambda failure: None)
        made.close()
        self.assertEqual(f"\n{listed.stdout}", _RULES, listed.stderr)


class ProcessTests(SandboxTestCase):
    """The command behaves as outside of the sandbox, and nothing remains of it."""

    @inlineCallbacks
    def test_exit_statuses(self) -> Generator[Deferred[Any], Any, None]:
        for script, status in (("exit 7", 7), ("kill -9 $$", 137), ("exec /absent", 127), ("exec /etc/passwd", 126)):
            made = yield Sandbox.start(global_reactor())
            made.sockets.close()
            ended = yield made.run("/bin/sh", ["sh", "-c", script], {})
            self.assertEqual(ended, status)

    @inlineCallbacks
    def test_user(self) -> Generator[Deferred[Any], Any, None]:
        """The command has its own user; the first process that it sees started it."""
        written = yield self.sandbox("sh", "-c", "id -u; id -g; echo $PPID; cat /proc/$$/comm")
        self.assertEqual(written, f"{os.getuid()}\n{os.getgid()}\n1\nsh\n")

    @inlineCallbacks
    def test_daemon(self) -> Generator[Deferred[Any], Any, None]:
        """A process in the background ends with the command."""
        marker = f"{self.directory}/marker"
        script = f"setsid sh -c 'while sleep 0.05; do date +%s%N >{marker}; done' & while ! [ -s {marker} ]; do :; done"
        yield self.sandbox("sh", "-c", script)
        self.assertEqual(self.status, 0)
        before = Path(marker).read_text()
        yield deferToThread(subprocess.run, ["sleep", "0.3"], check=True)
        self.assertEqual(Path(marker).read_text(), before)

    @inlineCallbacks
    def test_other_users(self) -> Generator[Deferred[Any], Any, None]:
        """Root has all users of the machine, as C{apt-get} requires."""
        if os.getuid() != 0:
            self.skipTest("only root can be other users")
        other = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
        written = yield self.sandbox(*other, "id", "-u")
        self.assertEqual(written, f"{_NOBODY}\n")

    @inlineCallbacks
    def test_unshare_again(self) -> Generator[Deferred[Any], Any, None]:
        """Namespaces inside of the sandbox have less, not more."""
        reach = "ip link set lo up; curl -sS -m 5 http://198.51.100.7/ 2>/dev/null || echo unreachable"
        written = yield self.sandbox("unshare", "--user", "--map-root-user", "--net", "sh", "-c", reach)
        self.assertEqual((written, self.recorder.connections), ("unreachable\n", []))
        restore = "umount /etc/resolv.conf 2>/dev/null; cat /etc/resolv.conf"
        written = yield self.sandbox("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", restore)
        self.assertIn("\nnameserver 127.0.0.1\n", written)


class UnprivilegedTests(NetworkTests):
    """The same for a user without privileges."""

    def setUp(self) -> None:
        super().setUp()
        if os.getuid() == 0:
            self.reactor = AsNobody()

    @inlineCallbacks
    def test_user(self) -> Generator[Deferred[Any], Any, None]:
        written = yield self.sandbox("sh", "-c", "id -u; id -g")
        own = os.getuid() or _NOBODY
        self.assertEqual(written, f"{own}\n{os.getgid() or _NOBODY}\n")


class EscapeTests(SandboxTestCase):
    """Ways around the proxy that network namespaces leave open."""

    @inlineCallbacks
    def test_socket_families(self) -> Generator[Deferred[Any], Any, None]:
        """Sockets to the host of a virtual machine, and others that do not belong to a network namespace."""
        code = "import socket as s\n" + "".join(
            f"try: s.socket({family}, 1); print('open')\nexcept OSError as e: print(e.errno)\n"
            for family in (40, 42, 31)
        )
        written = yield self.python(code)
        self.assertEqual(written, "97\n97\n97\n")

    @inlineCallbacks
    def test_system_calls(self) -> Generator[Deferred[Any], Any, None]:
        """io_uring, keys, and input for the terminal."""
        code = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        if os.uname().machine == "x86_64":
            code += "for number in (425, 248, 249, 250):\n print(libc.syscall(number, 0, 0), ctypes.get_errno())\n"
        else:
            code += "for number in (425, 217, 218, 219):\n print(libc.syscall(number, 0, 0), ctypes.get_errno())\n"
        code += "print(libc.ioctl(0, 0x5412, b'x'), ctypes.get_errno())\n"
        written = yield self.python(code)
        self.assertEqual(written, "-1 38\n" * 4 + "-1 1\n")

    @inlineCallbacks
    def test_sockets_in_the_file_system(self) -> Generator[Deferred[Any], Any, None]:
        """A service on this machine, whose socket no list names; and one that only a variable names."""
        paths = [self.directory / "one", Path("/var/tmp", self.directory.name)]
        listening = []
        for path in paths:
            listening.append(socket.socket(socket.AF_UNIX))
            self.addCleanup(listening[-1].close)
            listening[-1].bind(str(path))
            self.addCleanup(path.unlink)
            path.chmod(0o777)
            listening[-1].listen()
        os.environ["A_SOCKET"] = f"unix:path={paths[0]}"
        self.addCleanup(os.environ.pop, "A_SOCKET")
        code = "import socket as s\n" + "".join(
            f"try: s.socket(1).connect({str(path)!r}); print('connected')\nexcept OSError as e: print(e.errno)\n"
            for path in paths
        )
        written = yield self.python(code)
        self.assertEqual(written, "111\n111\n")
        # They are as before outside.
        for path in paths:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    @inlineCallbacks
    def test_working_directory(self) -> Generator[Deferred[Any], Any, None]:
        """A relative path does not lead to what an absolute one hides."""
        before = os.getcwd()
        os.chdir("/run")
        self.addCleanup(os.chdir, before)
        written = yield self.sandbox("sh", "-c", "touch relative && ls /run/relative")
        self.assertEqual(written, "/run/relative\n")
        self.assertFalse(Path("/run/relative").exists())

    @inlineCallbacks
    def test_working_directory_in_a_private_one(self) -> Generator[Deferred[Any], Any, None]:
        """The command starts in the directory of the caller, also if the rest of its parent is hidden."""
        parent = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, parent)
        parent.chmod(0o777)
        before = os.getcwd()
        os.chdir(parent)
        self.addCleanup(os.chdir, before)
        written = yield self.sandbox("sh", "-c", "pwd; touch made; ls /dev/shm")
        self.assertEqual(written, f"{parent}\n{parent.name}\n")
        self.assertTrue((parent / "made").exists())

    @inlineCallbacks
    def test_mounts(self) -> Generator[Deferred[Any], Any, None]:
        """A mount namespace in the sandbox does not reveal what a mount hides, and does not make a mount writable."""
        attempts = (
            "umount --lazy /run",
            "umount --lazy /dev",
            "umount --lazy /etc/resolv.conf",
            "mount --bind / /dev/shm/new",
            "mount --bind /dev /dev/shm/new",
            "mount --rbind / /dev/shm/new && umount --lazy /dev/shm/new/run",
            "mount -t overlay overlay -o lowerdir=/run:/etc /dev/shm/new",
            "mount -t overlay overlay -o lowerdir=/:/etc /dev/shm/new",
            "mount -o remount,bind,rw /dev && touch /dev/new",
            "mount -o remount,bind,rw /sys && touch /sys/kernel/new",
            "mknod /dev/shm/disk b 8 0 && dd if=/dev/shm/disk of=/dev/null count=1",
        )
        script = "mkdir /dev/shm/new; mount -t tmpfs new /dev/shm/new && echo mounted\n"
        script += "\n".join(f"({each}) >/dev/null 2>&1 && echo '{each}'" for each in attempts)
        written = yield self.sandbox("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f"{script}\ntrue")
        self.assertEqual(written, "mounted\n")

    @inlineCallbacks
    def test_links(self) -> Generator[Deferred[Any], Any, None]:
        """The command cannot change the network, although it is the user of the process that made it."""
        attempts = ("ip link set lo down", "ip link add new type veth", "ip route flush table all", "nft flush ruleset")
        script = "\n".join(f"{each} >/dev/null 2>&1 && echo '{each}'" for each in attempts)
        written = yield self.sandbox("sh", "-c", f"{script}\ntrue")
        self.assertEqual(written, "")

    @inlineCallbacks
    def test_first_process(self) -> Generator[Deferred[Any], Any, None]:
        """It has capabilities over the network, and the command cannot use them."""
        script = "for f in root/etc fd/0 environ mem ns/net cwd/x; do cat /proc/1/$f 2>&1 | tail -n 1; done"
        written = yield self.sandbox("sh", "-c", f"{script}; kill -KILL 1; nsenter -t 1 -n true; echo $?")
        self.assertEqual(written.count("Permission denied"), 7, written)
        self.assertTrue(written.endswith("\n1\n"), written)

    @inlineCallbacks
    def test_descriptors(self) -> Generator[Deferred[Any], Any, None]:
        """Only the standard streams are open."""
        written = yield self.sandbox("ls", "/proc/self/fd")
        # The last one is the directory.
        self.assertEqual(written, "0\n1\n2\n3\n")

    @inlineCallbacks
    def test_devices(self) -> Generator[Deferred[Any], Any, None]:
        """No disks, and no terminals except those that the command opens."""
        written = yield self.sandbox("sh", "-c", "ls /dev /dev/pts; touch /dev/x 2>&1 | sed 's/.*: //'")
        names = [
            "fd",
            "full",
            "mqueue",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
            "stdin",
            "stdout",
            "tty",
            "urandom",
            "zero",
        ]
        listed = "\n".join([*("/dev:", *names), "", "/dev/pts:", "ptmx", "Read-only file system", ""])
        self.assertEqual(written.replace("console\n", ""), listed)
        opened = yield self.python("import os, pty; print(os.ttyname(pty.openpty()[1]))")
        self.assertEqual(opened, "/dev/pts/0\n")

    @inlineCallbacks
    def test_kernel_controls(self) -> Generator[Deferred[Any], Any, None]:
        """The kernel runs a program that a file names, outside of all namespaces."""
        path = "/proc/sys/kernel/core_pattern"
        before = Path(path).read_text()
        written = yield self.sandbox("sh", "-c", f"echo '|/bin/true' >{path}; touch /sys/x")
        self.assertEqual(len(written.splitlines()), 2, written)
        self.assertEqual(Path(path).read_text(), before)


class UnprivilegedEscapeTests(EscapeTests):
    """The same for a user without privileges."""

    def setUp(self) -> None:
        super().setUp()
        if os.getuid() == 0:
            self.reactor = AsNobody()


class ChromiumTests(SandboxTestCase):
    """A program that makes a sandbox itself."""

    @inlineCallbacks
    def test_chromium(self) -> Generator[Deferred[Any], Any, None]:
        """It works as a normal user, without C{--no-sandbox}."""
        chromium = program("chromium")
        if os.getuid() == 0:
            self.reactor = AsNobody()
        page = self.directory / "page.html"
        page.write_text("<p>content</p>")
        options = ("--headless", "--disable-gpu", f"--user-data-dir={self.directory}/profile", "--dump-dom")
        # The user cannot write everywhere where this process can.
        own = str(self.directory)
        written = yield self.sandbox(chromium, *options, page.as_uri(), HOME=own, TMPDIR=own)
        self.assertIn("<p>content</p>", written)


class FileSystemTests(SandboxTestCase):
    """A file system that is read-only, except for some directories."""

    @inlineCallbacks
    def test_read_only(self) -> Generator[Deferred[Any], Any, None]:
        writable, visible = self.directory / "writable", self.directory / "visible"
        for path in (writable, visible):
            path.mkdir(mode=0o777)
            path.chmod(0o777)
        (visible / "file").write_text("content\n")
        script = f"""
        cat {visible}/file
        for path in {writable} {visible} /etc /usr /var /root /tmp /var/tmp /run /run/lock /dev/shm "$HOME" /; do
            touch $path/isolated 2>/dev/null && echo $path
        done
        cp /dev/zero /dev/full 2>/dev/null || echo device
        """
        self.view = View([str(writable), str(self.directory)], [str(visible)])
        written = yield self.sandbox("sh", "-c", script, HOME="/usr")
        expected = ["content", str(writable), str(visible), "/tmp", "/var/tmp", "/run", "/dev/shm", "device"]
        self.assertEqual(written.split("\n")[:-1], expected)
        self.assertTrue((writable / "isolated").exists())
        self.assertEqual([p for p in ("/tmp/isolated", "/var/tmp/isolated", "/run/isolated") if Path(p).exists()], [])

    @inlineCallbacks
    def test_visible(self) -> Generator[Deferred[Any], Any, None]:
        """Temporary files of others do not exist, except the visible ones, which are read-only."""
        writable = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, writable)
        self.view = View([str(writable)], [str(self.directory / "a")])
        (self.directory / "a").mkdir()
        (self.directory / "b").mkdir()
        (self.directory / "a" / "c").write_text("content\n")
        script = f"ls {self.directory}; cat {self.directory}/a/c; touch {self.directory}/a/d || touch {writable}/e"
        made = yield Sandbox.start(self.reactor, self.view)
        made.sockets.close()
        script = f"exec >{writable}/out; {script} 2>/dev/null"
        yield made.run("/bin/sh", ["sh", "-c", script], dict(os.environ))
        self.assertEqual((writable / "out").read_text(), "a\ncontent\n")
        self.assertTrue((writable / "e").exists())

    @inlineCallbacks
    def test_hidden(self) -> Generator[Deferred[Any], Any, None]:
        """Files of the proxy that are not for the command, also below a writable directory."""
        secrets, state = self.directory / "secrets", self.directory / "state"
        secrets.write_text("secret\n")
        state.mkdir()
        (state / "key").write_text("key\n")
        for writable in (None, [str(self.directory)]):
            self.view = View(writable)
            self.hidden = [str(secrets), str(state), "/absent"]
            written = yield self.sandbox("sh", "-c", f"cat {secrets}; ls -A {state}; echo end")
            self.assertEqual(written, "end\n")


class FailureTests(SandboxTestCase):
    """What the kernel forbids is reported with its fix."""

    @inlineCallbacks
    def start(self, *wrapper: str) -> Generator[Deferred[Any], Any, str]:
        """Start a sandbox inside of another program, and return the error."""

        class Wrapped(AsNobody):
            def spawnProcess(self, protocol: Any, executable: str, arguments: Any, **options: Any) -> Any:
                started = global_reactor()
                program = [*wrapper, *arguments]
                return started.spawnProcess(protocol, executable_of(program, os.environ), program, **options)

        try:
            made = yield Sandbox.start(Wrapped())
        except CannotIsolate as error:
            return str(error)
        made.sockets.close()
        made.close()
        return "started"

    @inlineCallbacks
    def test_no_namespaces(self) -> Generator[Deferred[Any], Any, None]:
        """user.max_user_namespaces of a namespace limits those inside of it, and of the first one only root's."""
        script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
        error = yield self.start("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
        self.assertIn("the kernel allows no more namespaces", error)

    @inlineCallbacks
    def test_one_namespace(self) -> Generator[Deferred[Any], Any, None]:
        """The command needs a second one, inside of the first one."""
        script = 'echo 1 >/proc/sys/user/max_user_namespaces && exec "$@"'
        error = yield self.start("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
        self.assertIn("the kernel allows no more namespaces", error)

    def forbidden(self, call: int, error: int, *, argument: int = 0, value: int | None = None) -> Deferred[str]:
        """Start a sandbox where a filter of system calls, as containers have one, makes a call fail."""
        if os.uname().machine != "x86_64":
            self.skipTest("the numbers of system calls are for x86-64")
        program = [(0x20, 0, 0, 0), (0x15, 0, 3 if value is not None else 1, call)]
        if value is not None:
            program += [(0x20, 0, 0, 16 + 8 * argument), (0x15, 0, 1, value)]
        program += [(0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
        code = b"".join(struct.pack("=HBBI", *each) for each in program)
        return self.start(_PYTHON, "-c", _FILTER.format(code=code, root=str(ROOT)))

    @inlineCallbacks
    def test_container(self) -> Generator[Deferred[Any], Any, None]:
        """Docker forbids unshare(2)."""
        error = yield self.forbidden(272, errno.EPERM)
        self.assertRegex(error, "filter of system calls|chroot")

    @inlineCallbacks
    def test_no_mounts(self) -> Generator[Deferred[Any], Any, None]:
        """The AppArmor profile of Docker forbids mount(2)."""
        error = yield self.forbidden(165, errno.EACCES)
        self.assertIn("--security-opt apparmor=unconfined", error)

    @inlineCallbacks
    def test_no_packet_filter(self) -> Generator[Deferred[Any], Any, None]:
        """A kernel without nf_tables has no such netlink protocol."""
        error = yield self.forbidden(41, errno.EPROTONOSUPPORT, argument=2, value=12)
        self.assertIn("modprobe -a nf_tables", error)

    @inlineCallbacks
    def test_no_user_namespaces(self) -> Generator[Deferred[Any], Any, None]:
        error = yield self.forbidden(272, errno.EINVAL)
        self.assertIn("CONFIG_USER_NS", error)

    @inlineCallbacks
    def test_no_ipv6(self) -> Generator[Deferred[Any], Any, None]:
        """The sandbox has only IPv4."""
        started = yield self.forbidden(41, errno.EAFNOSUPPORT, argument=0, value=socket.AF_INET6)
        self.assertEqual(started, "started")

    @inlineCallbacks
    def test_hidden_working_directory(self) -> Generator[Deferred[Any], Any, None]:
        """A directory that has a socket of another program is not shown."""
        directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.addCleanup(directory.rmdir)
        with socket.socket(socket.AF_UNIX) as service:
            service.bind(str(directory / "socket"))
            self.addCleanup((directory / "socket").unlink)
            before = os.getcwd()
            os.chdir(directory)
            self.addCleanup(os.chdir, before)
            error = yield self.start("env")
        self.assertIn("hides the working directory: use another one", error)

    @inlineCallbacks
    def test_sandbox_in_a_sandbox(self) -> Generator[Deferred[Any], Any, None]:
        """It works where namespaces inside of namespaces work."""
        started = yield self.start("unshare", "--user", "--map-root-user")
        self.assertEqual(started, "started")


class OutsideTests(SandboxTestCase):
    """A sandbox as the processes outside see it: signals and terminals reach it, and nothing remains of it."""

    @inlineCallbacks
    def test_killed(self) -> Generator[Deferred[Any], Any, None]:
        """Every process ends with the helper, also if it is killed, and also if it is in the background."""
        made = yield Sandbox.start(self.reactor)
        self.addCleanup(made.sockets.close)
        ready = self.directory / "ready"
        argument = f"300.{os.getpid()}"
        script = f"setsid sleep {argument} & setsid -f sleep {argument}; touch {ready}; wait"
        running = made.run("/bin/sh", ["sh", "-c", script], dict(os.environ))
        while not ready.exists():
            yield deferToThread(time.sleep, 0.02)
        self.assertEqual(len(processes(argument)), 3)
        os.kill(made.pid, signal.SIGKILL)
        status = yield running
        self.assertEqual(status, 137)
        deadline = time.monotonic() + 10
        while processes(argument) and time.monotonic() < deadline:
            yield deferToThread(time.sleep, 0.02)
        self.assertEqual(processes(argument), [])

    def start(self, *command: str, wrapper: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """Start a process that runs a command in a sandbox."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        arguments = [*wrapper, sys.executable, "-c", _START.format(command=list(command))]
        return subprocess.Popen(arguments, env=environ, text=True, **options)

    def test_signals(self) -> None:
        """The command decides what a signal does."""
        for name, number in (("TERM", signal.SIGTERM), ("INT", signal.SIGINT), ("HUP", signal.SIGHUP)):
            ready = self.directory / f"ready-{name}"
            script = f"trap 'echo {name}; exit 9' {name}; touch {ready}; while :; do sleep 0.05; done"
            # A session of its own has no terminal.
            with self.start("sh", "-c", script, stdout=subprocess.PIPE, start_new_session=True) as process:
                while not ready.exists() and process.poll() is None:
                    time.sleep(0.02)
                process.send_signal(number)
                written, _ = process.communicate(timeout=30)
            self.assertEqual((process.returncode, written), (9, f"{name}\n"))

    def terminal(self, *command: str, typed: Mapping[bytes, bytes], **environ: str) -> str:
        """Run a command on a terminal, and return what it writes.

        @param typed: what to type after which output.
        """
        controller, terminal = os.openpty()
        self.addCleanup(os.close, controller)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
        command = ("env", *(f"{name}={value}" for name, value in environ.items()), *command)
        with self.start(*command, wrapper=("setsid", "--ctty", "--wait"), **streams) as process:
            self.addCleanup(process.kill)
            os.close(terminal)
            seen = b""
            waiting = dict(typed)
            with contextlib.suppress(OSError):  # the last process has closed the terminal
                while select.select([controller], [], [], 20)[0]:
                    seen += os.read(controller, 4096)
                    for text in [text for text in waiting if text in seen]:
                        os.write(controller, waiting.pop(text))
            process.kill()
        return seen.decode().replace("\r", "")

    def test_interrupt_from_the_terminal(self) -> None:
        """Ctrl-C reaches the command once."""
        script = "import signal, time\ncount = 0\ndef hit(*_):\n global count\n count += 1\n"
        script += "signal.signal(signal.SIGINT, hit)\nprint('ready', flush=True)\ntime.sleep(1)\nprint('hits', count)"
        seen = self.terminal(_PYTHON, "-c", script, typed={b"ready": b"\x03"})
        self.assertIn("hits 1\n", seen)

    def test_terminal(self) -> None:
        """The command has the terminal, and a name for it."""
        seen = self.terminal(
            "sh", "-c", "tty; echo ready; read line </dev/tty; echo $line.", typed={b"ready": b"word\n"}
        )
        self.assertEqual(seen.replace("word\n", "", 1), "/dev/console\nready\nword.\n")

    def test_job_control(self) -> None:
        """A shell in the sandbox stops and continues programs."""
        typed = {
            b"# ": b"sh -c 'echo r''eady; exec sleep 100'\n",
            b"ready": b"\x1a",
            b"Stopped": b"kill -KILL %1; echo sta''tus $?; exit\nexit\n",
        }
        seen = self.terminal("sh", "-i", typed=typed, PS1="# ")
        self.assertIn("status 0\n", seen)

    @inlineCallbacks
    def test_proxy_killed(self) -> Generator[Deferred[Any], Any, None]:
        """The sandbox ends with the process of the proxy."""
        argument = f"301.{os.getpid()}"
        with self.start("sh", "-c", f"sleep {argument} & sleep {argument}") as process:
            while len(processes(argument)) < 2 and process.poll() is None:
                yield deferToThread(time.sleep, 0.02)
            process.kill()
        deadline = time.monotonic() + 10
        while processes(argument) and time.monotonic() < deadline:
            yield deferToThread(time.sleep, 0.02)
        self.assertEqual(processes(argument), [])


# Installs a filter of system calls, and executes a program.
_FILTER = """
import ctypes, os, sys
sys.path.insert(0, {root!r})
from egress.launch.isolate.syscalls import filter_system_calls, forbid_new_privileges
forbid_new_privileges()
filter_system_calls({code!r})
os.execv(sys.argv[1], sys.argv[1:])
"""

_START = """
import os, sys
from twisted.internet import task
from twisted.internet.defer import inlineCallbacks
from egress.launch.isolate.sandbox import Sandbox
from egress.launch.runner import executable_of
@inlineCallbacks
def main(reactor):
    made = yield Sandbox.start(reactor)
    sys.exit((yield made.run(executable_of({command!r}, os.environ), {command!r}, {{"PATH": "/bin:/usr/bin"}})))
task.react(main)
"""


def processes(argument: str) -> list[str]:
    """Return the processes that have an argument on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument in path.read_text():
                found.append(path.parent.name)
    return found
