"""An authorizer whose decisions a test writes into a file, installed in a proxy before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from egress import service
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest, Obligations, Verdict


@implementer(IAuthorizer)
class WrittenAuthorizer:
    """Decides as in C{decision.json}, and appends its authorization requests to C{questions.jsonl}."""

    name = "written"
    needs_body = False

    def __init__(self, directory: Path) -> None:
        self._decision = directory / "decision.json"
        self._questions = directory / "questions.jsonl"

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{IAuthorizer.decide}."""
        question = {
            "url": request.url,
            "body": None if request.body is None else request.body.decode("latin-1"),
            "withheld": request.body_withheld,
            "addresses": None if request.addresses is None else [str(address) for address in request.addresses],
        }
        with self._questions.open("a") as file:
            file.write(json.dumps(question) + "\n")
        answer: dict[str, Any] = json.loads(self._decision.read_text())
        fields, secret = answer.get("set", {}), answer.get("set_secret", {})
        terms = Obligations(
            set_headers=tuple((name.encode(), value.encode()) for name, value in fields.items()),
            remove_headers=tuple(name.encode() for name in answer.get("remove", [])),
            max_bytes=answer.get("max_bytes"),
            expires_in=answer.get("expires_in"),
            secret_headers=tuple((name.encode(), value.encode()) for name, value in secret.items()),
        )
        wants = answer.get("need_body", False) and request.body_withheld
        verdict = Verdict.NEED_BODY if wants else Verdict(answer.get("verdict", "allow"))
        return succeed(Decision(verdict, answer.get("reason", "as written"), self.name, obligations=terms))

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return succeed(None)


def install(directory: str) -> None:
    """Make each proxy of this process use the authorizer."""
    begin = service.EgressProxyService.__init__

    def begin_with(self: Any, reactor: Any, config: Any, **more: Any) -> None:
        begin(self, reactor, config, authorizer=WrittenAuthorizer(Path(directory)), **more)

    service.EgressProxyService.__init__ = begin_with  # type: ignore[method-assign,assignment]
