"""Tests for L{egress.store.filter_language}."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store.filter_language import (
    FIELDS,
    MAX_LENGTH,
    Between,
    Condition,
    Equals,
    Filter,
    FilterError,
    Matches,
    Network,
    Prefix,
    Subdomain,
    Test,
    Text,
    parse_filter,
)

NOW = 1_700_000_000.0


class ParseTests(SynchronousTestCase):
    """Filters that are valid."""

    def one(self, text: str) -> Condition:
        (condition,) = parse_filter(text, NOW).conditions
        return condition

    def test_empty(self) -> None:
        for text in ("", "  "):
            self.assertEqual(parse_filter(text, NOW), Filter())

    def test_values(self) -> None:
        for text, expected in (
            ("host:API.example.", Equals("api.example")),
            ("host:[::1]", Equals("::1")),
            ("host:*.example", Subdomain("example")),
            ("host:.example", Subdomain("example")),
            ("path:/a:b", Equals("/a:b")),
            ("path:/a/**", Prefix("/a/")),
            ("path:/a/*/b.c", Matches(r"/a/[^/]*/b\.c", ("/a/", "/b.c"))),
            ("path:**/x", Matches(".*/x", ("", "/x"))),
            ("status:404", Between(404, 404)),
            ("status:5XX", Between(500, 599)),
            ("status:400-499", Between(400, 499)),
            ("method:post", Equals("POST")),
            ("verdict:Deny", Equals("deny")),
            ("observed:unavailable", Equals("unavailable")),
            ("stage:tunnel", Equals("tunnel")),
            ("stage:message", Equals("message")),
            ("outcome:forwarded", Equals("forwarded")),
            ('rule:"a, b"', Equals("a, b")),
            (r'rule:"say \"a\\b\" \c"', Equals(r'say "a\b" \c')),
            ("client:10.0.0.1", Equals("10.0.0.1")),
            ("client:10.1.2.3/8", Network(ip_network("10.0.0.0/8"))),
            ("client:[2001:db8::1]/32", Network(ip_network("2001:db8::/32"))),
            ("id:abc", Equals("abc")),
            ("grpc:a.B", Prefix("a.B/")),
            ("grpc:/a.B/*", Prefix("a.B/")),
            ("grpc:a.B/C", Equals("a.B/C")),
            ("grpc_status:not_found", Equals("NOT_FOUND")),
            ("http:2", Equals("2")),
        ):
            with self.subTest(text):
                name = text.partition(":")[0]
                self.assertEqual(self.one(text), Condition(name, (expected,)))

    def test_several_values_and_negation(self) -> None:
        tests: tuple[Test, ...] = (Equals("GET"), Equals("PUT"))
        self.assertEqual(self.one("-METHOD:get,put"), Condition("method", tests, negated=True))

    def test_texts(self) -> None:
        found = parse_filter('quota -"not this" "a"', NOW)
        self.assertEqual(found.texts, (Text("quota"), Text("not this", negated=True), Text("a")))

    def test_urls(self) -> None:
        """A URL is a text, although http is a field."""
        for url in ("http://a.test/x", "HTTPS://a.test/x"):
            self.assertEqual(parse_filter(url, NOW), Filter(texts=(Text(url),)))

    def test_times(self) -> None:
        for text, expected in (
            ("90s", NOW - 90),
            ("30m", NOW - 1800),
            ("1h", NOW - 3600),
            ("2d", NOW - 172800),
            ("1w", NOW - 604800),
            ("2023-11-14", 1_699_920_000.0),
            ("2023-11-14T22:13:20Z", NOW),
            ("2023-11-14T23:13:20+01:00", NOW),
            ("2023-11-14T22:13:20", NOW),
        ):
            with self.subTest(text):
                found = parse_filter(f"since:{text}", NOW)
                self.assertEqual((found.since, found.until), (expected, None))
        found = parse_filter("until:1h since:2h", NOW)
        self.assertEqual((found.since, found.until), (NOW - 7200, NOW - 3600))


class OriginTests(SynchronousTestCase):
    """The machine and the worker that wrote a record."""

    def test_conditions(self) -> None:
        found = parse_filter("node:proxy-1,proxy-2 -worker:2", 0).conditions
        tests = (Condition("node", (Equals("proxy-1"), Equals("proxy-2"))), Condition("worker", (Between(2, 2),), True))
        self.assertEqual(found, tests)
        for text in ("x", "-1", "1234567890", "\u0661"):
            error = self.assertRaises(FilterError, parse_filter, f"worker:{text}", 0)
            self.assertIn("write the number of a worker", error.remedy)


class ErrorTests(SynchronousTestCase):
    """An error names the position and the fix."""

    def test_errors(self) -> None:
        for text, position, remedy in (
            ("a hots:x", 2, "there is no field hots: did you mean host?"),
            ("ftp://a.test/", 0, "put a text in quotes"),
            ("host:", 5, "write a value after host:, without a space"),
            ("host: a", 5, "write a value after host:, without a space"),
            ("host:a,", 7, "write a value after host:, without a space"),
            ("host:a,b:443", 7, "'b:443': write the host without a port"),
            ("host:a*b", 5, "'a*b': write a host, as in api.example"),
            ("host:*.", 5, "write a host"),
            ("host:*.*.a", 5, "write a host"),
            ("path:a", 5, "'a': a path begins with /"),
            ("path:/" + "*/" * 17, 5, "write fewer than 16 wildcards"),
            ("status:50x", 7, "'50x': write a status, as in 404, 5xx or 400-499"),
            ("verdict:no", 8, "'no': write allow, deny, unavailable, rejected, failed or change"),
            ("client:10.0.0.0/33", 7, "write a network as in 10.0.0.0/8, an address, or the name of a client"),
            ("client:a/b", 7, "write a network"),
            ("since:soon", 6, "'soon': write a time, as in 1h"),
            ("since:1h since:2h", 9, "since was given before: remove one of them"),
            ("since:1h,2h", 9, "since takes one time"),
            ("http:3", 5, "write 1.0, 1.1 or 2"),
            ("grpc:users/", 5, "write a service, as in users.v1.Users, or a service"),
            ("grpc:a.B/C/D", 5, "write a service"),
            ("grpc_status:7", 12, "write the name of a status, as in PERMISSION_DENIED"),
            ("-since:1h", 0, "since cannot be negated: use until"),
            ("-until:1h", 0, "until cannot be negated: use since"),
            ('a "b', 2, 'add the closing "'),
            ("a -", 2, "write a field or a text after -"),
            ("a ...", 2, "a text needs a letter or a digit"),
            ('""', 0, "a text needs a letter or a digit"),
            ("a " * 65, 128, "write at most 64 conditions"),
            ("a" * (MAX_LENGTH + 1), MAX_LENGTH, "write at most 4096 characters"),
        ):
            with self.subTest(text):
                error = self.assertRaises(FilterError, parse_filter, text, NOW)
                self.assertEqual(error.position, position, error)
                self.assertIn(remedy, error.remedy)
                self.assertEqual(str(error), f"character {position + 1}: {error.remedy}")


class PropertyTests(SynchronousTestCase):
    """Properties of the parser for all inputs."""

    @given(
        some.text()
        | some.lists(some.sampled_from([*(f"{each}:" for each in FIELDS), '"', "-", ",", "1", "*", " ", "/"])).map(
            "".join
        )
    )
    def test_any_text(self, text: str) -> None:
        """Every text is a filter, or has an error with a position inside of it or at its end."""
        try:
            parse_filter(text, NOW)
        except FilterError as error:
            self.assertLessEqual(0, error.position)
            self.assertLessEqual(error.position, len(text))

    @given(some.text(min_size=1, max_size=50))
    def test_quoted_values(self, value: str) -> None:
        """A value in quotes can be any text."""
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        found = parse_filter(f'rule:"{quoted}"', NOW)
        self.assertEqual(found.conditions, (Condition("rule", (Equals(value),)),))
