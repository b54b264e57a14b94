"""Budgets of rules: in one process, and in replicas that count together in a real Redis."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import re
import signal
import socket
import socketserver
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from egress.authz.budgets.script import MEMBERS, TAKE, arguments_of, read_reply
from egress.authz.budgets.token_bucket import SECOND, Operation, Rate, State, operate
from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.processes import ROOT, free_port, ready_checks
from tests.integration.redis_server import RedisServer

KIB = 1024
MIB = 1024 * KIB
JOINED = "shared state: connected"


class BudgetTestCase(IntegrationTestCase):
    """Base: proxies with a policy, and clients with connections that stay open."""

    def policy(self, *tables: str, name: str = "policy.toml") -> str:
        """Write a policy with one rule."""
        rule = 'version = 1\n[[rules]]\nname = "all"\naction = "allow"\n'
        return str(self.write(name, rule + "\n".join(tables)))

    def start(self, policy: str, *options: str) -> Proxy:
        """Start a proxy with a metrics port."""
        self.metrics_port = free_port()
        return self.start_proxy("--policy", policy, "--metrics-port", str(self.metrics_port), *options)

    def client(self, proxy: Proxy) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        self.addCleanup(connection.close)
        return connection

    def get(
        self, client: http.client.HTTPConnection, path: str = "/files/hello.txt", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request, and read the response."""
        client.request("GET", self.origins.http_url(path), headers=headers)
        response = client.getresponse()
        return response, response.read()

    def permitted(self, proxy: Proxy, most: int = 100_000) -> int:
        """Return how many requests are permitted until one gets the status 429."""
        client = self.client(proxy)
        for number in range(most):
            response, content = self.get(client)
            if response.status != 200:
                self.assertEqual(response.status, 429, content)
                return number
        return most

    def download_in_tunnel(self, proxy: Proxy) -> None:
        """Download a large file through a tunnel, until it is cut: then a part of the data is lost on the way."""
        authority = f"localhost:{self.origins.http}"
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            self.assertIn(b" 200 ", client.recv(1000))
            client.sendall(f"GET /files/big HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            with contextlib.suppress(ConnectionResetError):
                while client.recv(256 * KIB):
                    pass

    def metric(self, port: int, name: str) -> float:
        """Return the value of a metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
            found = re.search(rf"^{re.escape(name)} (\S+)$", page.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


class _Endless(socketserver.BaseRequestHandler):
    """Responds with content that does not end."""

    def handle(self) -> None:
        self.request.recv(64 * KIB)
        with contextlib.suppress(OSError):
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                self.request.sendall(bytes(MIB))


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run functions in threads, and return their results."""
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        results[index] = call()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class ProcessTests(BudgetTestCase):
    """One proxy, without shared state."""

    def test_rate(self) -> None:
        """The client reads when to retry, and why; the record names the rule and the budget."""
        proxy = self.start(self.policy('[rules.rate]\nrequests = 60\nper = "1m"\nburst = 3\n'))
        client = self.client(proxy)
        for _ in range(3):
            self.assertEqual(self.get(client)[0].status, 200)
        response, content = self.get(client)
        self.assertEqual((response.status, response.headers["Retry-After"]), (429, "1"))
        problem = json.loads(content)
        self.assertEqual(problem["type"], "urn:egressproxy:budget-exhausted")
        self.assertEqual((problem["ruleId"], problem["budget"]), ("all", "rate.requests"))
        self.assertEqual(problem["reason"], "the rule all permits 60 requests per 1m in bursts of 3 ([rules.rate])")
        record = self.records(proxy, 4)[-1]
        self.assertEqual(
            (record["verdict"], record["outcome"], record["ruleId"], record["status"]),
            ("deny", "budget-exhausted", "all", 429),
        )
        self.assertEqual(record["reason"], problem["reason"])
        time.sleep(1.1)
        self.assertEqual(self.get(client)[0].status, 200)
        self.assertEqual(self.metric(self.metrics_port, 'egress_budget_refusals_total{reason="exhausted"}'), 1)
        self.assertNotIn("budgets", ready_checks(self.metrics_port))

    def test_hosts_and_clients(self) -> None:
        """Each host has its own budget; clients without authentication are told apart by their address."""
        policy = self.policy(
            '[[rules.budget]]\nrequests = 2\nper = "1h"\nby = "host"\n',
            '[[rules.budget]]\nrequests = 3\nper = "1h"\nby = "client"\n',
        )
        client = self.client(self.start(policy))

        def status(host: str, name: str) -> int:
            url = f"http://{host}:{self.origins.http}/files/hello.txt"
            basic = {"ann": "Basic YW5uOng=", "bob": "Basic Ym9iOng="}[name]
            client.request("GET", url, headers={"Proxy-Authorization": basic})
            response = client.getresponse()
            response.read()
            return response.status

        found = [status(host, name) for host, name in (("127.0.0.1", "ann"), ("127.0.0.1", "bob"))]
        self.assertEqual(found, [200, 200])
        self.assertEqual([status("127.0.0.1", "ann"), status("localhost", "ann")], [429, 200])
        self.assertEqual(status("localhost", "bob"), 429)

    def test_bytes(self) -> None:
        """A response that does not fit is refused before it begins; one of unknown length is cut."""
        proxy = self.start(self.policy('[rules.budget]\nbytes = "1MiB"\nper = "1h"\n'))
        client = self.client(proxy)
        response, content = self.get(client, "/files/big", Range=f"bytes=0-{600 * KIB - 1}")
        self.assertEqual((response.status, len(content)), (206, 600 * KIB))
        response, content = self.get(client, "/files/big", Range=f"bytes=0-{600 * KIB - 1}")
        self.assertEqual(response.status, 429)
        self.assertEqual(json.loads(content)["budget"], "budget.bytes")
        response, content = self.get(self.client(proxy), "/files/big", Range=f"bytes=0-{400 * KIB - 1}")
        self.assertEqual((response.status, len(content)), (206, 400 * KIB))
        client = self.client(proxy)
        client.request("POST", self.origins.http_url("/echo"), body=bytes(100 * KIB))
        self.assertEqual(client.getresponse().status, 429)
        outcomes = [record["outcome"] for record in self.records(proxy, 4)]
        self.assertEqual(outcomes, ["forwarded", "budget-exhausted", "forwarded", "budget-exhausted"])

    def test_tunnel(self) -> None:
        """A tunnel that is not intercepted ends when the budget is exhausted."""
        policy = self.policy('[rules.budget]\nbytes = "8MiB"\nper = "1h"\n')
        proxy = self.start(policy, "--passthrough", "localhost")
        self.download_in_tunnel(proxy)
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["outcome"], record["verdict"]), ("budget-exhausted", "allow"))
        # The last pieces, of up to 1 MiB, are not forwarded, and a little is refilled meanwhile.
        self.assertTrue(6 * MIB < record["bytesReceived"] <= 8.1 * MIB, record)

    def test_reload(self) -> None:
        """A change of the policy keeps the budgets that it does not change."""
        tables = '[rules.budget]\nrequests = 5\nper = "1h"\n'
        proxy = self.start(self.policy(tables))
        self.assertEqual(self.permitted(proxy, 3), 3)
        self.reloaded(self.policy(tables, "# changed\n"))
        self.assertEqual(self.permitted(proxy), 2)
        self.reloaded(self.policy('[rules.budget]\nrequests = 8\nper = "1h"\n'))
        self.assertEqual(self.permitted(proxy), 8)

    def reloaded(self, policy: str) -> None:
        """Wait until the proxy uses the content of a file."""
        digest = hashlib.sha256(Path(policy).read_bytes()).hexdigest()

        def is_used() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as page:
                return digest in page.read().decode()

        self.wait_until(is_used, "the policy is reloaded")


