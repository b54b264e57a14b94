"""Tests for L{egress.policy.parse.condition_parser}."""

from __future__ import annotations

from tests.policy.policies import PolicyTestCase, parse


class ConditionTableTests(PolicyTestCase):
    """The parsing of conditions."""

    # The content of the second rule of a document, and the whole error after the name of the file.
    RULES = {
        "action = 'allow'\nquery = {}": "6: rule 2: 'query' is empty and would have no effect; remove it",
        "action = 'allow'\nquery = 1": "6: rule 2: 'query' must be a table",
        "action = 'allow'\nquery = {a = 1}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\nquery = {a = []}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\nquery = {a = ['x', 1]}": (
            "6: rule 2: query 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\n[rules.query]\na = 're:['": (
            "7: rule 2: query 'a', 're:[': is not a regular expression of RE2: missing ]: ["
        ),
        "action = 'allow'\nheaders = {'a b' = 'x'}": "6: rule 2: headers 'a b': is not the name of a header field",
        "action = 'allow'\nheaders = {a = {}}": (
            "6: rule 2: headers 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\njson = {'a[' = 'x'}": (
            "6: rule 2: json 'a[': is not a JMESPath expression: Invalid jmespath expression: Incomplete "
            'expression: "a[" ^'
        ),
        "action = 'allow'\njson = {a = []}": "6: rule 2: json 'a': is empty and would match nothing",
        "action = 'allow'\njson = {a = {}}": (
            "6: rule 2: json 'a': write a string, a number, true or false, or a list of these"
        ),
        "action = 'allow'\njson = {a = 're:('}": (
            "6: rule 2: json 'a': is not a regular expression of RE2: missing ): ("
        ),
        "action = 'allow'\nform = {}": "6: rule 2: 'form' is empty and would have no effect; remove it",
        "action = 'allow'\nfiles = {a = 7}": (
            "6: rule 2: files 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\nfile_types = {a = []}": (
            "6: rule 2: file_types 'a': write a pattern, a list of patterns, true (present) or false (absent)"
        ),
        "action = 'allow'\nmin_body = 2\nmax_body = 1": (
            "6: rule 2: 'min_body' is greater than 'max_body', so nothing would match; exchange them"
        ),
        "action = 'allow'\nmax_body = '1 parsec'": (
            '6: rule 2: \'max_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nmin_body = -1": (
            '6: rule 2: \'min_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nmin_body = true": (
            '6: rule 2: \'min_body\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nclients = ['']": "6: rule 2: clients '': write a name, an address or a range",
        "action = 'allow'\nclients = ['10.0.0.1/8']": (
            "6: rule 2: clients '10.0.0.1/8': 10.0.0.1/8 has host bits set; write an address, or a range as "
            "in 10.0.0.0/8"
        ),
        "action = 'allow'\nclients = [1]": "6: rule 2: each of its clients must be a string",
        "action = 'allow'\ntimes = ['always']": (
            '6: rule 2: times \'always\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or '
            '"22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['mon 25:00-26:00']": (
            "6: rule 2: times 'mon 25:00-26:00': write days, hours or both, as in \"mon-fri 08:00-18:00\", "
            '"sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['']": (
            '6: rule 2: times \'\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['mon-fry']": (
            '6: rule 2: times \'mon-fry\': write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" '
            'or "22:00-06:00"'
        ),
        "action = 'allow'\ntimes = ['08:00-08:00']": (
            "6: rule 2: times '08:00-08:00': its end equals its start; remove the hours for whole days"
        ),
        "action = 'allow'\ntimes = ['08:00-24:01']": "6: rule 2: times '08:00-24:01': a day ends at 24:00",
        "action = 'allow'\naddresses = ['privat']": (
            "6: rule 2: addresses 'privat': is neither a class of addresses nor a range; did you mean 'private'?"
        ),
        "action = 'allow'\naddresses = ['10.0.0.1/8']": (
            "6: rule 2: addresses '10.0.0.1/8': 10.0.0.1/8 has host bits set; write a range as in 10.0.0.0/8"
        ),
    }

    def test_rejected(self) -> None:
        self.refuses_rules(self.RULES)

    def test_content_comes_last(self) -> None:
        """Conditions on content come last, so that content is requested only if all others match."""
        rule = """version = 1
[[rules]]
action = "allow"
max_body = "1KiB"
json = { a = [1, "x"] }
min_body = 1
file_types = { a = "x" }
files = { a = false }
form = { a = ["x", "y"], b = true }
query = { a = "x" }
headers = { X-A = ["x", "y"] }
addresses = ["public", "10.0.0.0/8"]
times = ["mon"]
clients = ["a"]
"""
        forms = ["form", "files", "file_types"]
        keys = [condition.key for condition in parse(rule).rules[0].conditions]
        self.assertEqual(
            keys, ["clients", "times", "addresses", "query", "headers", "max_body", "min_body", *forms, "json"]
        )
