"""Tests for L{egress.policy.match.paths}."""

from __future__ import annotations

import re
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.paths import MAX_READINGS, ambiguity, canonical, compile_path, remove_dot_segments
from egress.policy.match.paths import readings as readings_with
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

PLAIN = st.text("abcXYZ019-_~", min_size=1, max_size=4)
PLAIN_PATHS = st.lists(PLAIN, max_size=4).map(lambda segments: "/" + "/".join(segments))
# Mostly text that triggers one of the transformations.
TRICKY = st.lists(
    st.sampled_from(
        [
            *("/", "//", ".", "..", "/../", "/./", ";", ";x=y", "\\", "a", "b", "A", "%", "%2f", "%2F", "%5c", "%2e"),
            *("%25", "%252f", "%00", "%3b", "%3f", "%23", "%c0%af", "%e0%80%af", "%u002f", "%zz", "%41", "%20", "%0a"),
            *("%ff", "%c3%a9", "é", "／", "．", "%85"),
        ]
    ),
    max_size=6,
).map(lambda parts: "/" + "".join(parts))


def readings(path: str) -> tuple[str, ...]:
    return readings_with(path, WorkBudget())


class CanonicalTests(SynchronousTestCase):
    """Spellings that are equal for every server become one spelling."""

    CASES = {
        "/a": "/a",
        "/%61%2D%2e%5F%7e": "/a-._~",
        "/a%20b%2B%26": "/a b+&",
        "/%2f%5c%25%3b%3f%23%00": "/%2F%5C%25%3B%3F%23%00",
        "/caf%c3%a9": "/café",
        "/café": "/café",
        "/%ff": "/\udcff",
        "/100%": "/100%",
        "/%zz%4": "/%zz%4",
    }

    def test_canonical(self) -> None:
        for path, expected in self.CASES.items():
            with self.subTest(path):
                self.assertEqual(canonical(path), expected)


class DotSegmentTests(SynchronousTestCase):
    """RFC 3986 section 5.2.4."""

    CASES = {
        "/a/b/c/./../../g": "/a/g",
        "/": "/",
        "/.": "/",
        "/..": "/",
        "/../..": "/",
        "/a/.": "/a/",
        "/a/..": "/",
        "/a/../b": "/b",
        "/a/../../b": "/b",
        "/a//../b": "/a/b",
        "/.a/..b/...": "/.a/..b/...",
        "/a/b/": "/a/b/",
        "*": "*",
    }

    def test_cases(self) -> None:
        for path, expected in self.CASES.items():
            with self.subTest(path):
                self.assertEqual(remove_dot_segments(path), expected)

    @given(TRICKY)
    def test_no_dot_segments_remain(self, path: str) -> None:
        resolved = remove_dot_segments(path)
        self.assertFalse({".", ".."} & set(resolved.split("/")))
        self.assertTrue(resolved.startswith("/"))
        self.assertEqual(remove_dot_segments(resolved), resolved)