class ReplicaTestCase(BudgetTestCase):
    """Base: three replicas and an engine."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = RedisServer()
        self.addCleanup(self.engine.remove)
        self.key = str(self.write("shared.key", "0123456789abcdef" * 4))

    def start_replicas(self, policy: str, *options: str, number: int = 3, location: str = "") -> list[Proxy]:
        shared = ("--shared", location or self.engine.location, "--shared-key-file", self.key)
        replicas = []
        self.ports = []
        for _ in range(number):
            replicas.append(self.start(policy, *shared, *options))
            self.ports.append(self.metrics_port)
        self.wait_until(lambda: all(JOINED in each.process.output() for each in replicas), "the replicas connect")
        return replicas


class ReplicaTests(ReplicaTestCase):
    """What the replicas permit together."""

    def test_requests(self) -> None:
        """The error is at most 2 %."""
        most = 3000
        replicas = self.start_replicas(self.policy(f'[rules.budget]\nrequests = {most}\nper = "366d"\n'))
        found = sum(at_once(*[lambda proxy=proxy: self.permitted(proxy) for proxy in replicas]))
        self.assertTrue(0.98 * most <= found <= 1.02 * most, found)
        self.assertLessEqual(found, most)

    def test_rate(self) -> None:
        """The rate of all replicas together, over some seconds."""
        replicas = self.start_replicas(self.policy('[rules.rate]\nrequests = 200\nper = "1s"\nburst = 10\n'))
        begun = time.monotonic()

        def flood(proxy: Proxy) -> int:
            client, permitted = self.client(proxy), 0
            while time.monotonic() - begun < 3:
                if self.get(client)[0].status == 200:
                    permitted += 1
                else:
                    time.sleep(0.005)
            return permitted

        found = sum(at_once(*[lambda proxy=proxy: flood(proxy) for proxy in replicas]))
        expected = 10 + 200 * (time.monotonic() - begun)
        self.assertLessEqual(found, 1.02 * expected)

    def test_bytes(self) -> None:
        """Downloads of a known length, and tunnels that are as fast as possible."""
        most = 64 * MIB
        policy = self.policy(f'[rules.budget]\nbytes = {most}\nper = "366d"\n')
        replicas = self.start_replicas(policy, "--passthrough", "localhost")

        def download(proxy: Proxy) -> int:
            client, received = self.client(proxy), 0
            for _ in range(5):
                response, content = self.get(client, "/files/big", Range=f"bytes=0-{MIB - 1}")
                received += len(content) if response.status == 206 else 0
            return received

        received = sum(at_once(*[lambda proxy=proxy: download(proxy) for proxy in replicas]))
        self.assertEqual(received, 15 * MIB)
        at_once(*[lambda proxy=proxy: self.download_in_tunnel(proxy) for proxy in replicas])
        records = [record for proxy in replicas for record in self.records(proxy, 6)]
        found = sum(record["bytesReceived"] + record["bytesSent"] for record in records)
        self.assertTrue(0.98 * most <= found <= 1.02 * most, found)

    def test_bodies(self) -> None:
        """Responses of unknown length, which a replica parses."""
        most = 64 * MIB
        replicas = self.start_replicas(self.policy(f'[rules.budget]\nbytes = {most}\nper = "366d"\n'))
        origin = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Endless)
        origin.daemon_threads = True
        self.addCleanup(origin.server_close)
        self.addCleanup(origin.shutdown)
        threading.Thread(target=origin.serve_forever, daemon=True).start()

        def download(proxy: Proxy) -> None:
            client = self.client(proxy)
            client.request("GET", f"http://127.0.0.1:{origin.server_address[1]}/")
            response = client.getresponse()
            self.assertEqual(response.status, 200)
            with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
                while response.read(256 * KIB):
                    pass

        at_once(*[lambda proxy=proxy: download(proxy) for proxy in replicas])
        records = [record for proxy in replicas for record in self.records(proxy, 1)]
        self.assertEqual([record["outcome"] for record in records], ["budget-exhausted"] * 3)
        found = sum(record["bytesReceived"] for record in records)
        self.assertTrue(0.98 * most <= found <= 1.02 * most, found)

    def test_workers(self) -> None:
        (proxy,) = self.start_replicas(
            self.policy('[rules.budget]\nrequests = 50\nper = "1d"\n'), "--workers", "2", number=1
        )
        self.assertEqual(sum(self.permitted(proxy, 10) for _ in range(8)), 50)

    def start_as_user(self, *more: str) -> tuple[Proxy, RedisServer]:
        """Start a proxy whose user has the documented permissions, after further changes, and use two of five."""
        page = (ROOT / "docs" / "how-to" / "replicas.md").read_text("utf-8")
        (permissions,) = re.findall(r"ACL SETUSER egress on >PASSWORD (.*)", page)
        password = self.write("password", "s3cret\n")
        port = free_port()
        engine = RedisServer("--port", str(port), "--bind", "127.0.0.1")
        self.addCleanup(engine.remove)
        engine.run("ACL", "SETUSER", "egress", "on", ">s3cret", *permissions.split(), *more)
        (proxy,) = self.start_replicas(
            self.policy('[rules.budget]\nrequests = 5\nper = "1d"\n'),
            *("--shared-password-file", str(password)),
            number=1,
            location=f"redis://egress@127.0.0.1:{port}",
        )
        self.assertEqual(self.permitted(proxy, 2), 2)
        self.wait_until(lambda: any(b":members:" in name for name in engine.run("KEYS", "*")), "processes are counted")
        self.assertEqual(ready_checks(self.ports[0])["budgets"], "ok")
        return proxy, engine

    def test_acl_user(self) -> None:
        """A user with the documented permissions, and one that may not run scripts."""
        proxy, engine = self.start_as_user()
        self.assertEqual(engine.run("ACL", "LOG"), [])
        engine.run("ACL", "SETUSER", "egress", "-eval", "-evalsha")
        self.assertEqual(self.permitted(proxy), 3)
        self.assertIn("of each budget", ready_checks(self.ports[0])["budgets"])

    def test_user_without_digests(self) -> None:
        """A user who may not send digests: the proxy sends the texts of its scripts."""
        proxy, engine = self.start_as_user("-evalsha")
        self.assertEqual(self.permitted(proxy), 3)
        self.assertEqual(self.metric(self.ports[0], "egress_budget_failures_total"), 0)
        self.assertEqual([entry[entry.index(b"object") + 1] for entry in engine.run("ACL", "LOG")], [b"evalsha"])


class EngineTests(ReplicaTestCase):
    """What happens to the engine."""

    def test_hanging(self) -> None:
        """Each replica uses its share of what is left, and the engine learns of it afterwards."""
        most = 300
        replicas = self.start_replicas(self.policy(f'[rules.budget]\nrequests = {most}\nper = "366d"\n'))
        used = sum(self.permitted(proxy, 20) for proxy in replicas)
        self.assertEqual(used, 60)
        self.wait_for_members(3)
        self.engine.send_signal(signal.SIGSTOP)
        self.addCleanup(self.engine.send_signal, signal.SIGCONT)
        self.wait_until(
            lambda: all("1/3 of each budget" in ready_checks(port)["budgets"] for port in self.ports),
            "the replicas notice",
        )
        alone = [self.permitted(proxy, 30) for proxy in replicas[:2]]
        self.assertEqual(alone, [30, 30])
        more = self.permitted(replicas[0])
        self.assertTrue(40 <= 30 + more <= 95, more)
        self.assertGreater(self.metric(self.ports[0], "egress_budget_alone_total"), 29)
        self.engine.send_signal(signal.SIGCONT)
        self.wait_until(lambda: all(ready_checks(port)["budgets"] == "ok" for port in self.ports), "the engine is used")
        left = sum(at_once(*[lambda proxy=proxy: self.permitted(proxy) for proxy in replicas]))
        found = used + sum(alone) + more + left
        self.assertTrue(0.98 * most <= found <= 1.02 * most, found)
        for proxy in replicas:
            output = proxy.process.output()
            self.assertNotIn("budgets: requests with a budget are denied", output)
            self.assertNotIn("--shared: has no effect", output)
            if proxy is replicas[2]:
                continue
            self.assertEqual(output.count("budgets: this process uses 1/3 of each budget"), 1, output)
            self.assertEqual(output.count("budgets are counted in the shared state again"), 1, output)

    def test_lost_data(self) -> None:
        """Each loss costs at most 2 %: of all data, by a restart, and by a return to older data."""
        most = 1500
        replicas = self.start_replicas(self.policy(f'[rules.budget]\nrequests = {most}\nper = "366d"\n'))
        counts = [self.permitted(proxy, 5) for proxy in replicas]
        self.wait_for_members(3)
        over = threading.Event()

        def restart() -> None:
            self.engine.kill()
            self.engine.start()

        def flood(index: int) -> None:
            client = self.client(replicas[index])
            while True:
                # A share can be exhausted before the budget is.
                is_last = over.is_set()
                if self.get(client)[0].status == 200:
                    counts[index] += 1
                elif is_last:
                    return
                else:
                    time.sleep(0.01)

        losses: list[tuple[float, Callable[[], object]]] = [
            (0.1, lambda: self.engine.run("FLUSHALL")),
            (0.2, restart),
            (0.4, lambda: self.engine.run("SAVE")),
            (0.5, restart),
        ]

        def lose() -> bool:
            try:
                for part, loss in losses:
                    self.wait_until(partial(self._reached, counts, part * most), "some requests are sent")
                    loss()
                self.wait_until(lambda: all(ready_checks(port)["budgets"] == "ok" for port in self.ports), "it is used")
            finally:
                over.set()
            return True

        self.assertTrue(at_once(*[lambda index=index: flood(index) for index in range(3)], lose)[-1])
        found = sum(counts)
        self.assertTrue(0.98 * most <= found <= 1.02 * most, found)

    @staticmethod
    def _reached(counts: list[int], most: float) -> bool:
        return sum(counts) >= most

    def test_forgotten_scripts(self) -> None:
        """An engine that forgets its scripts gets them again, and each command is executed once."""
        most = 600
        policy = self.policy(f'[rules.budget]\nrequests = {most}\nper = "366d"\n')
        replicas = self.start_replicas(policy, "--shared-timeout", "20")
        over = threading.Event()

        def forget() -> int:
            while not over.wait(0.002):
                self.engine.run("SCRIPT", "FLUSH")
            return 0

        def use() -> int:
            try:
                return sum(at_once(*[lambda proxy=proxy: self.permitted(proxy) for proxy in 4 * replicas]))
            finally:
                over.set()

        self.assertEqual(sum(at_once(use, forget)), most)
        for port in self.ports:
            self.assertEqual(self.metric(port, "egress_budget_failures_total"), 0)
            self.assertEqual(self.metric(port, "egress_budget_alone_total"), 0)
        self.assertGreater(self.scripts()[0], 30)
        self.wait_until(lambda: len(set(self.scripts())) == 1, "each text is sent once")

    def scripts(self) -> tuple[int, int]:
        """Return how often the engine did not know a digest, and how often it got a text."""
        found = self.engine.run("INFO", "commandstats").decode()
        (unknown,) = re.findall(r"cmdstat_evalsha:.*\bfailed_calls=(\d+)", found)
        (texts,) = re.findall(r"cmdstat_eval:calls=(\d+)", found)
        return int(unknown), int(texts)

    def test_idle_replica(self) -> None:
        """It tells the engine what it knows: as soon as it connects again, or a second after the loss of all data."""
        replicas = self.start_replicas(self.policy('[rules.budget]\nrequests = 100\nper = "366d"\n'), number=2)
        self.assertEqual(self.permitted(replicas[0], 40), 40)
        self.wait_for_members(2)
        self.engine.run("FLUSHALL")
        self.wait_until(lambda: bool(self.buckets()), "the idle replica tells what it knows")
        self.assertEqual(self.permitted(replicas[1], 20), 20)
        self.engine.kill()
        self.engine.start()
        self.wait_until(lambda: bool(self.buckets()), "the replicas tell what they know")
        self.wait_until(lambda: all(ready_checks(port)["budgets"] == "ok" for port in self.ports), "the engine is used")
        self.assertEqual(self.permitted(replicas[0]) + self.permitted(replicas[1]), 40)

    def wait_for_members(self, number: int) -> None:
        """Wait until each replica knows the number of replicas: it has registered after all of them had."""
        self.wait_until(lambda: len(self.registered()) == number, "all replicas register")
        last = max(self.registered())
        self.wait_until(lambda: min(self.registered()) > last, "the replicas know each other")

    def registered(self) -> list[int]:
        """Return when each replica last registered."""
        names = [name for name in self.engine.run("KEYS", "*") if b":members:" in name]
        return list(map(int, self.engine.run("ZRANGE", names[0], 0, -1, "WITHSCORES")[1::2])) if names else []

    def test_deny(self) -> None:
        tables = '[rules.budget]\nrequests = 300\nper = "1d"\nwithout_shared = "deny"\n'
        (proxy,) = self.start_replicas(self.policy(tables), number=1)
        client = self.client(proxy)
        self.assertEqual(self.get(client)[0].status, 200)
        self.engine.send_signal(signal.SIGSTOP)
        try:
            response, content = self.get(client)
            self.assertEqual((response.status, response.headers["Retry-After"]), (503, "1"))
            self.assertEqual(json.loads(content)["type"], "urn:egressproxy:budget-unavailable")
        finally:
            self.engine.send_signal(signal.SIGCONT)
        self.wait_until(lambda: self.get(self.client(proxy))[0].status == 200, "the engine is used again")
        self.assertIn("budget-unavailable", [record["outcome"] for record in proxy.records()])

    def test_attacker(self) -> None:
        """Someone who can write to the engine can deny, and can raise the consumption to one budget of each replica."""
        replicas = self.start_replicas(self.policy('[rules.budget]\nrequests = 10\nper = "1d"\n'), number=2)
        attacks: list[Callable[[], object]] = [
            lambda: self.engine.run("FLUSHALL"),
            *[
                lambda value=value: [self.engine.run("SET", name, value) for name in self.buckets()]
                for value in (b"0 0 1", b"0 9999999999999999 1", b"-1 0 1", b"nan", b"x" * 100_000, b"1e999 0 1", b"")
            ],
            lambda: [self.engine.run(*each) for name in self.buckets() for each in (("DEL", name), ("LPUSH", name, 1))],
        ]
        found = 0
        for proxy in replicas:
            client = self.client(proxy)
            for number in range(40):
                response, _ = self.get(client)
                found += response.status == 200
                attacks[number % len(attacks)]()
        self.assertLessEqual(found, 20)
        for name in self.buckets():
            self.engine.run("SET", name, b"9" * 17 + b" 0 1")
        self.assertEqual(self.permitted(replicas[0]), 0)

    def buckets(self) -> list[bytes]:
        return [name for name in self.engine.run("KEYS", "*") if b":budget:" in name]


class ScriptTests(ReplicaTestCase):
    """The script does what its description in Python does."""

    def test_operations(self) -> None:
        chance = random.Random(17)
        states: dict[bytes, State | None] = {b"a": None, b"b": None, b"c": None}
        rates = [Rate(interval, capacity) for interval in (0.37, 10.0, 2500.0, SECOND) for capacity in (1, 7, 10_000)]
        for _ in range(1500):
            names = chance.sample(sorted(states), chance.randint(1, 3))
            around = round(time.time() * SECOND)
            for name in names:
                if (state := states[name]) is not None and state.full_at < around + 5000:
                    # It may expire in this moment.
                    self.engine.run("DEL", name)
                    states[name] = None
            operations = [
                Operation(
                    chance.choice(rates),
                    owed=chance.choice((0, 0, 3, -2)),
                    need=(need := chance.choice((0, 1, 1, 5))),
                    want=need + chance.choice((0, 0, 10)),
                    seen=chance.choice((0, 0, around + chance.randrange(-1_000_000, 1_000_000))),
                    generation=self._generation(chance, states[name], around),
                    moved=chance.random() < 0.1,
                )
                for name in names
            ]
            if chance.random() < 0.1:
                name = chance.choice(names)
                states[name] = chance.choice((None, State(10**17, 5, 7), State(around + 10**6, around, 7)))
                state = states[name]
                value = chance.choice((b"x", b"-5 4 3")) if state is None else _stored(state)
                self.engine.run("SET", name, value)
            reply = self._take(names, operations)
            enough, now, outcomes = read_reply(reply, operations)
            expected = operate([states[name] for name in names], operations, now)
            self.assertEqual((enough, outcomes), expected[:2])
            for name, state in zip(names, expected[2], strict=True):
                stored = self.engine.run("GET", name)
                states[name] = state if stored is not None else None
                if stored is not None or state.full_at > now + SECOND:
                    self.assertEqual(stored, _stored(state))

    def _take(self, names: Sequence[bytes], operations: Sequence[Operation]) -> Any:
        return self.engine.run("EVAL", TAKE.text, len(names), *names, *arguments_of(operations))

    def _generation(self, chance: random.Random, state: State | None, around: int) -> int:
        choices = [0, around, 5]
        if state is not None:
            choices += [state.generation] * 3
        return chance.choice(choices)

    def test_expiry(self) -> None:
        """The engine keeps a bucket until it is full, so its memory is limited."""
        self._take([b"a"], [Operation(Rate(SECOND / 2, 10), need=3, want=3)])
        self.assertTrue(1400 <= self.engine.run("PTTL", b"a") <= 1501)

    def test_members(self) -> None:
        self.assertEqual(self.engine.run("EVAL", MEMBERS.text, 1, "m", "one", 200_000), [1, 1])
        self.assertEqual(self.engine.run("EVAL", MEMBERS.text, 1, "m", "two", 200_000), [2, 1])
        self.assertEqual(self.engine.run("EVAL", MEMBERS.text, 1, "m", "one", 200_000), [2, 0])
        time.sleep(0.25)
        self.assertEqual(self.engine.run("EVAL", MEMBERS.text, 1, "m", "one", 200_000), [1, 1])


def _stored(state: State) -> bytes:
    """Return the value of a state in the engine."""
    return b"%d %d %d" % (state.full_at, state.base, state.generation)
