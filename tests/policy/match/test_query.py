"""Tests for L{egress.policy.match.query}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.patterns import compile_pattern
from egress.policy.match.query import MAX_PARAMETERS, Name, Query, has_parameter, parameter_matches
from egress.policy.match.query import read_query as read_query_with
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

NO, MAYBE, YES = Match.NO, Match.MAYBE, Match.YES


def read_query(path: str) -> Query | None:
    return read_query_with(path, WorkBudget())


def matches(query: Query | None, name: str, *patterns: str, broad: bool = False) -> Match:
    compiled = tuple(compile_pattern(pattern, broad=broad) for pattern in patterns)
    return parameter_matches(query, name, compiled, WorkBudget())


class QueryTests(SynchronousTestCase):
    """Query parameters in the ways in which servers interpret them."""

    # The text after the path; whether "role" is "admin", and whether it is present.
    CASES = {
        "": (NO, NO),
        "?": (NO, NO),
        "?role=admin": (YES, YES),
        "?a=b&role=admin": (YES, YES),
        "?role=%61dmin": (YES, YES),
        "?r%6fle=admin": (YES, YES),
        "?role=user": (NO, YES),
        "?role": (NO, YES),
        "?role=": (NO, YES),
        "?Role=user": (NO, MAYBE),
        "?other=admin": (NO, NO),
        # Repeated parameters: the first, the last, or all joined.
        "?role=user&role=admin": (MAYBE, YES),
        "?role=admin&role=admin": (YES, YES),
        "?role=admin&role=%61dmin": (YES, YES),
        # Names that some servers treat as this one.
        "?Role=admin": (MAYBE, MAYBE),
        "?role[]=admin": (MAYBE, MAYBE),
        "?role[0]=admin": (MAYBE, MAYBE),
        "?+role=admin": (MAYBE, MAYBE),
        "?role%00=admin": (MAYBE, MAYBE),
        "?role=admin&Role=admin": (MAYBE, YES),
        # Some servers also split at semicolons.
        "?a=b;role=admin": (MAYBE, MAYBE),
        "?role=admin;a=b": (MAYBE, YES),
        "?role=admin;role=admin": (MAYBE, YES),
        # Decoded before splitting.
        "?a=b%26role=admin": (MAYBE, MAYBE),
        "?a=b%3Brole%3dadmin": (MAYBE, MAYBE),
        "?role%3Dadmin": (MAYBE, MAYBE),
        "?role=admin%26": (MAYBE, YES),
        "?role=100%25": (NO, YES),
        # Full-width letters.
        "?%EF%BD%92ole=admin": (MAYBE, MAYBE),
        "?role=%EF%BD%81dmin": (MAYBE, YES),
        # Double decoding.
        "?role=%2561dmin": (MAYBE, YES),
        "?ro%256ce=admin": (MAYBE, MAYBE),
        "?role=" + "%25" * 1 + "25252561dmin": (MAYBE, YES),
        # Ambiguous queries.
        "?role=%zz": (MAYBE, YES),
        "?role=%ff": (MAYBE, YES),
        "?role=a%00": (MAYBE, YES),
        "?%ff=admin": (MAYBE, MAYBE),
        "?%ff=user": (NO, MAYBE),
        "%3frole=admin": (MAYBE, MAYBE),
        "%253Frole=admin": (MAYBE, MAYBE),
        "?a=b#role=admin": (MAYBE, MAYBE),
        # A second question mark belongs to the query.
        "?a?role=admin": (NO, NO),
    }

    def test_cases(self) -> None:
        for text, expected in self.CASES.items():
            with self.subTest(text[:40]):
                query = read_query(f"/x{text}")
                self.assertEqual((matches(query, "role", "admin"), has_parameter(query, "role")), expected)

    def test_plus(self) -> None:
        """Most servers decode a plus as a space, some do not."""
        for pattern, expected in (("a b", MAYBE), ("a+b", MAYBE), ("a?b", NO), ("a*b", YES)):
            self.assertIs(matches(read_query("/?q=a+b"), "q", pattern), expected, pattern)
        self.assertIs(matches(read_query("/?q=a%20b"), "q", "a b"), YES)

    def test_repeated_parameters_joined(self) -> None:
        """Some servers join repeated parameters."""
        for pattern in ("a,b", "a, b", "*,*"):
            self.assertIs(matches(read_query("/?q=a&q=b"), "q", pattern, broad=True), MAYBE, pattern)
        self.assertIs(matches(read_query("/?q=a&q=b"), "q", "x", broad=True), NO)

    def test_php_names(self) -> None:
        for name in ("a.b", "a b", "a_b", "A_B", "a[b", "a.b[c]", "a_b[c]", " a.b"):
            self.assertIsNot(has_parameter(read_query(f"/?{name.replace(' ', '%20')}=1"), "a_b"), NO, name)

    # A name as sent; the names that some server treats as equal, and names that no server does.
    NAMES: tuple[tuple[str, list[str], list[str]], ...] = (
        ("debug", ["debug", "DEBUG", "debug[x]"], ["debu", "bug", "x", "debug_x"]),
        # qs of Express, and Rack.
        ("[debug]", ["debug"], ["x"]),
        ("[debug", ["debug"], []),
        ("[[debug", ["debug"], []),
        ("debug]", ["debug"], []),
        ("%5Bdebug%5D", ["debug"], []),
        ("[debug][x]", ["debug", "debug[x]"], ["x"]),
        ("[Debug][]", ["debug"], []),
        ("debug[]", ["debug"], []),
        ("debug[0]", ["debug"], ["0"]),
        ("debug[a][b]", ["debug", "debug[a]", "debug.a.b"], ["a", "b", "debug[b]"]),
        # PHP.
        ("user[id", ["user_id", "user", "user.id", "user[id]"], ["id"]),
        ("user.id", ["user_id", "user[id]"], ["id"]),
        ("user id", ["user_id"], ["user"]),
        ("user.id[x]", ["user_id"], ["id"]),
        ("user_id", ["user_id", "user.id", "user[id]"], ["user", "id"]),
        # qs makes user[id] of these two parameters, so the outer name can denote its member.
        ("user", ["user[id]"], ["user_id"]),
        # Spring's fields for a parameter that was not sent.
        ("_debug", ["debug"], []),
        ("!debug", ["debug"], []),
        # Libraries that merge objects.
        ("__proto__[debug]", ["debug"], ["x"]),
        ("constructor[prototype][debug]", ["debug"], []),
        ("constructor[x]", ["constructor"], ["x"]),
        ("__proto__", ["__proto__"], ["x"]),
        # Others.
        ("debug.x", ["debug"], ["x"]),
        (" debug ", ["debug"], []),
        ("%EF%BC%BBdebug%EF%BC%BD", ["debug"], []),
        ("", [], ["debug"]),
        ("[]", [], ["debug"]),
        ("[].", [], ["debug"]),
    )

    def test_names(self) -> None:
        """Only the plain name certainly is the name."""
        for sent, names, others in self.NAMES:
            query = read_query(f"/?{sent}=1")
            for name in names:
                with self.subTest(sent, name=name):
                    self.assertIs(has_parameter(query, name), YES if sent == name else MAYBE)
                    self.assertIs(matches(query, name, "1"), YES if sent == name else MAYBE)
            for name in others:
                with self.subTest(sent, name=name):
                    self.assertIs(has_parameter(query, name), NO)

    def test_wanted_names(self) -> None:
        """A policy can use any name."""
        for name in ("[]", "", ".", "a[", "[a]"):
            self.assertIs(has_parameter(read_query("/?b=1"), name), NO, name)
        self.assertTrue(Name.of("[a]").may_be(Name.of("A")))

    def test_work_budget(self) -> None:
        """A query with too many parameters, or that takes too long, is not parsed."""
        for query, word in (
            ("a&" * MAX_PARAMETERS + "role=admin", f"more than {MAX_PARAMETERS} parameters"),
            ("%61+=%25&" * 499, "4,491 characters"),
            ("%61%62%63+=%25;" * 499, "7,485 characters"),
        ):
            self.assertIn(word, self.assertRaises(TooMuchWork, read_query, f"/?{query}").cause)
        parameters = read_query("/?q=" + "%61" * 5000)
        error = self.assertRaises(TooMuchWork, parameter_matches, parameters, "q", (str.isdigit,), WorkBudget(100_000))
        self.assertIn("values to compare", error.cause)
        self.assertNotIn("aaa", error.cause)
        self.assertIsNotNone(read_query("/?" + "a=b&" * 400))
        self.assertIs(matches(read_query("/?q=" + "%d0%bf" * 500), "q", "*"), YES)

    @given(st.text("role=admin&;%+250AaR[]", max_size=30))
    def test_never_sure_of_both(self, text: str) -> None:
        """If the value certainly matches, the parameter certainly is present."""
        query = read_query(f"/?{text}")
        found = matches(query, "role", "admin", "a*")
        if has_parameter(query, "role") is NO:
            self.assertIs(found, NO)
        if found is YES:
            self.assertIs(has_parameter(query, "role"), YES)
