"""Tests for L{egress.cli.logs}."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any
from unittest import mock

import attrs

from egress import __version__
from egress.cli import main as cli
from egress.model.grpc_result import GrpcResult
from egress.observability.audit_log import audit_line
from egress.observability.ocsf import ocsf_event
from egress.store.interfaces import StoreUnreachable
from egress.store.sqlite import SqliteStore, open_store
from tests.cli.running import CommandTestCase, Terminal
from tests.observability.records import ALLOWED, REFUSED

DENIED = attrs.evolve(
    ALLOWED,
    request_id="def456",
    time=ALLOWED.time + 1,
    verdict="deny",
    outcome="denied",
    status=403,
    reason="not\x1b[31m here",
    rule_id="no-admin",
    request_headers=(("Host", "api.example.com"), ("", "3 more fields")),
)
REJECTED = attrs.evolve(REFUSED, request_id="789", time=ALLOWED.time + 2, reason="=two Host fields")


class LogsTests(CommandTestCase):
    """The commands read a store."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "audit.db"
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)
        self.store.append([ALLOWED, DENIED, REJECTED])
        self.environ = {"EGRESS_AUDIT_STORE": f"sqlite:{self.path}"}

    def logs(self, *arguments: str) -> str:
        status, out, err = self.run_egress("logs", *arguments, environ=self.environ)
        self.assertEqual((status, err), (0, ""))
        return out

    def test_search(self) -> None:
        self.assertEqual(
            self.logs("search"),
            "2023-11-14T22:13:22.250Z rejected   -   (=two Host fields)  789\n"
            "2023-11-14T22:13:21.250Z deny     403 POST https://api.example.com/v1/items?page=2&token=REDACTED"
            "  (no-admin: not\\x1b[31m here)  def456\n"
            "2023-11-14T22:13:20.250Z allow    201 POST https://api.example.com/v1/items?page=2&token=REDACTED"
            "  abc123\n",
        )

    def test_filter(self) -> None:
        for arguments, expected in (
            (("verdict:deny",), ["def456"]),
            (("verdict:deny", "host:other.test"), []),
            (("-n", "1"), ["789"]),
            (("two host",), ["789"]),
            (("-host:api.example.com", "-n", "5"), ["789"]),
            (("-HOST:api.example.com",), ["789"]),
            (("-verdict:allow", "-rule:no-admin"), ["789"]),
            (('-"two host"',), ["def456", "abc123"]),
            (("--", "-two host"), ["def456", "abc123"]),
            (('"writes to"',), ["abc123"]),
            (("verdict:deny", "rule:no-admin,x"), ["def456"]),
            (("verdict:deny rule:no-admin",), ["def456"]),
            (("since:1h",), []),
        ):
            with self.subTest(arguments):
                found = json.loads(self.logs("search", "--json", *arguments))["records"]
                self.assertEqual([record["requestId"] for record in found], expected)

    def test_tail(self) -> None:
        found = self.logs("tail", "-n", "2", "--json").splitlines()
        self.assertEqual([json.loads(line)["requestId"] for line in found], ["def456", "789"])

    def test_follow(self) -> None:
        """New records are printed until Ctrl-C, each one once."""
        batches = [[attrs.evolve(ALLOWED, request_id="new")], [], [attrs.evolve(DENIED, request_id="late", time=5.0)]]

        def sleep(seconds: float) -> None:
            if not batches:
                raise KeyboardInterrupt
            self.store.append(batches.pop(0))

        self.patch(time, "sleep", sleep)
        out = io.StringIO()
        status = cli.main(["logs", "tail", "-f", "-n", "1"], self.environ, out, sys.stderr)
        self.assertEqual(status, 130)
        self.assertEqual([line.split()[-1] for line in out.getvalue().splitlines()], ["789", "new", "late"])

    def test_follow_a_restarted_server(self) -> None:
        """A server that cannot be reached is reported once, and tried again."""
        results: list[Any] = [StoreUnreachable("refused"), StoreUnreachable("refused"), (3, [])]
        self.patch(time, "sleep", lambda _: None)
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", err)
        with mock.patch.object(SqliteStore, "written_after", side_effect=[*results, *results, KeyboardInterrupt]):
            status = cli.main(["logs", "tail", "-f", "-n", "1"], self.environ, out, err)
        self.assertEqual(status, 130)
        self.assertEqual(err.getvalue().splitlines()[:2], ["egress: refused; trying again"] * 2)

    def test_show(self) -> None:
        self.assertEqual(json.loads(self.logs("show", "abc123", "--json")), json.loads(audit_line(ALLOWED)))
        text = self.logs("show", "def456")
        self.assertIn("ruleId          no-admin\n", text)
        self.assertIn("reason          not\\x1b[31m here\n", text)
        self.assertNotIn("upstream", text)
        self.assertIn("phases          request 1.0 ms, decision 12.5 ms, reused 0.0 ms, ", text)
        self.assertIn("requestHeaders  Host: api.example.com; 3 more fields\n", text)
        self.assertNotIn("responseHeaders", text)
        self.assertNotIn("phases", self.logs("show", "789"))

    def test_show_a_call(self) -> None:
        record = attrs.evolve(ALLOWED, request_id="call", grpc=GrpcResult("a.B", "C", "NOT_FOUND"))
        self.store.append([record, attrs.evolve(record, request_id="web", grpc=GrpcResult("a.B", "C", None))])
        self.assertEqual(json.loads(self.logs("show", "call", "--json")), json.loads(audit_line(record)))
        text = self.logs("show", "call")
        self.assertIn("clientHttp      2\noriginHttp      1.1\npolicyVersion   7-3f9a0c1b2d4e\n", text)
        self.assertIn("grpc            a.B/C NOT_FOUND\n", text)
        self.assertIn("grpc            a.B/C unknown\n", self.logs("show", "web"))
        self.assertNotIn("grpc", self.logs("show", "abc123"))

    def test_show_unknown(self) -> None:
        status, _, err = self.run_egress("logs", "show", "x y", environ=self.environ)
        self.assertEqual(status, 1)
        self.assertIn("there is no record with the id 'x y': egress logs search lists records", err)

    def test_stats(self) -> None:
        found = self.logs("stats")
        self.assertIn("records: 3\nfrom 2023-11-14T22:13:20.250Z to 2023-11-14T22:13:22.250Z\n", found)
        self.assertIn("\nrules\n         1  items-write\n         1  no-admin\n", found)
        self.assertEqual(self.logs("stats", "id:no"), "records: 0\n")
        self.assertEqual(json.loads(self.logs("stats", "--json", "verdict:deny"))["records"], 1)

    def test_summary(self) -> None:
        found = self.logs("summary", "-verdict:rejected")
        self.assertIn("2 records from 2023-11-14T22:13:20.250Z to 2023-11-14T22:13:21.250Z, 1 denied\n", found)
        self.assertTrue(self.logs("summary", "--markdown").startswith("## Requests\n"))
        self.assertEqual(json.loads(self.logs("summary", "--json"))["denied"]["records"], 1)

    def test_export_jsonl(self) -> None:
        """The lines are those of an audit log."""
        self.assertEqual(
            self.logs("export", "jsonl"), b"".join(map(audit_line, (ALLOWED, DENIED, REJECTED))).decode("ascii")
        )

    def test_ocsf(self) -> None:
        """Events for a SIEM."""
        expected = [ocsf_event(json.loads(audit_line(record)), __version__) for record in (ALLOWED, DENIED, REJECTED)]
        self.assertEqual([json.loads(line) for line in self.logs("export", "ocsf").splitlines()], expected)
        self.assertEqual(json.loads(self.logs("tail", "-n", "1", "--ocsf")), expected[-1])

    def test_export_csv(self) -> None:
        lines = self.logs("export", "csv").splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[0].startswith("time,requestId,client,"))
        self.assertIn(",'=two Host fields,", lines[3], "no formula")
        self.assertTrue(
            lines[1].endswith(
                ',"[[""request"",1.0],[""decision"",12.5],[""reused"",0.0],[""wait"",76.5],[""receive"",10.0]]",,'
                ",2,1.1,7-3f9a0c1b2d4e,"
            ),
            lines[1],
        )
        url = "https://api.example.com/a.B/C"
        self.store.append([attrs.evolve(ALLOWED, request_id="call", url=url, grpc=GrpcResult("a.B", "C", None))])
        found = self.logs("export", "csv", "grpc:a.B").splitlines()
        self.assertTrue(found[0].endswith(",clientHttp,originHttp,policyVersion,grpc"), found[0])
        call = '"{""service"":""a.B"",""method"":""C"",""status"":null}"'
        self.assertTrue(found[1].endswith(f",2,1.1,7-3f9a0c1b2d4e,{call}"), found[1])
        self.assertEqual(self.logs("export", "csv", "id:no"), "")

    def test_colors(self) -> None:
        out = Terminal()
        cli.main(["logs", "search", "verdict:deny"], self.environ, out, sys.stderr)
        self.assertIn("\x1b[31mdeny    \x1b[0m", out.getvalue())

    def test_migrate(self) -> None:
        self.environ = {"EGRESS_AUDIT_STORE": f"sqlite:{self.directory / 'new.db'}"}
        self.assertIn("the tables have the version of this program", self.logs("migrate"))
        self.assertEqual(json.loads(self.logs("migrate", "--json"))["migrated"], True)
        self.assertEqual(self.logs("search"), "")


