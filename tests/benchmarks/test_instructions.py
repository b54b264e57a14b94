"""Tests for L{benchmarks.instructions} and L{benchmarks.treq_proxy}: the clients differ only in their cost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from subprocess import CompletedProcess
from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import instructions, native, origins
from benchmarks.contestants import TREE
from benchmarks.instructions import FORWARD, Instructions, groups, instructions_in
from benchmarks.keep_alive import Unproven
from benchmarks.treq_proxy import CLIENTS
from egress.authz.remote import client
from egress.authz.remote.agent import KeepAliveAgent
from egress.authz.remote.authorizer import RemoteAuthorizer
from egress.model.errors import AuthorizerUnavailable
from egress.runtime.build import build_name
from egress.transport.reactor import IEgressReactor
from tests.authz.fakes import REQUEST
from tests.authz.remote.test_client import service
from tests.authz.servers import Endpoint, http
from tests.files import make_directory

# A compiled class has no other subclasses.
NAMES = tuple(CLIENTS) if build_name() == "pure" else ("agent",)
ALLOWED = b'{"allowed": true}'


class ClientTests(SynchronousTestCase):
    """Each client sends the same request, and accepts the same responses."""

    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, name: str) -> tuple[RemoteAuthorizer, Endpoint]:
        endpoint = Endpoint()
        agent = CLIENTS[name](self.clock, endpoint)
        return RemoteAuthorizer(cast(IEgressReactor, self.clock), service(token="token"), agent), endpoint

    def test_requests(self) -> None:
        sent: dict[str, list[bytes]] = {}
        for name in NAMES:
            authorizer, endpoint = self.start(name)
            for _ in range(2):
                call = authorizer.decide(REQUEST)
                lines = endpoint.last.take().split(b"\r\n")
                endpoint.last.answer(http(ALLOWED, fields=b"Set-Cookie: a=b; Path=/\r\n"))
                with self.subTest(name):
                    self.assertTrue(self.successResultOf(call).allowed)
                    if name == "reduced-treq":
                        self.assertNotIn(b"Cookie", b"\r\n".join(lines))
                sent.setdefault(name, sorted(lines))
            self.assertEqual(len(endpoint.connections), 1)
        self.assertEqual([sent[name] for name in NAMES], [sent["agent"]] * len(NAMES))

    def test_redirects(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                authorizer, endpoint = self.start(name)
                call = authorizer.decide(REQUEST)
                endpoint.last.answer(http(b"", b"302 Found", b"Location: http://authz.test/other\r\n"))
                self.assertIn("status 302", self.failureResultOf(call, AuthorizerUnavailable).value.reason)


class GroupTests(SynchronousTestCase):
    """The compared proxies."""

    def test_treq(self) -> None:
        """Each proxy uses another client for its authorization requests."""
        [group] = groups(None, True)
        self.assertEqual([program[-1] for *_, program in group], list(CLIENTS))
        self.assertTrue(all(case.policy is None and case.asked for case, *_ in group))

    def test_patched(self) -> None:
        """The module that makes the client of a service has the name that L{benchmarks.treq_proxy} replaces."""
        self.assertIs(vars(client)["KeepAliveAgent"], KeepAliveAgent)

    def test_trees(self) -> None:
        """The other source tree is the reference in each case."""
        found = list(groups(Path("/other"), False))
        self.assertEqual([[tree for _, _, tree, _ in group] for group in found], [[Path("/other"), TREE]] * 3)
        self.assertIs(found[0][0][0], FORWARD)

    def test_store(self) -> None:
        """The second proxy of each case has an audit store, and the CPU time of its thread counts."""
        found = list(groups(None, False, Path("/store")))
        for first, second in found:
            self.assertEqual((first[0].options, second[0].options), ((), ("--audit-store", "sqlite:/store")))
            self.assertEqual(first[0].settle, second[0].settle)
            self.assertGreater(first[0].settle, 0.5)
        self.assertEqual(len(found), 3)


class CommandTests(SynchronousTestCase):
    """The command, and the files of callgrind."""

    def test_instructions(self) -> None:
        self.assertEqual(instructions_in("events: Ir\nfn=(1)\n0 5\ntotals: 123\n"), 123)
        self.assertRaises(Unproven, instructions_in, "events: Ir\n")

    def test_counter(self) -> None:
        """The counter covers the time from start to stop, and reads the newest file of the main thread."""
        directory = make_directory(self)
        for name, total in (("7.2-01", 5), ("7.10-01", 6), ("7.10-02", 8), ("8.11-01", 7)):
            (directory / f"callgrind.{name}").write_text(f"totals: {total}\n", encoding="ascii")
        commands: list[str] = []

        def run(command: list[str], **_: object) -> CompletedProcess[str]:
            commands.append(" ".join(command))
            return CompletedProcess(command, 0, "", "")

        self.patch(subprocess, "run", run)
        counter = Instructions(directory, 7)
        counter.start()
        self.assertEqual(counter.stop(), 6)
        words = ("instrumentation on", "zero", "dump", "instrumentation off")
        self.assertEqual(commands, [f"vgdb --pid=7 {word}" for word in words])

    def test_failure(self) -> None:
        """A process that does not run under valgrind has no figure."""
        self.patch(subprocess, "run", lambda command, **_: CompletedProcess(command, 1, "", "no such process"))
        self.assertRaises(Unproven, Instructions(Path(), 7).start)

    def test_missing(self) -> None:
        """Without the programs nothing is started."""
        self.patch(native, "missing", list)
        self.patch(origins, "missing", list)
        self.patch(shutil, "which", lambda name: None)
        self.assertEqual(instructions.main(["--treq"]), 2)
