"""An origin that authenticates connections, over real sockets: no client is served as another user."""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SkipTest

from tests.integration.raw_origin import PATIENCE, RawOrigin, RawOriginTestCase, Wire

OK = "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}"
CHALLENGE = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {}\r\nContent-Length: 0\r\n\r\n"
# NTLM, with names in the OEM character set.
FLAGS = 0x202
OFFER = CHALLENGE.format("Negotiate\r\nWWW-Authenticate: NTLM")


def message(number: int, user: str = "") -> str:
    """Make one of the three messages of a login (MS-NLMP section 2.2.1), as far as the origin parses them."""
    data = b"NTLMSSP\0" + struct.pack("<I", number)
    if number == 1:
        data += struct.pack("<I", FLAGS)
    elif number == 2:
        data += struct.pack("<HHII8s8x", 0, 0, 32, FLAGS, b"a nonce.")
    else:
        name = user.encode()
        data = (data + bytes(24) + struct.pack("<HHI", len(name), len(name), 64)).ljust(60, b"\0")
        data += struct.pack("<I", FLAGS) + name
    return base64.b64encode(data).decode()


def user_of(token: bytes) -> str:
    """Return the user of a third message."""
    length, _, at = struct.unpack_from("<HHI", token, 36)
    return token[at : at + length].decode()


def ntlm_origin(origin: RawOrigin, wire: Wire) -> None:
    """Serve a connection as its user: the one that logged in over it with the three messages."""
    user = challenged = None
    while True:
        head, _ = wire.read_message()
        origin.heads.append(head)
        fields = [line.partition(": ") for line in head.split("\r\n")]
        (credentials,) = [value for name, _, value in fields if name.lower() == "authorization"] or [""]
        if credentials:
            token = base64.b64decode(credentials.split(" ")[1])
            if token[8] == 1:
                challenged, user = True, None
                wire.send(CHALLENGE.format(f"NTLM {message(2)}"))
                continue
            if not challenged:
                wire.send(OFFER)
                continue
            user, challenged = user_of(token), None
        if user is None:
            wire.send(OFFER)
        else:
            wire.send(OK.format(len(user), user))


class ConnectionAuthTests(RawOriginTestCase):
    """NTLM through the proxy: a login belongs to one client connection."""

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.start_origin(ntlm_origin)

    def ask(self, client: Wire, credentials: str = "", *, method: str = "GET", path: str | None = None) -> str:
        """Send a request.

        @return: the body of the response, or its status.
        """
        target = f"{self.origin.url}/" if path is None else path
        field = f"Authorization: NTLM {credentials}\r\n" if credentials else ""
        client.send(f"{method} {target} HTTP/1.1\r\nHost: {self.origin.authority}\r\n{field}Content-Length: 0\r\n\r\n")
        head, content = client.read_message()
        return content.decode() or head.split(" ")[1]

    def test_another_client_is_not_logged_in(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        first, second = self.connect(proxy), self.connect(proxy)
        self.assertEqual(self.ask(first), "401")
        self.assertEqual(self.ask(first, message(1)), "401")
        self.assertEqual(self.ask(first, message(3, "alice")), "alice")
        self.assertEqual(self.ask(second), "401", "without credentials")
        self.assertEqual(self.ask(first, method="POST"), "alice", "the login holds for the connection")
        self.assertEqual(len(self.origin.connections), 2)

    def test_concurrent_logins(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        users = ["alice", "bob", "carol"]
        clients = {user: self.connect(proxy) for user in users}
        for client in clients.values():
            self.assertEqual(self.ask(client, message(1)), "401")
        for user in reversed(users):
            self.assertEqual(self.ask(clients[user], message(3, user), method="POST"), user)
        for method in ("GET", "POST", "DELETE"):
            for user, client in clients.items():
                self.assertEqual(self.ask(client, method=method), user)

    def test_in_tunnels(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        first, second = (self.connect(proxy, self.origin.authority) for _ in range(2))
        self.assertEqual(self.ask(first, message(1), path="/"), "401")
        self.assertEqual(self.ask(second, message(1), path="/"), "401")
        self.assertEqual(self.ask(second, message(3, "bob"), path="/"), "bob")
        self.assertEqual(self.ask(first, message(3, "alice"), path="/"), "alice")
        self.assertEqual(self.ask(second, path="/"), "bob")

    def test_login_ends_when_either_side_closes(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        first, second = self.connect(proxy), self.connect(proxy)
        for client, user in ((first, "alice"), (second, "bob")):
            self.ask(client, message(1))
            self.assertEqual(self.ask(client, message(3, user)), user)
        mine, theirs = self.origin.connections
        first.close()
        deadline = time.monotonic() + PATIENCE
        while mine.socket.fileno() >= 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(mine.socket.fileno(), -1, "the origin has seen the end of its connection")
        theirs.socket.shutdown(socket.SHUT_RDWR)
        self.assertEqual(second.read_to_end(), b"", "the client learns that its login is gone")
        self.assertEqual(self.ask(self.connect(proxy)), "401")

    def test_credentials_set_by_a_decision(self) -> None:
        """The proxy's own login applies only to requests for which the decision sets the credentials."""
        policy = f"""
version = 1
[[rules]]
action = "allow"
paths = ["/begin"]
set_headers = {{ Authorization = "NTLM {message(1)}" }}
[[rules]]
action = "allow"
"""
        proxy = self.start_proxy("--policy", str(self.write("set.toml", policy)))
        first, second = self.connect(proxy), self.connect(proxy)
        self.assertEqual(self.ask(first, path=f"{self.origin.url}/begin"), "401")
        self.assertEqual(self.ask(second, path=f"{self.origin.url}/other"), "401")
        self.assertEqual(self.ask(first, path=f"{self.origin.url}/other"), "401")
        self.assertEqual(len(self.origin.connections), 3)

    def test_clients_of_a_unix_socket(self) -> None:
        """They are distinguished by process: two processes share neither a login nor a connection."""
        path = self.directory / "egress.sock"
        proxy = self.start_proxy("--listen", f"unix:{path}", *self.allow_all())
        script = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect(sys.argv[1])\n"
            "s.sendall(sys.argv[2].encode())\n"
            "print(s.recv(65536).decode())\n"
        )
        head = f"GET {self.origin.url}/ HTTP/1.1\r\nHost: {self.origin.authority}\r\n\r\n"
        answers = [self.run_program(sys.executable, "-c", script, str(path), head).stdout for _ in range(2)]
        self.assertEqual([answer[:12] for answer in answers], ["HTTP/1.1 401"] * 2)
        self.assertEqual(len(self.origin.connections), 2)
        self.assertEqual([record["client"] for record in self.records(proxy, 2)], [f"unix-uid-{os.getuid()}:0"] * 2)

    def test_curl(self) -> None:
        """A client that supports NTLM, twice concurrently."""
        if "NTLM" not in self.run_program("curl", "--version").stdout:
            raise SkipTest("curl without NTLM")
        proxy = self.start_proxy(*self.allow_all())
        url = f"{self.origin.url}/"

        def log_in(user: str) -> subprocess.CompletedProcess[str]:
            return self.curl(proxy, "--ntlm", "--user", f"{user}:secret", url, url)

        with ThreadPoolExecutor(2) as executor:
            results = list(executor.map(log_in, ["alice", "bob"] * 3))
        self.assertEqual([one.stdout for one in results], ["alicealice", "bobbob"] * 3, results)
