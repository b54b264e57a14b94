"""Approvals of replicas that share state in a real Redis."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import statistics
import time
from typing import Any

from egress.cli.admin_client import AdminApi
from egress.cli.errors import CommandFailed
from egress.config.admin_endpoint import AdminEndpoint
from tests.integration.base import Proxy
from tests.integration.redis_server import RedisServer
from tests.integration.test_approvals import POLICY, ApprovalsTestCase
from tests.integration.test_replicas import JOINED

# An answer is effective everywhere within this time, in seconds.
PROMPT = 1.0


class Replica:
    """A replica with its own admin API.

    @ivar proxy: its proxy.
    @ivar admin: the location of its admin API.
    """

    def __init__(self, proxy: Proxy, admin: str) -> None:
        self.proxy = proxy
        self.admin = admin
        self.api = AdminApi(AdminEndpoint.parse(admin), None)

    def pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.call("GET", "/approvals")["pending"]
        return found

    def grants(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.call("GET", "/approvals")["grants"]
        return found


class SharedApprovalsTestCase(ApprovalsTestCase):
    """Base: an engine, and replicas whose policy asks."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = RedisServer()
        self.addCleanup(self.engine.remove)
        self.key = self.write("shared.key", "0123456789abcdef" * 4)
        self.policy = self.write("ask.toml", POLICY)

    def replica(self, name: str, *options: str) -> Replica:
        admin = f"unix:{self.directory / name}"
        shared = ("--shared", self.engine.location, "--shared-key-file", str(self.key))
        proxy = self.start_proxy("--policy", str(self.policy), "--admin", admin, *shared, *options)
        return Replica(proxy, admin)

    def join(self, *replicas: Replica, times: int = 1) -> None:
        """Wait until replicas know each other."""
        for replica in replicas:
            number = times * max(1, len(replica.proxy.workers))
            self.wait_until(lambda: replica.proxy.process.output().count(JOINED) >= number, "a replica joins")  # noqa: B023

    def the_id(self, replica: Replica, count: int = 1) -> str:
        """Wait until a replica lists one pending approval with this many requests, and return its id."""
        self.wait_until(lambda: [one["count"] for one in replica.pending()] == [count], "a pending approval")
        name: str = replica.pending()[0]["id"]
        return name


class AnswerTests(SharedApprovalsTestCase):
    """A request waits on one replica, and an approver answers on another one."""

    def test_commands(self) -> None:
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        waiting = [self.begin(each.proxy, self.origins.https_url("/echo?q=1")) for each in (one, two)]
        self.the_id(one, 2)
        waiting.append(self.begin(one.proxy, self.origins.https_url("/echo?q=1")))
        name = self.the_id(two, 3)
        listed = self.egress("approvals", EGRESS_ADMIN=two.admin)
        self.assertIn("(3 requests)", listed.stdout)
        self.assertIn(", on ", listed.stdout)
        done = self.egress("approvals", "allow", name, "--by", "ann", EGRESS_ADMIN=two.admin)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{name}: 3 requests allowed once\n", ""))
        self.assertEqual([self.end(each)[0] for each in waiting], [200] * 3)
        self.assertEqual([record["reason"] for record in self.records(one.proxy, 2)], ["allowed once by ann"] * 2)
        # The next one waits again, and is denied by the other replica.
        waiting = [self.begin(two.proxy, self.origins.https_url("/echo?q=1"))]
        name = self.the_id(one)
        done = self.egress("approvals", "deny", name, "--reason", "not today", EGRESS_ADMIN=one.admin)
        self.assertEqual(done.returncode, 0, done.stderr)
        status, content = self.end(waiting[0])
        self.assertEqual(status, 403)
        self.assertIn("not today", content)
        everything = b"".join([*self.engine.values(), *self.engine.values().values()])
        self.assertNotIn(b"echo", everything)

    def test_workers(self) -> None:
        """Each worker of one replica holds requests, and the supervisor of another one answers."""
        one, two = self.replica("one", "--workers", "2"), self.replica("two", "--workers", "2")
        self.join(one, two)
        waiting = [self.begin(one.proxy, self.origins.https_url("/echo")) for _ in range(8)]
        name = self.the_id(two, 8)
        self.assertEqual(self.the_id(one, 8), name)
        found = two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
        self.assertEqual(found, {"resolved": 8, "grant": None})
        self.assertEqual({self.end(each)[0] for each in waiting}, {200})

    def test_prompt(self) -> None:
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        seconds = []
        for number in range(5):
            waiting = self.begin(one.proxy, self.origins.http_url(f"/echo?{number}"))
            name = self.the_id(two)
            begun = time.monotonic()
            two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
            self.assertEqual(self.end(waiting)[0], 200)
            seconds.append(time.monotonic() - begun)
        self.assertLess(statistics.median(seconds), PROMPT)


