"""Tests for L{egress.policy.query}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.holds import Holds
from egress.policy.patterns import compile_pattern
from egress.policy.query import MAX_PARAMETERS, has_parameter, parameter_matches, read_query

NO, MAYBE, YES = Holds.NO, Holds.MAYBE, Holds.YES


class QueryTests(SynchronousTestCase):
    """Parameters, as servers may read them."""

    # What stands after the path, and whether "role" is "admin", and whether it is there.
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
        # Which one counts, or both, joined.
        "?role=user&role=admin": (MAYBE, YES),
        "?role=admin&role=admin": (YES, YES),
        "?role=admin&role=%61dmin": (YES, YES),
        # Names that some servers take for this one.
        "?Role=admin": (MAYBE, MAYBE),
        "?role[]=admin": (MAYBE, MAYBE),
        "?role[0]=admin": (MAYBE, MAYBE),
        "?+role=admin": (MAYBE, MAYBE),
        "?role%00=admin": (MAYBE, MAYBE),
        "?role=admin&Role=admin": (MAYBE, YES),
        # Some separate by semicolons, too.
        "?a=b;role=admin": (MAYBE, MAYBE),
        "?role=admin;a=b": (MAYBE, YES),
        "?role=admin;role=admin": (MAYBE, YES),
        # Decoded before they are separated.
        "?a=b%26role=admin": (MAYBE, MAYBE),
        "?a=b%3Brole%3dadmin": (MAYBE, MAYBE),
        "?role%3Dadmin": (MAYBE, MAYBE),
        "?role=admin%26": (MAYBE, YES),
        "?role=100%25": (NO, YES),
        # Full-width letters.
        "?%EF%BD%92ole=admin": (MAYBE, MAYBE),
        "?role=%EF%BD%81dmin": (MAYBE, YES),
        # Decoded twice.
        "?role=%2561dmin": (MAYBE, YES),
        "?ro%256ce=admin": (MAYBE, MAYBE),
        "?role=" + "%25" * 1 + "25252561dmin": (MAYBE, YES),
        # What nobody can tell.
        "?role=%zz": (MAYBE, YES),
        "?role=%ff": (MAYBE, YES),
        "?role=a%00": (MAYBE, YES),
        "?%ff=admin": (MAYBE, MAYBE),
        "?%ff=user": (NO, MAYBE),
        "%3frole=admin": (MAYBE, MAYBE),
        "%253Frole=admin": (MAYBE, MAYBE),
        "?a=b#role=admin": (MAYBE, MAYBE),
        "?" + "a&" * MAX_PARAMETERS + "role=admin": (MAYBE, MAYBE),
        # A server that takes the first, one that takes the last, and what each says of a question mark.
        "?a?role=admin": (NO, NO),
    }

    def test_cases(self) -> None:
        patterns = (compile_pattern("admin", broad=False),)
        for text, expected in self.CASES.items():
            with self.subTest(text[:40]):
                query = read_query(f"/x{text}")
                self.assertEqual((parameter_matches(query, "role", patterns), has_parameter(query, "role")), expected)

    def test_blanks(self) -> None:
        """A plus is a blank to most servers, and to some a plus."""
        for pattern, expected in (("a b", MAYBE), ("a+b", MAYBE), ("a?b", NO), ("a*b", YES)):
            compiled = (compile_pattern(pattern, broad=False),)
            self.assertIs(parameter_matches(read_query("/?q=a+b"), "q", compiled), expected, pattern)
        self.assertIs(parameter_matches(read_query("/?q=a%20b"), "q", (compile_pattern("a b", broad=False),)), YES)

    def test_joined(self) -> None:
        """Some servers join what is repeated."""
        for pattern in ("a,b", "a, b", "*,*"):
            compiled = (compile_pattern(pattern, broad=True),)
            self.assertIs(parameter_matches(read_query("/?q=a&q=b"), "q", compiled), MAYBE, pattern)
        self.assertIs(parameter_matches(read_query("/?q=a&q=b"), "q", (compile_pattern("x", broad=True),)), NO)

    def test_php_names(self) -> None:
        for name in ("a.b", "a b", "a_b", "A_B"):
            self.assertIsNot(has_parameter(read_query(f"/?{name.replace(' ', '%20')}=1"), "a_b"), NO, name)

    @given(st.text("role=admin&;%+250AaR[]", max_size=30))
    def test_never_sure_of_both(self, text: str) -> None:
        """Nothing is surely the value, and surely another."""
        query = read_query(f"/?{text}")
        wanted = tuple(compile_pattern(pattern, broad=False) for pattern in ("admin", "a*"))
        found = parameter_matches(query, "role", wanted)
        if has_parameter(query, "role") is NO:
            self.assertIs(found, NO)
        if found is YES:
            self.assertIs(has_parameter(query, "role"), YES)
