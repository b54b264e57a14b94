"""Tests for L{egress.policy.learn.audit_reader}."""

from __future__ import annotations

from urllib.parse import unquote

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.http.request_target import parse_request_target
from egress.model.decision import Stage
from egress.model.errors import OUTCOMES
from egress.model.grpc_result import GrpcResult
from egress.observability.audit_log import audit_line as written
from egress.policy.learn.audit_reader import MAX_LINE, LineFault, Notes, read_line, read_lines
from tests.observability.records import ALLOWED, REFUSED
from tests.policy.audit import audit_line, read


class LineTests(SynchronousTestCase):
    """A single audit record."""

    def fault(self, line: bytes) -> str:
        return str(self.assertRaises(LineFault, read_line, line))

    def test_records_of_the_proxy(self) -> None:
        found = read_line(written(ALLOWED))
        assert found is not None
        self.assertEqual(found.url, "https://api.example.com/v1/items?page=2&token=REDACTED")
        self.assertEqual((found.stage, found.method, found.verdict), (Stage.REQUEST, "POST", "allow"))
        self.assertEqual((found.identity, found.client, found.sent), ("runner-7", "127.0.0.1", 12))
        self.assertEqual((found.time, found.rule_id), ("2023-11-14T22:13:20.250Z", "items-write"))
        self.assertTrue(found.left)
        self.assertIsNone(read_line(written(REFUSED)))

    def test_grpc(self) -> None:
        call = GrpcResult("a.B", "C", "OK")
        for record, is_grpc in ((ALLOWED, False), (attrs.evolve(ALLOWED, grpc=call), True)):
            found = read_line(written(record))
            assert found is not None
            self.assertIs(found.is_grpc, is_grpc)

    def test_urls(self) -> None:
        for url, expected, path in (
            ("https://A.example.com", "https://a.example.com/", "/"),
            ("http://a.example.com:80/x?y", "http://a.example.com/x?y", "/x?y"),
            ("http://a.example.com?y", "http://a.example.com/?y", "/?y"),
            ("http://[::1]:8080/", "http://[::1]:8080/", "/"),
        ):
            (found,) = read(audit_line("GET", url))
            self.assertEqual((found.url, found.path), (expected, path))

    def test_all_forwarded_targets(self) -> None:
        """The line of every request that the proxy forwards can be parsed, and shows the request unchanged."""
        for char in ("\x85", "\u2028", "\u202e", "\xa0", "\U000e0001", "\u00e4", "|", '"', "<"):
            with self.subTest(char):
                path = parse_request_target("GET", f"http://a.test/{char}?{char}".encode()).path
                (found,) = read(audit_line("GET", f"http://a.test{path}"))
                self.assertTrue(found.url.isprintable())
                self.assertEqual(unquote(found.path), path)
        (found,) = read(audit_line("GET", "http://a.test/\u202e\u00e4"))
        self.assertEqual(found.path, "/%E2%80%AE\u00e4")

    def test_no_path(self) -> None:
        (found,) = read(audit_line("OPTIONS", "http://a.example.com"))
        self.assertEqual((found.path, found.url), ("*", "http://a.example.com"))

    def test_tunnels(self) -> None:
        for line in (
            audit_line("CONNECT", "https://db.example.com:5432"),
            audit_line("CONNECT", "https://db.example.com:5432", stage="request"),
        ):
            (found,) = read(line)
            self.assertEqual((found.stage, found.method, found.path), (Stage.TUNNEL, "CONNECT", ""))
            self.assertEqual(found.url, "db.example.com:5432")

    def test_observed(self) -> None:
        (found,) = read(audit_line("GET", "http://a.test/", observed="deny"))
        self.assertEqual((found.left, found.decided), (True, "deny"))
        (found,) = read(audit_line("GET", "http://a.test/", verdict="deny"))
        self.assertEqual((found.left, found.decided), (False, "deny"))

    def test_unresolved(self) -> None:
        """A request to a name without an address was allowed, but nothing was sent anywhere."""
        for outcome in ("name-not-resolved", "resolution-timeout", "too-many-lookups", "resolver-busy"):
            (found,) = read(audit_line("GET", "http://a.test/", outcome=outcome, observed="deny"))
            self.assertEqual((found.left, found.decided), (False, "deny"))
        for outcome in ("forwarded", "origin-unreachable", "origin-certificate-invalid", "client-disconnected"):
            (found,) = read(audit_line("GET", "http://a.test/", outcome=outcome))
            self.assertTrue(found.left)

    def test_outcomes(self) -> None:
        """Every outcome of a lookup that found nothing counts as unresolved."""
        codes = {found.code for found in OUTCOMES.values() if found.stage == "dns"}
        for code in codes:
            (found,) = read(audit_line("GET", "http://a.test/", outcome=code))
            self.assertFalse(found.left, code)

    def test_service(self) -> None:
        """The log of an authorization service has verdicts of its own."""
        (found,) = read(audit_line("GET", "http://a.test/", verdict="ask", outcome="decided"))
        self.assertEqual((found.left, found.decided, found.outcome), (False, "ask", "decided"))
        self.assertIsNone(read_line(audit_line("POST", "http://a.test/", verdict="need-body", outcome="decided")))

    def test_at(self) -> None:
        for time, at in (
            ("1970-01-01T00:01:00.250Z", 60.25),
            ("1970-01-01T01:00:00+01:00", 0.0),
            ("1970-01-01T00:00:00", None),
            ("then", None),
            ("0001-01-01T00:00:00+00:00", None),
            ("9999-12-31T23:59:59+00:00", None),
            (None, None),
        ):
            (found,) = read(audit_line("GET", "http://a.test/", time=time))
            self.assertEqual(found.at, at)

    def test_printable(self) -> None:
        """A forged line cannot change the colors of a terminal, or start a new line."""
        (found,) = read(
            audit_line("GET", "http://a.test/", reason="a\x1b[31m\nb", ruleId=7, bytesSent="x", client=None)
        )
        self.assertEqual((found.reason, found.rule_id, found.sent, found.client), ("a?[31m?b", None, 0, ""))

    def test_changes(self) -> None:
        """The record of a change by an administrator has no decision."""
        line = audit_line("", "", stage="admin", verdict="change", outcome="policy-reloaded")
        self.assertIsNone(read_line(line))

    def test_faults(self) -> None:
        for line, words in (
            (b"rubbish", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b"[]", "not an object"),
            (b"{}", "missing verdict"),
            (b'{"verdict":"maybe"}', "unknown verdict"),
            (audit_line("GET", "http://a.test/", stage="other"), "unknown stage"),
            (audit_line("GET", "").replace(b'"url"', b'"uri"'), "missing url"),
            (audit_line("G T", "http://a.test/"), "invalid method"),
            (audit_line("*", "http://a.test/"), "invalid method"),
            (audit_line("GET", "ftp://a.test/"), "invalid url"),
            (audit_line("GET", "http://a.test/\n[[rules]]"), "invalid url"),
            (audit_line("GET", "http://a.test/\ud800"), "invalid url"),
            (audit_line("GET", "http://a.test/#x"), "invalid url"),
            (audit_line("GET", "http://a b/"), "invalid url"),
            (audit_line("GET", "http://a..b/"), "invalid host"),
            (b" " * (MAX_LINE + 1), "too long"),
        ):
            self.assertIn(words, self.fault(line), line[:80])


class LinesTests(SynchronousTestCase):
    """All lines of an audit log."""

    def test_notes(self) -> None:
        notes = Notes()
        lines = [
            audit_line("GET", "http://a.test/"),
            b"\n",
            b"x\n",
            written(REFUSED),
            audit_line("GET", "http://c.test/", stage="message"),
            audit_line("GET", "http://b.test/"),
        ]
        self.assertEqual([line.origin.authority.host for line in read_lines(lines, notes)], ["a.test", "b.test"])
        self.assertEqual((notes.lines, notes.undecided, notes.bad, notes.first_bad), (6, 2, 1, [(3, "not JSON")]))
        self.assertEqual(notes.describe(), "1 of 6 lines could not be read: 3 (not JSON)")

    def test_many_bad_lines(self) -> None:
        notes = Notes()
        self.assertEqual(list(read_lines([b"x"] * 1000, notes)), [])
        self.assertEqual(len(notes.first_bad), 10)
        self.assertTrue(notes.describe().endswith("10 (not JSON) and 990 more"))