class ReadingsTests(SynchronousTestCase):
    """The interpretations of a path by servers."""

    CASES = {
        "/": {"/"},
        "/a/b.c/": {"/a/b.c/"},
        "/a?x=/../b": {"/a"},
        "/.well-known/x": {"/.well-known/x"},
        "/a..b/c": {"/a..b/c"},
        "*": {"*"},
        "/%61dmin": {"/admin"},
        "/a%20b": {"/a b"},
        "/a/../b": {"/a/../b", "/b"},
        "/a/%2e%2E/b": {"/a/../b", "/b"},
        "/a//b": {"/a//b", "/a/b"},
        "/a/b//../c": {"/a/b//../c", "/a/b/c", "/a/b/../c", "/a/c"},
        "/x//..//a": {"/x//..//a", "/x//a", "/x/a", "/x/../a", "/a"},
        "/a%2Fb": {"/a%2Fb", "/a/b"},
        "/a%2fb": {"/a%2Fb", "/a/b"},
        "/a%5Cb": {"/a%5Cb", "/a\\b", "/a/b"},
        "/a%252Fb": {"/a%252Fb", "/a%2Fb", "/a/b"},
        "/a/..;/b": {"/a/..;/b", "/a/../b", "/b"},
        "/a;x=1/b": {"/a;x=1/b", "/a/b"},
        "/a%3Bx/b": {"/a%3Bx/b", "/a;x/b", "/a/b"},
        # Parameters can be removed before or after decoding.
        "/a;x%2Fb": {"/a;x%2Fb", "/a;x/b", "/a", "/a/b"},
        "/a%00b": {"/a%00b", "/a\0b", "/a"},
        "/a%3Fb": {"/a%3Fb", "/a?b", "/a"},
        "/a%23b": {"/a%23b", "/a#b", "/a"},
        "/a%23b%3Fc": {"/a%23b%3Fc", "/a#b?c", "/a#b", "/a"},
        "/a%c0%afb": {"/a\udcc0\udcafb", "/a/b"},
        "/a%e0%80%afb": {"/a\udce0\udc80\udcafb", "/a/b"},
        "/a%u002Fb": {"/a%u002Fb", "/a/b"},
        "/a%EF%BC%8Fb": {"/a／b", "/a/b"},
        "/a./b": {"/a./b", "/a/b"},
        "/a%20/b%09": {"/a /b\t", "/a/b"},
        "/a%85": {"/a\udc85", "/a"},
        "/a/..%20/b": {"/a/.. /b", "/a/../b", "/b"},
        "/.../a": {"/.../a"},
        "/100%25": {"/100%25", "/100%"},
    }

    def test_cases(self) -> None:
        for path, expected in self.CASES.items():
            with self.subTest(path):
                found = readings(path)
                self.assertEqual(set(found), expected)
                self.assertEqual(len(found), len(expected))
                self.assertEqual(found[0], canonical(path.partition("?")[0]))

    def test_too_many_interpretations(self) -> None:
        for path in ("/%" + "25" * (MAX_READINGS + 1) + "41", "/a..;x=%2f..%5c%252e%252e//y%00.png"):
            with self.subTest(path):
                self.assertIn(f"more than {MAX_READINGS} ways", self.assertRaises(TooMuchWork, readings, path).cause)
        self.assertEqual(len(readings("/%" + "25" * (MAX_READINGS - 2) + "41")), MAX_READINGS)

    def test_too_long(self) -> None:
        """A longer path can have fewer interpretations; the reason quotes no data of it."""
        for path in ("/" + "a%2f" * 3900, "/" + "a;b/../%2f%252f//x%20/." * 650, "/" + "\xe9" * 15_000):
            cause = self.assertRaises(TooMuchWork, readings, path).cause
            self.assertEqual(cause, f"its path of {len(path):,} characters can be read in many ways")
        # Paths of legitimate clients.
        for path in ("/" + "a" * 16_000, "/" + "a%2f" * 200, "/" + "%d0%bf" * 300, "/x//" * 1000, "/a b" * 500):
            self.assertTrue(readings(path))

    def test_ambiguity(self) -> None:
        for path, expected in (
            ("/@scope%2fname", "%2F"),
            ("/a%5Cb", "%5C"),
            ("/a%252f", "%25"),
            ("/a%3bb", "an encoded ;, ?, # or NUL"),
            ("/a\\b", "\\"),
            ("/a//b", "//"),
            ("/a;b=secret", ";"),
            ("/a/../b", ". or .. as a segment"),
            ("/a/%2e%2E", ". or .. as a segment"),
            ("/a./b?x=%2f", "characters"),
        ):
            self.assertEqual(ambiguity(path), expected, path)

    @given(PLAIN_PATHS)
    def test_plain_paths_have_one_interpretation(self, path: str) -> None:
        self.assertEqual(readings(path), (path,))

    @given(PLAIN_PATHS, st.data())
    def test_unnecessary_encoding_does_not_matter(self, path: str, data: st.DataObject) -> None:
        encoded = "".join(f"%{ord(char):02x}" if char != "/" and data.draw(st.booleans()) else char for char in path)
        self.assertEqual(readings(encoded), (path,))

    @given(PLAIN_PATHS, PLAIN, st.sampled_from(["..", "%2e.", "%2E%2e", "..;", "..;a=b", "%2e%2e%00", "..%20"]))
    def test_detours_are_resolved(self, path: str, detour: str, up: str) -> None:
        found = readings(f"/{detour}/{up}{path}")
        self.assertIn(path, found)

    @settings(deadline=None)
    @given(TRICKY)
    def test_readings_are_complete(self, path: str) -> None:
        """A second server that receives the interpretation of a first one has no further interpretations."""
        try:
            found = readings(path)
        except TooMuchWork:
            return
        self.assertLessEqual(len(found), MAX_READINGS)
        for reading in found:
            self.assertTrue(reading.startswith("/"), reading)
            self.assertLessEqual(set(readings(reading)), set(found))