class ErrorTests(CommandTestCase):
    """Errors name the fix."""

    def refuse(self, message: str, *arguments: str) -> None:
        status, _, err = self.run_egress("logs", *arguments)
        self.assertNotEqual(status, 0)
        self.assertIn(message, err)

    def test_errors(self) -> None:
        missing = f"sqlite:{self.directory / 'no.db'}"
        self.refuse(
            "the audit store is set to none: use --audit-store, or the variable EGRESS_AUDIT_STORE",
            *("search", "--audit-store", "none"),
        )
        default = self.directory / "audit.db"
        self.refuse(f"{default}: does not exist", "search", "--ca-dir", str(self.directory))
        self.refuse("does not exist: specify the file of --audit-store", "search", "--audit-store", missing)
        self.refuse("create the directory", "migrate", "--audit-store", f"sqlite:{self.directory / 'no' / 'a.db'}")
        self.refuse("write sqlite:FILE", "search", "--audit-store", "/tmp/file")
        self.refuse("character 1: there is no field hots: did you mean host?", "search", "hots:a")
        self.refuse("write a number from 1 to 1000000", "search", "-n", "0")

    def test_configuration_file(self) -> None:
        self.addCleanup(open_store(self.directory / "a.db").close)
        config = self.write("egress.toml", b'audit-store = "sqlite:a.db"\n')
        self.assertEqual(self.run_egress("logs", "tail", "--config", config), (0, "", ""))
