"""Tests for L{egress.policy.learn.insertion}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.insertion import MAX_TEXT, Edited, InsertionFault, diff_of, insert_rules
from egress.policy.parse.load import load_policy
from tests.policy.policies import parse

POLICY = """# The policy of the team.
version = 1   # the format

[[rules]]
name = "first"
action = "allow"
hosts = ["a.test"]

# Nobody deletes.
# Really.
[[rules]]
name = "no-deletes"
action = "deny"
reason = "no"
methods = ["DELETE"]
[rules.query]
"x" = "[[rules]]"

# A test.
[[test]]
request = "DELETE http://a.test/"
expect = "allow"
"""
NEW = '[[rules]]\nname = "new"\naction = "allow"\nhosts = ["b.test"]\n'


class InsertionTests(SynchronousTestCase):
    """Rules are inserted at the right place, and nothing else changes."""

    def inserted(self, text: str, before: str | None, new: str = NEW) -> Edited:
        """Insert a rule; the rest of the text stays as it is."""
        edited = insert_rules(parse(text), new, before)
        removed = [line for line in edited.diff() if line.startswith("-") and not line.startswith("---")]
        self.assertEqual((removed, edited.before.text), ([], text))
        self.assertTrue(edited.after.splitlines()[edited.line - 1].startswith(("[[", "#")))
        return edited

    def ids(self, edited: Edited) -> list[str]:
        return [rule.rule_id for rule in edited.rules.rules]

    def test_before_a_rule(self) -> None:
        """The comments directly above a rule stay with it."""
        edited = self.inserted(POLICY, "no-deletes")
        self.assertEqual(self.ids(edited), ["first", "new", "no-deletes"])
        self.assertEqual(edited.after, POLICY.replace("# Nobody deletes", f"{NEW}\n# Nobody deletes"))
        self.assertEqual((edited.names, edited.line, edited.where), (("new",), 9, "p.toml"))
        diff = edited.diff()
        self.assertEqual(diff[:2], ["--- p.toml", "+++ p.toml (new)"])
        self.assertEqual(
            sorted(line for line in diff[2:] if line[0] == "+"),
            sorted(["+", *(f"+{line}" for line in NEW.splitlines())]),
        )

    def test_after_the_last_rule(self) -> None:
        """If no rule decided, the new rule comes after the last one, before what follows it."""
        for before in (None, "default", "unknown"):
            edited = self.inserted(POLICY, before)
            self.assertEqual(edited.after, POLICY.replace("# A test", f"{NEW}\n# A test"))
        self.assertEqual(self.ids(edited), ["first", "no-deletes", "new"])

    def test_at_the_end(self) -> None:
        for text, expected in (
            ("version = 1", f"version = 1\n\n{NEW}"),
            ("version = 1\n", f"version = 1\n\n{NEW}"),
            ('version = 1\n[[rules]]\naction = "allow"\n\n', f'version = 1\n[[rules]]\naction = "allow"\n\n{NEW}'),
            ("version = 1\n[[rules]]\naction = 'deny'\nreason = '''\nx'''\n".replace("\nx", "x"), None),
        ):
            with self.subTest(text):
                edited = self.inserted(text, None)
                self.assertEqual(self.ids(edited)[-1], "new")
                if expected is not None:
                    self.assertEqual(edited.after, expected)

    def test_line_that_looks_like_a_table(self) -> None:
        text = (
            "version = 1\n[[rules]]\naction = \"allow\"\nheaders = { \"x\" = [\"a\", '''\n[b]\n'''] }\n"
            '[[test]]\nrequest = "GET http://a/"\nexpect = "deny"\n'
        )
        edited = self.inserted(text, None)
        self.assertEqual((self.ids(edited), edited.after.endswith(NEW)), (["rule-1", "new"], True))

    def test_line_ends(self) -> None:
        text = POLICY.replace("\n", "\r\n")
        edited = self.inserted(text, "no-deletes")
        self.assertEqual(edited.after.count("\n"), edited.after.count("\r\n"))
        edited = self.inserted(POLICY, "first", NEW.replace("\n", "\r\n"))
        self.assertNotIn("\r", edited.after)

    def test_several_rules_and_a_test(self) -> None:
        new = f'\n# two\n{NEW}\n[[rules]]\naction = "deny"\nreason = "x"\n'
        new += '[[test]]\nrequest = "GET http://b.test/"\nexpect = "allow"\n'
        edited = self.inserted(POLICY, "no-deletes", new)
        self.assertEqual(self.ids(edited), ["first", "new", "rule-3", "no-deletes"])
        self.assertEqual((edited.names, len(edited.rules.cases)), (("new", "rule-3"), 2))

    def test_rules_without_names(self) -> None:
        """The ids of the following rules change, not their order."""
        text = (
            'version = 1\n[[rules]]\naction = "deny"\nreason = "x"\nhosts = ["x.test"]\n[[rules]]\naction = "allow"\n'
        )
        edited = self.inserted(text, "rule-2", '[[rules]]\naction = "ask"\n')
        self.assertEqual([rule.verdict.value for rule in edited.rules.rules], ["deny", "ask", "allow"])
        self.assertEqual(edited.names, ("rule-2",))

    def test_included_file(self) -> None:
        """The rule is inserted into the file of the deciding rule."""
        directory = Path(self.mktemp())
        directory.mkdir()
        root, part = directory / "root.toml", directory / "part.toml"
        root.write_text('version = 1\ninclude = ["part.toml"]\n[[rules]]\nname = "b"\naction = "allow"\n', "utf-8")
        part.write_text('version = 1\n[[rules]]\nname = "a"\naction = "deny"\nreason = "no"\n', "utf-8")
        policy = load_policy(root)
        edited = insert_rules(policy, NEW, "a")
        self.assertEqual((edited.where, self.ids(edited)), (str(part), ["new", "a", "b"]))
        edited = insert_rules(policy, NEW, None)
        self.assertEqual((edited.where, self.ids(edited)), (str(root), ["a", "b", "new"]))

    def test_refused(self) -> None:
        for new, text, expected in (
            ("", POLICY, "write at least one rule, which begins with [[rules]]"),
            ("[[rules]", POLICY, "the rule is not TOML: "),
            ('default = "allow"\n' + NEW, POLICY, "'default' is not part of a rule"),
            (NEW + '[groups.hosts]\nx = ["a"]\n', POLICY, "'groups' is not part of a rule"),
            ('rules = [{ action = "allow" }]', POLICY, "begin the rule with [[rules]]"),
            ("rules = 1", POLICY, "write at least one rule"),
            (NEW.replace("allow", "alow"), POLICY, "p.toml:11: rule new: 'action' must be"),
            (NEW.replace("new", "first"), POLICY, "two rules have the name 'first'"),
            ("#" * (MAX_TEXT + 1), POLICY, "write at most 65,536 characters"),
            (NEW, "version = 1\nrules = [{ action = 'allow' }]\n", "p.toml"),
        ):
            with self.subTest(new[:40], text=text[:40]):
                error = self.assertRaises(InsertionFault, insert_rules, parse(text), new, "no-deletes")
                self.assertIn(expected, str(error))

    def test_problems(self) -> None:
        """Only new problems are reported."""
        policy = parse(POLICY)
        self.assertEqual(insert_rules(policy, NEW, "no-deletes").problems(policy), [])
        everything = '[[rules]]\nname = "all"\naction = "deny"\nreason = "no"\n'
        edited = insert_rules(policy, everything, "first")
        first, second, test = edited.problems(policy)
        self.assertEqual(first, "the rule first never decides: all matches first")
        self.assertEqual(second, "the rule no-deletes never decides: all matches first")
        self.assertTrue(test.startswith("the test 'DELETE http://a.test/' fails: "), test)
        # The new rule itself, and no problem that the policy had before.
        again = insert_rules(edited.rules, NEW, None)
        self.assertEqual(again.problems(edited.rules), ["the rule new never decides: all matches first"])

    def test_diff(self) -> None:
        self.assertEqual(diff_of("a\n", "a\n", "x"), [])
        self.assertEqual(diff_of("a\r\n", "b\r\n", "x")[2:], ["@@ -1 +1 @@", "-a", "+b"])
