"""The step of C{egress explain} for a message of an allowed exchange."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks

from egress.authz.chain import AuthorizerChain
from egress.model.decision import Decision, DecisionRequest, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.explanation import RuleTried
from egress.model.message import Message, message_headers


@attrs.frozen
class MessageStep:
    """The result of the step.

    @ivar decision: the decision on the message; C{None}: the message passes.
    @ivar text: the result, in a sentence.
    @ivar rules: the message rules that were evaluated.
    """

    decision: Decision | None
    text: str
    rules: tuple[RuleTried, ...] = ()


@inlineCallbacks
def explain_message(
    chain: AuthorizerChain, request: DecisionRequest, decision: Decision, message: tuple[Message, bytes]
) -> Generator[Deferred[Any], Any, MessageStep]:
    """Authorize a message as the proxy would.

    @param chain: the authorizers.
    @param request: the authorization request of the exchange.
    @param decision: the decision that allows the exchange.
    @param message: the message and its content.
    """
    facts, content = message
    required = decision.obligations.messages
    if required is None:
        return MessageStep(None, "passes: the decision on the request does not require message decisions")
    if facts.direction not in required.directions:
        return MessageStep(None, f"passes: messages of the {facts.direction.value} are not authorized")
    if len(content) > required.max_size:
        return MessageStep(
            Decision(Verdict.DENY, f"the message is longer than {required.max_size} bytes", "proxy"),
            f"rejected: the message is longer than {required.max_size} bytes",
        )
    asked = attrs.evolve(
        request,
        stage=Stage.MESSAGE,
        headers=message_headers(request.headers, facts.kind),
        body=content,
        body_truncated=False,
        body_withheld=False,
        content_length=len(content),
        addresses_withheld=False,
        message=attrs.evolve(facts, rule_id=decision.rule_id),
    )
    found: Decision = yield chain.without_approver.decide(asked)
    if found.verdict not in (Verdict.ALLOW, Verdict.DENY):
        raise AuthorizerUnavailable("the authorizer requested an approval or more data, which a message cannot have")
    rule = "" if found.rule_id is None else f"rule {found.rule_id} of "
    text = f"{found.verdict.value}, by {rule}{found.decided_by}: {found.reason}"
    traced = () if chain.rules is None else chain.rules.trace_message(asked)
    rules = [RuleTried(one.rule_id, one.verdict.value, one.failed is None, one.failed, one.where) for one in traced]
    return MessageStep(found, text, tuple(rules))
