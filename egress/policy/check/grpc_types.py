"""The check of conditions on gRPC messages against the types of the messages."""

from __future__ import annotations

import re
from typing import Final

import attrs

from egress.grpc.descriptors import Descriptors, Method
from egress.model.message import BOTH, Direction
from egress.policy.match.grpc_calls import GrpcCalls
from egress.policy.match.grpc_fields import GrpcFields
from egress.policy.match.json_body import Expression, Wanted
from egress.policy.message_rules import MessageRule
from egress.policy.parse.toml_reader import PolicyError
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet

# Expressions that select a value by its location.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH: Final = re.compile(rf"{_NAME}(?:\[[0-9]*\])?(?:\.{_NAME}(?:\[[0-9]*\])?)*")
_INDEX: Final = re.compile(r"\[[0-9]*\]")


def with_descriptors(rules: RuleSet, descriptors: Descriptors | None) -> RuleSet:
    """Return a policy that knows the types of gRPC messages.

    @raise PolicyError: if a rule has a condition on fields that no message has, because a denial would never match.
    """
    for rule in rules.rules:
        for condition in rule.conditions:
            if isinstance(condition, GrpcFields):
                _check(rule, condition, descriptors)
        for message_rule in () if rule.messages is None else rule.messages.rules:
            if message_rule.fields:
                _check_message_rule(rule, message_rule, descriptors)
    return attrs.evolve(rules, descriptors=descriptors)


def _check(rule: Rule, condition: GrpcFields, descriptors: Descriptors | None) -> None:
    methods = _methods(rule, descriptors)
    if not rule.deny_semantics and all(method.client_streams for method in methods):
        raise _error(rule, "the client of this method streams, so an allow rule never matches")
    _check_fields(rule, condition.wanted, methods, (False,))


def _check_message_rule(rule: Rule, message_rule: MessageRule, descriptors: Descriptors | None) -> None:
    directions = message_rule.directions or BOTH
    responses = tuple(direction is Direction.ORIGIN for direction in directions)
    _check_fields(rule, message_rule.fields, _methods(rule, descriptors), responses)


def _check_fields(
    rule: Rule, wanted: tuple[tuple[Expression, Wanted], ...], methods: list[Method], responses: tuple[bool, ...]
) -> None:
    for expression, _ in wanted:
        path = _INDEX.sub("", expression.text).split(".") if _PATH.fullmatch(expression.text) else ()
        if path and not any(method.has_field(path, response=each) for method in methods for each in responses):
            what = "request message" if responses == (False,) else "message"
            raise _error(rule, f"{expression.text!r}: no {what} of these methods has this field")


def _methods(rule: Rule, descriptors: Descriptors | None) -> list[Method]:
    if descriptors is None:
        raise _error(rule, "needs the types of the messages; set --grpc-descriptors to a descriptor set of protoc")
    calls = [condition for condition in rule.conditions if isinstance(condition, GrpcCalls)]
    methods = [
        method
        for method in descriptors.methods
        if all(condition.matches(method.service, method.name) for condition in calls)
    ]
    if not methods:
        raise _error(rule, "no method in --grpc-descriptors has this service and method")
    return methods


def _error(rule: Rule, text: str) -> PolicyError:
    return PolicyError(f"{rule.where}: rule {rule.rule_id}: grpc 'fields': {text}")