class GrantTests(SharedApprovalsTestCase):
    """A grant of one replica applies to all of them."""

    def permit(self, replica: Replica, url: str, others: int = 0) -> str:
        """Make a grant for a URL on a replica, and return its id.

        @param others: the number of equal requests that wait on other replicas.
        """
        waiting = self.begin(replica.proxy, url)
        pending = self.the_id(replica, 1 + others)
        found = replica.api.call("POST", f"/approvals/{pending}", {"answer": "allow", "for": 3600})
        self.assertEqual((found["resolved"], found.get("unconfirmed")), (1 + others, None))
        self.assertEqual(self.end(waiting)[0], 200)
        name: str = found["grant"]["id"]
        return name

    def allows(self, replica: Replica, url: str) -> bool:
        """Return whether a request is allowed without an approver, who denies it otherwise."""
        waiting = self.begin(replica.proxy, url)

        def is_decided() -> bool:
            for one in replica.pending():
                # The list of another replica can be older than the answer of an approver.
                with contextlib.suppress(CommandFailed):
                    replica.api.call("POST", f"/approvals/{one['id']}", {"answer": "deny"})
            return waiting.poll() is not None

        self.wait_until(is_decided, "a response")
        return self.end(waiting)[0] == 200

    def test_everywhere(self) -> None:
        """Also to a replica that starts later, and to workers; until it is revoked on any of them."""
        one, two = self.replica("one"), self.replica("two", "--workers", "2")
        self.join(one, two)
        url = self.origins.http_url("/echo")
        name = self.permit(one, url)
        # The other worker reads the grant within this time.
        time.sleep(PROMPT)
        self.assertTrue(all(self.allows(two, url) for _ in range(8)))
        later = self.replica("later")
        self.wait_for_grants(later)
        self.assertTrue(self.allows(later, url))
        for replica in (one, two, later):
            self.assertEqual([each["id"] for each in replica.grants()], [name])
        done = self.egress("approvals", "revoke", name, EGRESS_ADMIN=two.admin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([self.allows(each, url) for each in (one, two, later)], [False] * 3)
        self.assertEqual([each.grants() for each in (one, two, later)], [[], [], []])

    def test_waiting_elsewhere(self) -> None:
        """Equal requests that wait on another replica are allowed, too, by the same grant."""
        one, two = self.replica("one"), self.replica("two", "--workers", "2")
        self.join(one, two)
        url = self.origins.http_url("/echo")
        waiting = [self.begin(two.proxy, url) for _ in range(4)]
        self.the_id(two, 4)
        name = self.permit(one, url, others=4)
        self.assertEqual([self.end(each)[0] for each in waiting], [200] * 4)
        later = self.replica("later")
        self.wait_for_grants(later)
        self.assertTrue(self.allows(later, url))
        # It is one grant: all replicas have the same time.
        grants = [each.grants() for each in (one, two, later)]
        self.assertEqual(grants, [grants[0]] * 3)
        self.assertEqual([each["id"] for each in grants[0]], [name])

    def wait_for_grants(self, replica: Replica, times: int = 1) -> None:
        self.wait_until(lambda: replica.proxy.process.output().count("grants can be used") >= times, "grants")

    def test_engine_restarted(self) -> None:
        """Without the engine, a grant does not apply; afterwards, it does, although the engine has lost its data."""
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        url = self.origins.http_url("/echo")
        self.permit(one, url)
        self.wait_until(two.grants, "the grant")
        self.engine.kill()
        self.wait_until(lambda: not one.grants() and not two.grants(), "no grants")
        self.assertFalse(self.allows(one, url) or self.allows(two, url))
        self.engine.start()
        for replica in (one, two):
            self.wait_for_grants(replica, 2)
            self.assertTrue(self.allows(replica, url))

    def test_repeated_after_the_revocation(self) -> None:
        """Someone puts everything back into the engine that was in it before a grant was revoked."""
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        url = self.origins.http_url("/echo")
        name = self.permit(one, url)
        two.proxy.process.stop()
        again = self.replica("again")
        self.wait_for_grants(again)
        self.assertTrue(self.allows(again, url))
        values = self.engine.values()
        (stream,) = (each for each in self.engine.run("KEYS", "*") if self.engine.run("TYPE", each) == b"stream")
        events = self.engine.run("XRANGE", stream, "-", "+")
        again.api.call("DELETE", f"/approvals/{name}")
        one.proxy.process.stop()
        self.engine.run("DEL", stream)
        later = self.replica("later")
        self.join(later)
        for each, value in values.items():
            self.engine.run("SET", each, value)
        for _, fields in events:
            self.engine.run("XADD", stream, "*", *fields)
        time.sleep(2)
        for replica in (again, later):
            self.assertFalse(self.allows(replica, url))


class ConfirmationTests(SharedApprovalsTestCase):
    """A revocation is confirmed by each replica that has applied it."""

    def test_confirmed(self) -> None:
        one, two, three = self.replica("one", "--workers", "2"), self.replica("two"), self.replica("three")
        self.join(one, two, three)
        # One that stops leaves, and is not expected.
        three.proxy.process.stop()
        done = self.egress("revoke", "all", "--by", "alice", EGRESS_ADMIN=one.admin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"; confirmed by {socket.gethostname()}\n", done.stdout)
        two.proxy.process.popen.send_signal(signal.SIGSTOP)
        try:
            done = self.egress("revoke", "all", "--json", EGRESS_ADMIN=one.admin)
        finally:
            two.proxy.process.popen.send_signal(signal.SIGCONT)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["unconfirmed"], [socket.gethostname()])


