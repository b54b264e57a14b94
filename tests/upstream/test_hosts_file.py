"""Tests for L{egress.upstream.hosts_file}."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import parse_ip
from egress.upstream.hosts_file import HostsFile

TEXT = """
# the names of this machine
127.0.0.1   localhost box
192.0.2.1   Db.Internal. db   # a comment
2001:db8::1 db
192.0.2.1   db
fe80::1%eth0 link
nonsense    bad
192.0.2.9
"""


class HostsFileTests(SynchronousTestCase):
    """Names and their addresses."""

    def addresses(self, host: str) -> list[str] | None:
        found = HostsFile.parse(TEXT).addresses(host)
        return None if found is None else list(map(str, found))

    def test_names(self) -> None:
        for host, expected in (
            ("db", ["192.0.2.1", "2001:db8::1"]),
            ("db.internal", ["192.0.2.1"]),
            ("box", ["127.0.0.1"]),
            ("link", ["fe80::1"]),
            ("bad", None),
            ("comment", None),
            ("unknown.example", None),
        ):
            with self.subTest(host):
                self.assertEqual(self.addresses(host), expected)

    def test_localhost(self) -> None:
        """It resolves to this machine, regardless of the file."""
        for hosts in (HostsFile.parse(TEXT), HostsFile({}), HostsFile.parse("192.0.2.1 localhost a.localhost")):
            for host in ("localhost", "a.localhost"):
                self.assertEqual(hosts.addresses(host), (parse_ip("127.0.0.1"), parse_ip("::1")))

    def test_files(self) -> None:
        path = Path(self.mktemp())
        with capturedLogs() as events:
            self.assertIsNone(HostsFile.load(path).addresses("db"))
        self.assertEqual(events, [], "there need not be one")
        path.write_bytes(b"192.0.2.7 db\n192.0.2.8 \xff\n")
        self.assertEqual(HostsFile.load(path).addresses("db"), (parse_ip("192.0.2.7"),))
        with capturedLogs() as events:
            self.assertIsNone(HostsFile.load(path / "below").addresses("db"))
        self.assertEqual(len(events), 1)
