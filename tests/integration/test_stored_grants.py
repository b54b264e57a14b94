"""Grants in a real PostgreSQL: they apply after all proxies have stopped and started again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import psycopg
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.stored_revocations import covers, in_force
from egress.store.grant_rows import GrantSeals
from egress.store.grant_store import GrantStore
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database
from tests.integration import test_shared_approvals
from tests.integration.postgresql import PASSWORD, Server, server
from tests.integration.processes import free_port, ready_checks
from tests.integration.test_approvals import POLICY
from tests.integration.test_shared_approvals import Replica
from tests.store.grant_cases import NOW, SECRET, grant, matching, revocation

STORED = "grants of approvers are stored"


class StoreTests(SynchronousTestCase):
    """The rows in PostgreSQL."""

    def setUp(self) -> None:
        self.server = server()
        self.database = self.server.create_database()

    def open(self, **changes: Any) -> GrantStore:
        database = attrs.evolve(Database(url=self.server.url(self.database), password=PASSWORD), **changes)
        return GrantStore(PostgresqlStore(database), GrantSeals(SECRET), covers)

    def test_rows(self) -> None:
        """The same grants come back, whatever their texts and their times are."""
        store = self.open()
        path = grant().subject
        made = [
            grant("a", NOW + 0.123456789),
            grant("b", 1 / 3, 1e7, by="", reason="r\xe9sum\xe9 \U0001f600"),
            grant("c", subject=attrs.evolve(path, path="/\x00\ud800\\u0000", identity=None, rule_id="x" * 1000)),
        ]
        store.write(made, [], NOW)
        store.write(made, [], NOW)
        self.assertEqual(sorted(in_force(store.read(NOW)), key=lambda each: each.grant_id), made)
        ended = store.write([], [revocation("a"), matching("rule", "x" * 1000, revocation_id="r2")], NOW)
        self.assertEqual(ended, {"a", "c"})
        self.assertEqual([each.grant_id for each in in_force(self.open().read(NOW))], ["b"])
        found = self.server.run("SELECT id, approver, revoked_by FROM egress.grants ORDER BY id", self.database)
        self.assertEqual(found, [("a", "ann", ""), ("b", "", ""), ("c", "ann", "bob")])

    def test_replicas(self) -> None:
        """Several replicas write the same grants and revocations at the same time, and no connection remains."""
        stores = [self.open() for _ in range(4)]
        stores[0].read(NOW)
        grants = [grant(str(number)) for number in range(20)]

        def write(store: GrantStore) -> None:
            for each in grants:
                store.write([each], [revocation(each.grant_id, revocation_id=each.grant_id)], NOW)

        with ThreadPoolExecutor() as threads:
            list(threads.map(write, stores))
        self.assertEqual(in_force(stores[0].read(NOW)), [])
        self.assertEqual(self.server.run("SELECT count(*) FROM egress.grants", self.database), [(20,)])
        count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.database}' AND pid <> pg_backend_pid()"
        self.assertEqual(self.server.run(count), [(0,)])

    def test_rights(self) -> None:
        """Roles that can read or write the other tables can do so with the new ones, also after an upgrade."""
        self.open().read(NOW)
        self.server.run(
            "CREATE ROLE grants_writer LOGIN PASSWORD 'writer'; GRANT USAGE ON SCHEMA egress TO grants_writer; "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON egress.exchanges, egress.migrations TO grants_writer; "
            "DROP TABLE egress.grants, egress.grant_revocations; "
            "DELETE FROM egress.migrations WHERE number = (SELECT max(number) FROM egress.migrations)",
            self.database,
        )
        self.open().read(NOW)
        url = self.server.url(self.database, user="grants_writer")
        writer = self.open(url=url, password="writer")
        writer.write([grant()], [revocation()], NOW)
        with psycopg.connect(url, password="writer") as connection, self.assertRaises(psycopg.Error):
            connection.execute("DROP TABLE egress.grants")
        with self.assertRaises(StoreError):
            self.open(read_only=True).write([grant()], [], NOW)
        self.server.run("DROP OWNED BY grants_writer", self.database)
        self.server.run("DROP ROLE grants_writer")

    def test_unreachable(self) -> None:
        self.server.kill()
        self.addCleanup(restart, self.server)
        with self.assertRaises(StoreUnreachable):
            self.open().read(NOW)


def restart(stopped: Server) -> None:
    """Start a server again, for later tests."""
    if not stopped.is_running:
        stopped.start()


class RestartTestCase(test_shared_approvals.SharedApprovalsTestCase):
    """Base: proxies with an audit store."""

    def setUp(self) -> None:
        super().setUp()
        self.policy = self.write("two.toml", POLICY.replace('"/echo"', '"/echo", "/json"'))
        self.server = server()
        self.addCleanup(restart, self.server)
        self.database = self.server.create_database()
        self.env: dict[str, Any] = {
            "EGRESS_AUDIT_STORE": self.server.url(self.database),
            "EGRESS_AUDIT_STORE_PASSWORD": PASSWORD,
        }
        self.url, self.other = self.origins.http_url("/echo"), self.origins.http_url("/json")

    def start_storing(self, name: str, *options: str) -> Replica:
        admin = f"unix:{self.directory / name}"
        proxy = self.start_proxy("--policy", str(self.policy), "--admin", admin, *options, **self.env)
        return Replica(proxy, admin)

    def storing(self, name: str, *options: str) -> Replica:
        """Start one of several replicas."""
        shared = ("--shared", self.engine.location, "--shared-key-file", str(self.key))
        return self.start_storing(name, *shared, *options)

    def single(self, *options: str) -> Replica:
        """Start a proxy that shares nothing, with the state directory of the one before."""
        return self.start_storing("single", "--ca-dir", str(self.directory / "state"), *options)

    def wait_for_stored(self, replica: Replica, grants: int, processes: int = 1) -> None:
        text = f"{grants} {STORED}"
        self.wait_until(lambda: replica.proxy.process.output().count(text) >= processes, text)

    permit: Any = test_shared_approvals.GrantTests.permit
    allows: Any = test_shared_approvals.GrantTests.allows

    def rows(self, statement: str = "SELECT id FROM egress.grants WHERE revoked_at IS NULL") -> list[Any]:
        return [row[0] for row in self.server.run(statement, self.database)]


class SingleTests(RestartTestCase):
    """One proxy, which shares nothing with others."""

    def test_restart(self) -> None:
        proxy = self.single()
        self.wait_for_stored(proxy, grants=0)
        kept, revoked = self.permit(proxy, self.url), self.permit(proxy, self.other)
        self.wait_until(lambda: len(self.rows()) == 2, "stored grants")
        done = self.egress("approvals", "revoke", revoked, EGRESS_ADMIN=proxy.admin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.rows(), [kept])
        proxy.proxy.process.stop()
        proxy = self.single()
        self.wait_for_stored(proxy, grants=1)
        self.assertEqual([(each["id"], each["reason"]) for each in proxy.grants()], [(kept, "")])
        self.assertTrue(self.allows(proxy, self.url))
        self.assertFalse(self.allows(proxy, self.other))
        # A proxy with another state directory does not use the grants of this one.
        other = self.start_storing("other")
        self.wait_for_stored(other, grants=0)
        self.assertFalse(self.allows(other, self.url))

    def test_workers(self) -> None:
        """The supervisor uses the store; a revocation of all decisions is stored, too."""
        proxy = self.single("--workers", "2")
        self.permit(proxy, self.url)
        self.wait_until(self.rows, "a stored grant")
        proxy.proxy.process.stop()
        proxy = self.single("--workers", "2")
        self.wait_for_stored(proxy, grants=1)
        self.assertTrue(all(self.allows(proxy, self.url) for _ in range(3)))
        found = proxy.api.call("POST", "/revocations", {"kind": "all"})
        self.assertEqual(found["grants"], 1)
        self.assertEqual(self.rows(), [])
        proxy.proxy.process.stop()
        self.wait_for_stored(self.single(), grants=0)


class ReplicaTests(RestartTestCase):
    """Replicas that share state."""

    def test_restart(self) -> None:
        """All of them stop and start, and the engine loses its data."""
        one, two = self.storing("one"), self.storing("two", "--workers", "2")
        self.join(one, two)
        kept, revoked = self.permit(one, self.url), self.permit(one, self.other)
        self.wait_until(lambda: len(self.rows()) == 2, "stored grants")
        done = self.egress("approvals", "revoke", revoked, EGRESS_ADMIN=two.admin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.rows(), [kept])
        for each in (one, two):
            each.proxy.process.stop()
        self.engine.kill()
        self.engine.start()
        # Someone with access to the table extends a grant, and hides that another one was revoked.
        self.server.run("UPDATE egress.grants SET revoked_at = NULL", self.database)
        one, two = self.storing("one"), self.storing("two", "--workers", "2")
        self.wait_for_stored(one, grants=1)
        self.wait_for_stored(two, grants=1, processes=2)
        for each in (one, two):
            self.assertEqual([found["id"] for found in each.grants()], [kept])
        self.assertTrue(self.allows(one, self.url))
        self.assertTrue(all(self.allows(two, self.url) for _ in range(2)))
        self.assertFalse(self.allows(two, self.other))

    def test_unreachable_at_the_start(self) -> None:
        """Without PostgreSQL, a request waits; when it can be reached again, the grant applies."""
        replica = self.storing("one")
        self.join(replica)
        self.permit(replica, self.url)
        name = self.permit(replica, self.other)
        self.wait_until(lambda: len(self.rows()) == 2, "stored grants")
        replica.proxy.process.stop()
        self.server.kill()
        port = free_port()
        replica = self.storing("one", "--metrics-port", str(port))
        self.wait_until(lambda: "stored grants are not used yet" in replica.proxy.process.output(), "a warning")
        self.assertIn("ok: stored grants are not used yet: ", ready_checks(port)["grants"])
        self.assertFalse(self.allows(replica, self.url))
        # The revocation of a grant that is not known is not complete.
        done = self.egress("approvals", "revoke", name, EGRESS_ADMIN=replica.admin)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("the audit store does not have the revocation yet", done.stderr)
        waiting = self.begin(replica.proxy, self.url)
        self.the_id(replica)
        self.server.start()
        self.assertEqual(self.end(waiting)[0], 200)
        self.assertTrue(self.allows(replica, self.url))
        self.assertFalse(self.allows(replica, self.other))
        self.wait_until(lambda: ready_checks(port)["grants"] == "ok", "the store has everything")