class FailureTests(SharedApprovalsTestCase):
    """The engine fails, or someone else writes to it."""

    def test_engine_away(self) -> None:
        """A request can be answered where it waits."""
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        self.engine.kill()
        waiting = self.begin(one.proxy, self.origins.http_url("/echo"))
        name = self.the_id(one)
        self.assertEqual(two.pending(), [])
        with self.assertRaises(CommandFailed):
            two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
        self.engine.start()
        # The other replica knows it again without a restart.
        self.assertEqual(self.the_id(two), name)
        two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
        self.assertEqual(self.end(waiting)[0], 200)

    def test_hanging_engine(self) -> None:
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        waiting = self.begin(one.proxy, self.origins.http_url("/echo"))
        name = self.the_id(two)
        self.engine.send_signal(signal.SIGSTOP)
        try:
            with self.assertRaises(CommandFailed):
                two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
            one.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
            self.assertEqual(self.end(waiting)[0], 200)
        finally:
            self.engine.send_signal(signal.SIGCONT)

    def test_repeated_events(self) -> None:
        """Someone repeats everything that was in the engine when an approver allowed the same request before."""
        one, two = self.replica("one"), self.replica("two")
        self.join(one, two)
        url = self.origins.http_url("/echo")
        waiting = self.begin(one.proxy, url)
        name = self.the_id(two)
        two.api.call("POST", f"/approvals/{name}", {"answer": "allow"})
        self.assertEqual(self.end(waiting)[0], 200)
        again = self.begin(one.proxy, url)
        self.assertEqual(self.the_id(two), name)
        (stream,) = (each for each in self.engine.run("KEYS", "*") if self.engine.run("TYPE", each) == b"stream")
        for _, fields in self.engine.run("XRANGE", stream, "-", "+"):
            self.engine.run("XADD", stream, "*", *fields)
        time.sleep(1)
        self.assertIsNone(again.poll())
        one.api.call("POST", f"/approvals/{name}", {"answer": "deny"})
        self.assertEqual(self.end(again)[0], 403)
