"""Tests for L{egress.policy.parse.message_parser}."""

from __future__ import annotations

from egress.model.message import DEFAULT_MAX_SIZE, Direction, MessageKind
from tests.policy.policies import PolicyTestCase, parse

HEAD = "version = 1\n[variables]\nword = 'secret'\n[[rules]]\nname = 'x'\naction = 'allow'\n"
RULE = "[rules.messages]\n[[rules.messages.rules]]\n"


class MessageTableTests(PolicyTestCase):
    """The table C{[rules.messages]}."""

    def test_everything(self) -> None:
        policy = parse(
            f"{HEAD}[rules.messages]\ndirections = ['client']\nmax_size = '2KiB'\ndefault = 'allow'\n"
            "[[rules.messages.rules]]\nname = 'a'\naction = 'deny'\nreason = 'no'\ndirections = ['client', 'origin']\n"
            "kinds = ['websocket', 'sse', 'grpc']\ntypes = ['text']\ntext = ['*${word}*']\njson = { a = ['b', 1] }\n"
            "min_size = 1\nmax_size = '1KiB'\n"
        )
        (rule,) = policy.rules
        obligation = rule.obligations.messages
        assert rule.messages is not None and obligation is not None
        self.assertEqual((obligation.directions, obligation.max_size), (frozenset({Direction.CLIENT}), 2048))
        (message,) = rule.messages.rules
        self.assertEqual((message.name, message.where), ("a", "p.toml:11"))
        self.assertEqual((message.directions, message.kinds), (frozenset(Direction), frozenset(MessageKind)))
        self.assertEqual((message.least, message.most, len(message.json)), (1, 1024, 1))
        self.assertTrue(message.texts[0]("a SECRET b"))

    def test_defaults(self) -> None:
        (rule,) = parse(f"{HEAD}[rules.messages]\ndefault = 'deny'").rules
        assert rule.messages is not None and rule.obligations.messages is not None
        self.assertEqual((rule.messages.rules, rule.messages.default.value), ((), "deny"))
        self.assertEqual(rule.obligations.messages.max_size, DEFAULT_MAX_SIZE)
        self.assertIsNone(parse(HEAD).rules[0].messages)

    def test_other_obligations(self) -> None:
        (rule,) = parse(f"{HEAD}max_bytes = 5\n[rules.messages]\ndefault = 'deny'").rules
        self.assertEqual(rule.obligations.max_bytes, 5)
        self.assertIsNotNone(rule.obligations.messages)

    def test_rejected(self) -> None:
        for text, error in (
            ("messages = 1", "7: rule x: 'messages' must be a table; write [rules.messages] before it"),
            (
                "[rules.messages]",
                "7: rule x: messages: add [[rules.messages.rules]], or set 'default': every message would be denied",
            ),
            ("[rules.messages]\nrule = 1", "8: rule x: messages: 'rule' is not known here; did you mean 'rules'?"),
            (
                "[rules.messages]\nrules = []",
                "8: rule x: messages: 'rules' must be a list of tables; write [[rules.messages.rules]] before each",
            ),
            (
                "[rules.messages]\nrules = 1",
                "8: rule x: messages: 'rules' must be a list of tables; write [[rules.messages.rules]] before each",
            ),
            ("[rules.messages]\nrules = [1]", "8: rule x: message rule 1: must be a table"),
            ("[rules.messages]\nmax_size = 0", "8: rule x: messages: 'max_size': must be at least one byte"),
            (
                "[rules.messages]\ndirections = ['server']",
                "8: rule x: messages: directions 'server': is not known; use client, origin",
            ),
            (
                "[rules.messages]\ndefault = 'ask'",
                "8: rule x: messages: 'default' must be \"allow\" or \"deny\", not 'ask'",
            ),
            (
                f"{RULE}name = 'default'",
                "9: rule x: message rule 1: the name 'default' cannot be used; use up to 64 "
                "letters, digits, '.', '_' and '-', and not 'default'",
            ),
            (f"{RULE}name = 'a'", '8: rule x: message rule a: \'action\' is missing; write "allow" or "deny"'),
            (
                f"{RULE}action = 'ask'",
                "9: rule x: message rule rule-1: 'action' must be \"allow\" or \"deny\", not 'ask'",
            ),
            (
                f"{RULE}action = 'deny'",
                "8: rule x: message rule rule-1: 'reason' is missing; add the reason for the "
                "user whose message is denied",
            ),
            (
                f"{RULE}action = 'allow'\nreason = '{{x}}'",
                "10: rule x: message rule rule-1: 'reason': {x} is not known "
                "here; use {host}, {port}, {method}, {path}, {url}, {grpc}, {client}, {identity}, {rule}",
            ),
            (
                f"{RULE}action = 'allow'\nkinds = ['ws']",
                "10: rule x: message rule rule-1: kinds 'ws': is not known; use grpc, sse, websocket",
            ),
            (
                f"{RULE}action = 'allow'\njson = {{}}",
                "10: rule x: message rule rule-1: 'json' is empty and would have no effect; remove it",
            ),
            (
                f"{RULE}action = 'allow'\nfields = {{}}",
                "10: rule x: message rule rule-1: 'fields' is empty and would have no effect; remove it",
            ),
            (
                f"{RULE}action = 'allow'\nmin_size = 2\nmax_size = 1",
                "10: rule x: message rule rule-1: 'min_size' is "
                "greater than 'max_size', so nothing would match; exchange them",
            ),
            (
                f"{RULE}name = 'a'\naction = 'allow'\n[[rules.messages.rules]]\nname = 'a'\naction = 'allow'",
                "11: rule x: messages: two message rules have the name 'a'; use different names",
            ),
        ):
            with self.subTest(text):
                self.refuses(HEAD + text, error)
        denied = HEAD.replace("'allow'", "'deny'\nreason = 'no'")
        self.refuses(
            f"{denied}[rules.messages]", "8: rule x: 'messages' has no effect on a request that is denied; remove it"
        )
        connect = f"{HEAD}methods = ['CONNECT']\n[rules.messages]\ndefault = 'deny'"
        self.refuses(connect, "7: rule x: 'messages' cannot match a tunnel; use a rule without it for CONNECT")
