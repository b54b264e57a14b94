"""Tests for L{egress.console.policy_reader}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from egress.admin.api import Unanswered
from egress.console import policy_reader as module
from egress.console.policy_reader import PolicyReader, PolicyState, changed_policy, line_of
from egress.console.try_view import decided
from egress.model.explanation import ExplainRequest
from egress.policy.loaded_policy import LoadedPolicy
from egress.policy.parse.load import load_policy
from egress.policy.rules import RuleSet
from tests.console.browser import NOW, record
from tests.console.policies import POLICY, PolicyConsoleTestCase
from tests.grpc.descriptor_sets import descriptor_set, framed

# A form contains text: these messages are valid UTF-8.
MESSAGES = [framed(name=name).decode("utf-8") for name in ("alice", "bob")]


class PolicyReaderTests(PolicyConsoleTestCase):
    """The policy in use, and the files."""

    def state(self, reader: PolicyReader) -> PolicyState | None:
        return self.successResultOf(Deferred.fromCoroutine(reader.state()))

    def test_same(self) -> None:
        state = self.state(PolicyReader(self.console().sources))
        assert state is not None and self.rules is not None
        self.assertEqual((state.rules, state.changed, state.agreeing), (self.rules, None, 1))
        self.assertEqual(state.loaded, LoadedPolicy(self.rules.name, self.rules.digest, NOW - 7200))

    def test_texts_are_read_once(self) -> None:
        sources = self.console().sources
        reader = PolicyReader(sources)
        first = self.state(reader)
        self.patch(sources.policies, "texts", lambda _: fail(Unanswered("not read again")))
        second = self.state(reader)
        assert first is not None and second is not None
        self.assertIs(first.rules, second.rules)

    def test_other_processes(self) -> None:
        """The first process is described; the others can use another policy."""
        sources = self.console().sources
        (own,) = self.successResultOf(sources.policies.in_use())
        self.patch(sources.policies, "in_use", lambda: succeed([own, LoadedPolicy("p", "other", NOW), own]))
        state = self.state(PolicyReader(sources))
        assert state is not None
        self.assertEqual((state.agreeing, len(state.in_use)), (2, 3))

    def test_no_policy(self) -> None:
        self.rules = None
        self.assertIsNone(self.state(PolicyReader(self.console().sources)))
        starting = PolicyReader(self.console(config={"workers": 2}).sources)
        self.failureResultOf(Deferred.fromCoroutine(starting.state()), Unanswered)

    def test_changed_files(self) -> None:
        """The files are compared by their content, included files too."""
        part = self.write('version = 1\n[[rules]]\nname = "part"\naction = "allow"\n', "part.toml")
        self.write(POLICY.replace("version = 1\n", 'version = 1\ninclude = ["part.toml"]\n'))
        texts = load_policy(self.path).texts
        self.assertIsNone(changed_policy(self.path, texts))
        self.assertIsNone(changed_policy(None, texts))
        part.write_text('version = 1\n[[rules]]\nname = "other"\naction = "allow"\n', "utf-8")
        changed = changed_policy(self.path, texts)
        assert changed is not None and changed.rules is not None
        self.assertEqual((changed.rules.rules[0].rule_id, changed.error), ("other", ""))
        part.write_bytes(b"\xff")
        changed = changed_policy(self.path, texts)
        assert changed is not None
        self.assertIsNone(changed.rules)
        self.assertIn("is not UTF-8", changed.error)
        part.unlink()
        self.assertIn("cannot be read", getattr(changed_policy(self.path, texts), "error", ""))

    def test_types_of_grpc_messages(self) -> None:
        """Both policies decide with the descriptors of the proxy."""
        descriptors = self.path.with_name("users.pb")
        descriptors.write_bytes(descriptor_set())
        text = (
            "version = 1\n[[rules]]\naction = 'allow'\nname = 'own'\n"
            "grpc = { service = 'users.v1.Users', method = 'Get', fields = { name = 'alice' } }\n"
        )
        self.rules = load_policy(self.write(text))
        reader = PolicyReader(self.console(config={"grpc_descriptors": (descriptors,)}).sources)

        def verdicts(rules: RuleSet | None) -> list[str]:
            assert rules is not None
            url, headers = "https://a.test/users.v1.Users/Get", [["Content-Type", "application/grpc"]]
            calls = [{"url": url, "method": "POST", "headers": headers, "body": each} for each in MESSAGES]
            tried = [decided(rules, ExplainRequest.parse(call), NOW) for call in calls]
            return [each.verdict for each in tried if each is not None]

        state = self.state(reader)
        assert state is not None
        self.assertEqual(verdicts(state.rules), ["allow", "deny"])
        self.write(text.replace("alice", "bob"))
        state = self.state(reader)
        assert state is not None and state.changed is not None
        self.assertEqual((verdicts(state.rules), verdicts(state.changed.rules)), (["allow", "deny"], ["deny", "allow"]))
        self.write(text.replace("name = 'alice'", "surname = 'a'"))
        state = self.state(reader)
        assert state is not None and state.changed is not None
        self.assertIn("surname", state.changed.error)
        descriptors.unlink()
        state = self.state(reader)
        assert state is not None and state.changed is not None
        self.assertIn("--grpc-descriptors", state.changed.error)
        self.assertEqual(verdicts(state.rules), ["allow", "deny"], "as at the last reload")
        self.loaded = NOW
        state = self.state(reader)
        assert state is not None
        self.assertIsNone(state.rules.descriptors)

    def recorded(self, **more: Any) -> Any:
        reader = PolicyReader(self.console(**more).sources)
        return self.successResultOf(Deferred.fromCoroutine(reader.recorded(NOW - 60)))

    def test_records(self) -> None:
        """The newest records that have a decision, the oldest first."""
        self.patch(module, "MAX_RECORDS", 3)
        self.store.records = [
            record(url="https://c.test/"),
            record(verdict="rejected"),
            record(url="https://b.test/"),
            record(url="https://a.test/"),
        ]
        self.assertEqual([line.url for line in self.recorded()], ["https://b.test/", "https://c.test/"])
        given, limit = self.store.searches[-1]
        self.assertEqual((given.since, limit), (NOW - 60, 3))
        self.assertIsNone(self.recorded(has_store=False))

    def test_request(self) -> None:
        self.store.records = [record(requestId='a" verdict:allow')]
        reader = PolicyReader(self.console().sources)
        found = self.successResultOf(Deferred.fromCoroutine(reader.record('a" verdict:allow')))
        self.assertEqual(found, self.store.records[0])
        (condition,) = self.store.searches[-1][0].conditions
        self.assertEqual((condition.field, condition.tests[0].value), ("id", 'a" verdict:allow'))
        self.store.records = []
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(reader.record("a"))))
        reader = PolicyReader(self.console(has_store=False).sources)
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(reader.record("a"))))

    def test_records_without_a_decision(self) -> None:
        for values in ({"verdict": "rejected"}, {"url": "?"}, {"method": ""}):
            self.assertIsNone(line_of(record(**values)))
