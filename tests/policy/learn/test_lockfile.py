"""Tests for L{egress.policy.learn.lockfile}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.policy.learn.lockfile import Destination, Detail, Egress, Lock, LockFault, compare, in_lines, parse_lock
from tests.policy.audit import audit_line, read

LINES = (
    audit_line("POST", "https://api.test/v1/items", time="2026-11-25T12:00:05.000Z"),
    audit_line("POST", "https://api.test/v1/items/17?token=x", time="2026-11-25T12:00:01.000Z"),
    audit_line("GET", "https://api.test/v1/items/18"),
    audit_line("GET", "http://a.test:8080/x", observed="deny"),
    audit_line("CONNECT", "https://db.test:5432"),
    audit_line("GET", "https://denied.test/", verdict="deny", reason="no such place"),
    audit_line("GET", "https://api.test/never", verdict="deny", reason="a part of it"),
)

METHOD = """\
egress-lock 1
detail method

GET     http://a.test:8080
GET     https://api.test
POST    https://api.test
CONNECT db.test:5432
"""


def egress(*lines: bytes, detail: Detail = Detail.METHOD) -> Egress:
    found = Egress(detail)
    for line in read(*lines):
        found.add(line)
    return found


class WritingTests(SynchronousTestCase):
    """The text of a lock file."""

    def test_method(self) -> None:
        lock = egress(*LINES).lock()
        self.assertEqual(lock.write(), METHOD)
        self.assertEqual(parse_lock(METHOD, "x"), lock)

    def test_host(self) -> None:
        text = egress(*LINES, detail=Detail.HOST).lock().write()
        self.assertEqual(
            text.splitlines()[1:],
            [
                "detail host",
                "",
                "*       http://a.test:8080",
                "*       https://api.test",
                "CONNECT db.test:5432",
            ],
        )
        self.assertEqual(parse_lock(text, "x").write(), text)

    def test_path(self) -> None:
        lines = (*LINES, audit_line("OPTIONS", "http://a.test"), audit_line("GET", "http://a.test/x/../y%20z/%61?q"))
        text = egress(*lines, detail=Detail.PATH).lock().write()
        self.assertEqual(
            text.splitlines()[3:],
            [
                "OPTIONS http://a.test",
                "GET     http://a.test/*/a",
                "GET     http://a.test:8080/x",
                "POST    https://api.test/v1/items",
                "GET     https://api.test/v1/items/*",
                "POST    https://api.test/v1/items/*",
                "CONNECT db.test:5432",
            ],
        )
        self.assertEqual(parse_lock(text, "x").write(), text)

    @given(
        st.lists(
            st.builds(
                audit_line,
                st.sampled_from(["GET", "POST", "CONNECT", "OPTIONS", "X-y"]),
                st.builds(
                    "{}://{}{}".format,
                    st.sampled_from(["http", "https"]),
                    st.sampled_from(["a.test", "[::1]:81", "192.0.2.1"]),
                    st.sampled_from(["", "/", "/a/../%2F;x", "/é/a b".replace(" ", "%20"), "/*/x", "/a?b"]),
                ),
            ),
            max_size=8,
        ),
        st.sampled_from(Detail),
    )
    def test_round_trip(self, lines: list[bytes], detail: Detail) -> None:
        """A written lock can be parsed, and matches its own traffic."""
        found = egress(*lines, detail=detail)
        lock = parse_lock(found.lock().write(), "x")
        self.assertEqual(lock, found.lock())
        difference = compare(lock, found)
        self.assertEqual((difference.new, difference.unseen), ((), ()))


class ReadingTests(SynchronousTestCase):
    """Lock files that users edited."""

    def test_comments(self) -> None:
        lock = parse_lock("# ours\n\negress-lock 1\ndetail method\n# one\nGET  https://A.test:443\n", "x")
        self.assertEqual(lock.destinations, {Destination("https", Authority("a.test", 443), "GET")})

    def test_faults(self) -> None:
        head = "egress-lock 1\ndetail method\n"
        for text, words in (
            ("", "x: is not a lock file"),
            ("GET https://a.test", "is not a lock file"),
            ("egress-lock 2\ndetail method", "is not a lock file"),
            ("egress-lock 1", "the second line"),
            ("egress-lock 1\ndetail full", "the second line"),
            (f"{head}<<<<<<< HEAD\n", "x:3: unresolved merge conflict"),
            (f"{head}https://a.test\n", "x:3: write a method and a URL"),
            (f"{head}GET https://a.test more\n", "x:3: write a method"),
            (f"{head}G(T https://a.test\n", "x:3: write a method"),
            (f"{head}GET a.test\n", "x:3: write an http:// or https:// URL"),
            (f"{head}GET https://a.test/?x\n", "x:3: write an http:// or https:// URL"),
            (f"{head}GET https://a..b/\n", "x:3: "),
            (f"{head}CONNECT a.test\n", "x:3: the port is missing"),
            (f"{head}* https://a.test\n", "x:3: write * as the method"),
            (f"{head}GET https://a.test/x\n", "x:3: a path requires detail path"),
            ("egress-lock 1\ndetail host\nGET https://a.test", "x:3: write * as the method"),
            ("egress-lock 1\ndetail path\nGET https://a.test/../x", "x:3: empty segments"),
        ):
            self.assertIn(words, str(self.assertRaises(LockFault, parse_lock, text, "x")), text)


class DifferenceTests(SynchronousTestCase):
    """The difference that a reviewer sees."""

    def compare(self, lock: str, *lines: bytes) -> list[str]:
        parsed = parse_lock(lock, "x")
        return in_lines(compare(parsed, egress(*lines, detail=parsed.detail)))

    def test_nothing_new(self) -> None:
        self.assertEqual(
            self.compare(METHOD, *LINES),
            ["! GET     https://denied.test  1 request not forwarded: no such place"],
        )

    def test_new(self) -> None:
        lock = METHOD.replace("POST    https://api.test\n", "").replace("CONNECT db.test:5432", "GET https://old.test")
        self.assertEqual(
            self.compare(lock, *LINES[:-2]),
            [
                "+ POST    https://api.test  2 requests, first at 2026-11-25T12:00:01.000Z, e.g. /v1/items",
                "+ CONNECT db.test:5432  1 tunnel, first at 2026-11-25T12:00:00.000Z",
                "- GET     https://old.test  in the lock file, without requests",
            ],
        )

    def test_paths(self) -> None:
        """A hand-written pattern covers its paths."""
        lock = "egress-lock 1\ndetail path\nGET https://api.test/v1/**\nGET https://api.test/other/**\nPOST https://api.test/v1/items"
        self.assertEqual(
            self.compare(lock, *LINES[:3]),
            [
                "+ POST    https://api.test/v1/items/*  1 request, first at 2026-11-25T12:00:01.000Z",
                "- GET     https://api.test/other/**  in the lock file, without requests",
            ],
        )

    def test_hosts(self) -> None:
        """With hosts only, another method is not a difference."""
        lock = Lock(Detail.HOST, frozenset({Destination("https", Authority("api.test", 443), "*")}))
        self.assertEqual(self.compare(lock.write(), *LINES[:3]), [])
