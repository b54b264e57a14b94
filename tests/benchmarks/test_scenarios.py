"""Tests for L{benchmarks.scenarios} and L{benchmarks.names}: the requests of the load generator, and their origins."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.names import hosts_text, origin_names, unshare_command
from benchmarks.origins import BULK_SIZES_MIB, Counts, OriginsError, counts_in
from benchmarks.scenarios import SCENARIOS

STATUS = "Active connections: 1 \nserver accepts handled requests\n 5 6 77 \nReading: 0 Writing: 1 Waiting: 0 \n"


class ScenarioTests(SynchronousTestCase):
    """The table can be run."""

    def test_names(self) -> None:
        names = [one.name for one in SCENARIOS]
        self.assertEqual(len(set(names)), len(names))

    def test_sizes(self) -> None:
        """The origins have every downloaded file, also in a quick run."""
        for one in SCENARIOS:
            for traffic in (one.traffic, one.quick().traffic, one.traffic.warm_up()):
                if traffic and traffic.direction == "download":
                    self.assertIn(traffic.mib, BULK_SIZES_MIB, one.name)

    def test_hosts(self) -> None:
        """The origins have all names, and a first visit uses a new one."""
        known = len(origin_names()) - 1
        for one in SCENARIOS:
            visited = range(one.traffic.first_host, one.traffic.first_host + one.traffic.hosts)
            self.assertLessEqual(visited.stop, known, one.name)
            before = one.traffic.warm_up()
            if before and before.hosts != one.traffic.hosts:
                self.assertNotIn(before.first_host, visited)

    def test_arguments(self) -> None:
        """Only applicable arguments are passed."""
        (one,) = [one for one in SCENARIOS if one.name == "intercept-bulk-up"]
        said = one.traffic.arguments()
        self.assertEqual(said[-3:], ["--keep-alive", "--upload", "256"])
        self.assertNotIn("--denied-every", said)


class NamesTests(SynchronousTestCase):
    """The file that replaces C{/etc/hosts}."""

    def test_text(self) -> None:
        """Existing lines are preserved, and each name has its own line."""
        lines = hosts_text("127.0.0.1 localhost").splitlines()
        self.assertEqual(lines[:2], ["127.0.0.1 localhost", "127.0.1.1 h000.bench.test"])
        self.assertEqual(lines[-2:], ["127.0.2.150 h399.bench.test", "127.0.2.151 opaque.bench.test"])

    def test_command(self) -> None:
        """A user other than root needs a user namespace, too."""
        for as_root in (True, False):
            command = unshare_command(Path("names"), ["run", "it"], as_root=as_root)
            self.assertEqual("--map-root-user" in command, not as_root)
            self.assertEqual(command[-3:], ["names", "run", "it"])


class StatusTests(SynchronousTestCase):
    """The request counter of the origins."""

    def test_requests(self) -> None:
        self.assertEqual(counts_in(STATUS), Counts(connections=5, requests=77))
        self.assertRaises(OriginsError, counts_in, "<html>")
