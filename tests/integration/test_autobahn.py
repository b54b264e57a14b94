"""The cases of the Autobahn Testsuite through a proxy, without and with message decisions.

kosoku runs the cases, as a client of an echo server and as a server for an echo client.  C{EGRESS_AUTOBAHN=all} selects
all cases, which takes more than an hour.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import urllib.request
from typing import Any, Final

import attrs
from twisted.trial.unittest import SkipTest

from tests.integration.base import Proxy
from tests.integration.processes import free_port
from tests.integration.raw_origin import RawOriginTestCase
from tests.integration.websocket_bridge import Background, Bridge
from tests.integration.websocket_echo import echo_to, serve_echo

EVERYTHING: Final = os.environ.get("EGRESS_AUTOBAHN") == "all"
CASES: Final = [
    *("*",) * EVERYTHING,
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.1.*", "6.2.*", "6.3.*", "6.4.*", "6.6.*", "6.21.*", "7.*"),
    *("9.1.2", "9.2.2", "9.3.2", "9.5.6", "10.*"),
]
# They send 1000 messages each: with context takeover, and without it and with a small window.
TAKEOVER: Final = "12.1.1"
NO_TAKEOVER: Final = "13.5.1"
# A valid message before the fault.  The proxy closes the WebSocket before the response of the other end, or after it.
EARLY: Final = frozenset({"3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"})
# The long messages of all cases would compete for the memory of the proxy.
CONCURRENCY: Final = 1 if EVERYTHING else 4
POLICY: Final = """
version = 1
[[rules]]
action = "allow"
[rules.messages]
default = "allow"
max_size = "16MiB"
"""
RESULTS: Final = """
import asyncio, json, os, sys, kosoku
cases = json.loads(sys.argv[1])

def show(results):
    fields = [(r.case_id, r.behavior.value, r.behavior_close.value, r.remote_close_code) for r in results]
    print(json.dumps(fields), flush=True)
    # At a normal exit, the threads of kosoku sometimes abort the process.
    os._exit(0)
"""
CLIENT: Final = f"""{RESULTS}
async def main():
    try:
        show(await kosoku.run_fuzzingclient(sys.argv[2], cases, concurrency={CONCURRENCY}))
    except kosoku.FailureError as error:
        show(error.results)

asyncio.run(main())
"""
SERVER: Final = f"""{RESULTS}
async def main():
    async with kosoku.run_fuzzingserver(cases, host="127.0.0.1", port=0) as server:
        print(server.port, flush=True)
        try:
            show(await server.get_result())
        except kosoku.FailureError as error:
            show(error.results)