class PatternTests(SynchronousTestCase):
    """The paths that a pattern matches, exactly and broadly."""

    # pattern: (paths that match, paths that match only broadly, paths that do not match)
    CASES: dict[str, tuple[list[str], list[str], list[str]]] = {
        "/": (["/"], [], ["/a", "*", "//"]),
        "/a": (["/a"], ["/a/", "/A"], ["/", "/ab", "/a/b", "/b/a"]),
        "/a/": (["/a/"], ["/a", "/A/"], ["/a/b", "/ab"]),
        "/a.c": (["/a.c"], ["/A.C"], ["/abc"]),
        "/*": (["/", "/a", "/a.b"], ["/a/"], ["/a/b"]),
        "/a/*/c": (["/a/b/c", "/a//c"], ["/a/B/C/"], ["/a/c", "/a/b/b/c"]),
        "/a*": (["/a", "/abc"], ["/ABC", "/ab/"], ["/ba", "/ab/c"]),
        "/*.js": (["/.js", "/a.js", "/a.js.js"], ["/a.JS"], ["/a.jsx", "/ajs", "/b/a.js"]),
        "/a*b*c": (["/abc", "/a-b-c", "/abcbc", "/aabbcc"], ["/ABC"], ["/ab", "/acb", "/ab/c", "/abcd"]),
        "/a*b*b*c": (["/abbc", "/axbxbxc"], [], ["/abc"]),
        "/a*a": (["/aa", "/aba"], [], ["/a", "/ab"]),
        "/**": (["/", "/a", "/a/b/", "/a\nb"], [], ["*"]),
        "/a/**": (["/a", "/a/", "/a/b/c"], ["/A/b"], ["/ab", "/b/a"]),
        "/**/a": (["/a", "/b/a", "/b/c/a", "/a/a"], ["/b/a/"], ["/ab", "/a/b", "/ba"]),
        "/a/**/b": (["/a/b", "/a/c/b", "/a/c/d/b", "/a/b/b"], ["/a/c/B"], ["/a", "/ab", "/a/cb", "/a/b/c"]),
        "/**/a/**": (["/a", "/b/a/c", "/ab/a", "/a/"], ["/b/A"], ["/ab", "/b/ac/d"]),
        "/**/a/**/b": (["/a/b", "/ax/a/b", "/x/a/y/b"], [], ["/ax/b", "/b/a"]),
        "/**/a*/b/**/c": (["/ax/b/c", "/ax/ay/b/c", "/a/b/x/c"], [], ["/ax/c", "/c/ax/b"]),
        "/**/*/a": (["/b/a", "/a/a", "/c/b/a"], [], ["/a"]),
        "/a/**/**/b": (["/a/b", "/a/c/b"], [], ["/a"]),
        "/caf%C3%A9/a%20b": (["/café/a b"], [], ["/cafe/a b"]),
        "/g%2fp": (["/g%2Fp"], [], ["/g/p"]),
        "/%2a*": (["/*", "/*a"], [], ["/a"]),
        "/$a(b)+": (["/$a(b)+"], [], ["/$abb"]),
    }

    def test_cases(self) -> None:
        for pattern, (both, broadly, neither) in self.CASES.items():
            exact, broad = compile_path(pattern, broad=False), compile_path(pattern, broad=True)
            for path in both + broadly + neither:
                with self.subTest(pattern, path=path):
                    self.assertEqual(exact.fullmatch(path) is not None, path in both)
                    self.assertEqual(broad.fullmatch(path) is not None, path not in neither)

    def test_steps(self) -> None:
        """A possible match costs work in proportion to the path's length; another prefix costs almost none."""
        long = "/api/" + "x" * 1000
        for pattern, broad, path, is_expensive in (
            ("/api/**", False, long, True),
            ("/api/**", False, long.upper(), False),
            ("/api/**", True, long.upper(), True),
            ("/API/**", True, long, True),
            ("/apx/**", True, long, False),
            ("/**/export", False, long, True),
            ("/apx/**", True, long + "\u0130", True),
            ("/a/**", False, "/a", True),
        ):
            with self.subTest(pattern, broad=broad, path=path[:8]):
                steps = compile_path(pattern, broad=broad).steps(path, path.lower())
                self.assertEqual(steps > 300 + 10 * len(path), is_expensive)

    REJECTED = {
        "": "must start with /",
        "a": "must start with /",
        "**": "must start with /",
        "*": "must start with /",
        "/a?b": "only the path",
        "/a#b": "only the path",
        "/100%": "%25",
        "/%2*": "%25",
        "/a//b": "empty segments",
        "//": "empty segments",
        "/a/../b": "empty segments",
        "/a/%2e": "empty segments",
        "/a**": "**",
        "/**.js": "**",
        "/***": "**",
    }

    def test_rejected(self) -> None:
        for pattern, word in self.REJECTED.items():
            for broad in (False, True):
                with self.subTest(pattern, broad=broad):
                    error = self.assertRaises(ValueError, compile_path, pattern, broad=broad)
                    self.assertIn(word, str(error))

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from(["**", "*", "a", "b", "a*", "*b", "a*b", "*a*b*"]), min_size=1, max_size=5),
        st.lists(st.text("ab", max_size=3), min_size=1, max_size=6),
    )
    def test_agrees_with_a_backtracking_matcher(self, pattern: list[str], path: list[str]) -> None:
        """Matching wildcards without backtracking loses no match."""
        compiled = compile_path("/" + "/".join(pattern), broad=False)
        self.assertEqual(compiled.fullmatch("/" + "/".join(path)) is not None, slow_match(pattern, path))

    @given(PLAIN_PATHS)
    def test_path_matches_itself(self, path: str) -> None:
        self.assertTrue(compile_path(path, broad=False).fullmatch(path))
        self.assertTrue(compile_path(path, broad=True).fullmatch(path.swapcase()))

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6))
    def test_any_path_can_be_written_as_a_pattern(self, segment: str) -> None:
        path = "/x" + quote(segment, safe="")
        self.assertTrue(compile_path(path, broad=False).fullmatch(canonical(path)))


def slow_match(pattern: list[str], path: list[str]) -> bool:
    """A matcher that tries every alternative."""
    if not pattern:
        return not path
    first, *rest = pattern
    if first == "**":
        return any(slow_match(rest, path[skip:]) for skip in range(len(path) + 1))
    expression = first.replace("*", ".*")
    return bool(path) and re.fullmatch(expression, path[0]) is not None and slow_match(rest, path[1:])
