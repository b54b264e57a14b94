"""Tests for L{egress.console.new_rule_view}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.new_rule_view import Choices, Draft, note_of, obstacle, place_for, proposed, request_kind
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.proposal import Methods, Scope
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse

POLICY = parse(
    'version = 1\n[[rules]]\nname = "no-admin"\naction = "deny"\nreason = "no"\npaths = ["/admin/**"]\n'
    '[[rules]]\nname = "team"\naction = "deny"\nreason = "no"\nheaders = { "X-Team" = "b" }\n'
    '[[rules]]\nname = "reads"\naction = "allow"\nmethods = ["GET"]\n'
)


def line(url: str = "https://a.test/admin/users", method: str = "GET", **more: Any) -> AuditLine:
    values = {"verdict": "deny", "outcome": "denied", "ruleId": "no-admin", **more}
    (found,) = read(audit_line(method, url, **values))
    return found


def choices(given: AuditLine, action: str = "", scope: str = "", methods: str = "") -> Choices:
    return Choices.of(given, action, scope, methods, this_client=False)


def draft(given: AuditLine, text: str | None = None, recorded: tuple[AuditLine, ...] = ()) -> Draft:
    if text is None:
        text = proposed(given, choices(given), POLICY, "a note")
    return Draft.of(POLICY, given, text, recorded)


class ChoicesTests(SynchronousTestCase):
    """The choices for a request."""

    def test_narrowest(self) -> None:
        found = choices(line(identity="ann"))
        self.assertEqual(
            [(one.value, one.text) for one in found.scopes],
            [
                ("path", "only this path: /admin/users"),
                ("below", "the paths below its parent: /admin/**"),
                ("host", "all paths of the host"),
            ],
        )
        self.assertEqual([one.text for one in found.methods], ["GET", "GET, HEAD and OPTIONS", "all methods"])
        self.assertEqual((found.chosen.action, found.chosen.scope, found.client), ("allow", Scope.PATH, "ann"))

    def test_chosen(self) -> None:
        found = choices(line(), "ask", "host", "all")
        self.assertEqual((found.chosen.action, found.chosen.scope), ("ask", Scope.HOST))
        self.assertIs(found.chosen.methods, Methods.ALL)
        unknown = choices(line(), "x", "similar", "x").chosen
        self.assertEqual((unknown.action, unknown.scope, unknown.methods), ("allow", Scope.PATH, Methods.SAME))

    def test_allowed_request(self) -> None:
        """For a request that was allowed, a denial is proposed; observe mode does not count."""
        self.assertEqual(choices(line(verdict="allow", outcome="forwarded")).chosen.action, "deny")
        observed = line(verdict="allow", outcome="forwarded", observed="deny")
        self.assertEqual((choices(observed).chosen.action, request_kind(observed)), ("allow", "bad"))

    def test_long_path(self) -> None:
        found = choices(line("https://a.test/" + "a" * 200))
        self.assertEqual(len(found.scopes[0].text), 83)


class DraftTests(SynchronousTestCase):
    """The examination of a text."""

    def test_effect(self) -> None:
        found = draft(line(), recorded=(line(), line(), line("https://a.test/admin/x")))
        self.assertEqual(found.effect, "With this rule, this request is allowed.")
        self.assertEqual(found.place, "p.toml:3, before the rule no-admin")
        self.assertTrue(found.works and found.can_be_saved)
        assert found.difference is not None
        self.assertEqual((found.difference.changed, found.difference.requests), (2, 3))
        self.assertIn("+# a note", [one.text for one in found.diff.lines])

    def test_no_effect(self) -> None:
        found = draft(line(), '[[rules]]\nname = "x"\naction = "allow"\nhosts = ["b.test"]\n')
        self.assertEqual((found.works, found.can_be_saved), (False, True))
        self.assertEqual(found.effect, "The rule does not decide on this request: no-admin still does.")

    def test_invalid(self) -> None:
        found = draft(line(), "[[rules]]\n")
        self.assertIn("'action' is missing", found.error)
        self.assertFalse(found.can_be_saved)

    def test_problems(self) -> None:
        found = draft(line(), '[[rules]]\nname = "x"\naction = "deny"\nreason = "no"\n')
        self.assertEqual(len(found.problems), 3)
        self.assertFalse(found.can_be_saved)

    def test_unknown_data(self) -> None:
        found = draft(line(), '[[rules]]\nname = "x"\naction = "allow"\nheaders = { "X-A" = "b" }\n')
        self.assertIn("depends on more than its record", found.effect)

    def test_no_records(self) -> None:
        self.assertIsNone(draft(line()).difference)


class PlaceTests(SynchronousTestCase):
    """The place of a new rule."""

    def test_places(self) -> None:
        for given, expected in (
            (line(), "no-admin"),
            (line(ruleId="reads"), "no-admin"),
            # A record has no header fields: the recorded rule decided by them.
            (line("https://a.test/x", ruleId="team"), "team"),
            (line("https://a.test/x", ruleId="gone"), "reads"),
            (line("https://a.test/x", "POST", ruleId="default"), None),
        ):
            self.assertEqual(place_for(POLICY, given), expected, given)


class TextTests(SynchronousTestCase):
    """Texts about the request."""

    def test_obstacle(self) -> None:
        self.assertEqual(obstacle(line()), "")
        self.assertEqual(obstacle(line(verdict="allow", outcome="forwarded")), "")
        found = obstacle(line(verdict="deny", outcome="address-forbidden", reason="it is a loopback address"))
        self.assertIn("it is a loopback address (address-forbidden). A rule does not change that.", found)

    def test_note(self) -> None:
        self.assertEqual(note_of("r1", 0.0), "Added in the web console on 1970-01-01, from request r1.")
        self.assertEqual(note_of("r1", 0.0, "ann"), "Added in the web console on 1970-01-01 by ann, from request r1.")