asyncio.run(main())
"""


@attrs.frozen
class Result:
    """The result of a case.

    @ivar behavior: the judgement about the messages.
    @ivar closing: the judgement about the closing handshake.
    @ivar code: the close code that kosoku received.
    """

    case: str
    behavior: str
    closing: str
    code: int | None


async def _run_cases(port: int) -> None:
    """Run all cases of a server, some at the same time: several of them wait for a second."""
    (number,) = await echo_to(port, "/getCaseCount")
    some = asyncio.Semaphore(CONCURRENCY)

    async def run(case: int) -> None:
        async with some:
            await echo_to(port, f"/runCase?case={case}&agent=echo", deflate=True)

    await asyncio.gather(*map(run, range(1, int(number) + 1)))
    await echo_to(port, "/updateReports?agent=echo")


class AutobahnTests(RawOriginTestCase):
    """All groups of cases."""

    def setUp(self) -> None:
        super().setUp()
        if importlib.util.find_spec("kosoku") is None:
            raise SkipTest("kosoku is not installed; it is a part of the extra 'test'")
        self.background = Background()
        self.addCleanup(self.background.stop)

    def start(self, program: str, deflate: str, *arguments: str) -> subprocess.Popen[str]:
        """Start kosoku.

        @param deflate: the case with compression.
        """
        command = [sys.executable, "-c", program, json.dumps([*CASES, deflate]), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)  # type: ignore[union-attr]
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def results(self, process: subprocess.Popen[str]) -> list[Result]:
        """The results of kosoku."""
        output, _ = process.communicate(timeout=7200 if EVERYTHING else 120)
        return [Result(*fields) for fields in json.loads(output)]

    def run_client(self, proxy: Proxy, deflate: str, **options: Any) -> tuple[Bridge, list[Result]]:
        """Run kosoku as the client."""
        server = self.background.serve(serve_echo)
        bridge = Bridge(self.background, proxy.port, server, ca=proxy.ca, **options)
        return bridge, self.results(self.start(CLIENT, deflate, f"ws://127.0.0.1:{bridge.port}"))

    def run_server(self, proxy: Proxy, deflate: str, **options: Any) -> tuple[Bridge, list[Result]]:
        """Run kosoku as the server."""
        process = self.start(SERVER, deflate)
        assert process.stdout is not None
        bridge = Bridge(self.background, proxy.port, int(process.stdout.readline()), ca=proxy.ca, **options)
        self.background.run(_run_cases(bridge.port), 7200 if EVERYTHING else 120)
        return bridge, self.results(process)

    def check(self, results: list[Result], early: frozenset[str] = frozenset()) -> None:
        """Check that all cases have passed.

        @param early: those whose first message need not come back.
        """
        self.assertGreater(len(results), 500 if EVERYTHING else 130)
        for result in results:
            accepted = {"OK", "INFORMATIONAL"} | ({"NON-STRICT"} if result.case in early else set())
            self.assertIn(result.behavior, accepted, result)
            self.assertIn(result.closing, ("OK", "INFORMATIONAL"), result)

    def check_untouched(self, bridge: Bridge) -> None:
        """Check that no byte was changed."""
        self.assertGreater(len(bridge.connections), 130)
        for connection in bridge.connections:
            for direction in (connection.to_origin, connection.to_client):
                self.assertTrue(direction.same, connection)
        # What is on its way to a peer that has closed is lost: peers close after invalid frames.
        whole = [one for one in bridge.connections if one.to_origin.complete and one.to_client.complete]
        self.assertGreater(len(whole), 0.5 * len(bridge.connections))
        compressed = [one for one in bridge.connections if "permessage-deflate" in one.response.lower()]
        self.assertGreaterEqual(len(compressed), 1)

    def check_decided(self, results: list[Result], metrics: int, sender: str) -> None:
        """Check that messages were authorized, and that the proxy has answered invalid ones.

        @param sender: the direction that kosoku sends.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as response:
            text = response.read().decode()

        def count(verdict: str, direction: str) -> int:
            labels = f'direction="{direction}",kind="websocket",verdict="{verdict}"'
            found = re.search(rf"(?m)^egress_messages_total\{{{labels}\}} (\d+)", text)
            assert found is not None
            return int(found[1])

        for direction in ("client", "origin"):
            # Most of them are compressed.
            self.assertGreater(count("allow", direction), 1000)
        self.assertGreater(count("rejected", sender), 50)
        codes = {result.case: result.code for result in results}
        # A reserved bit; an unknown opcode; a long Ping; text; a Close frame with a bad reason, and with a bad code.
        cases = ("3.1", "4.1.1", "2.5", "6.3.1", "6.4.3", "7.5.1", "7.9.1")
        self.assertEqual([codes[case] for case in cases], [1002, 1002, 1002, 1007, 1007, 1007, 1002])

    def start_inspecting(self) -> tuple[Proxy, int]:
        """Start a proxy that authorizes messages.

        @return: it, and the port of its metrics.
        """
        metrics = free_port()
        policy = str(self.write("policy.toml", POLICY))
        options = ("--policy", policy, "--body-limit", "16MiB", "--metrics-port", str(metrics))
        return self.start_proxy(*self.trust, *options), metrics

    def test_a_client_whose_messages_pass(self) -> None:
        bridge, results = self.run_client(self.start_proxy(*self.trust, *self.allow_all()), TAKEOVER)
        self.check(results)
        self.check_untouched(bridge)

    def test_a_server_whose_messages_pass(self) -> None:
        proxy = self.start_proxy(*self.trust, *self.allow_all())
        bridge, results = self.run_server(proxy, NO_TAKEOVER, origin_tls=self.tls(), http2=True)
        self.check(results)
        self.check_untouched(bridge)

    def test_a_client_whose_messages_are_authorized(self) -> None:
        proxy, metrics = self.start_inspecting()
        _, results = self.run_client(proxy, TAKEOVER, origin_tls=self.tls(), http2=True)
        self.check(results, EARLY)
        self.check_decided(results, metrics, "client")

    def test_a_server_whose_messages_are_authorized(self) -> None:
        proxy, metrics = self.start_inspecting()
        _, results = self.run_server(proxy, NO_TAKEOVER, origin_tls=self.tls())
        self.check(results, EARLY)
        self.check_decided(results, metrics, "origin")
