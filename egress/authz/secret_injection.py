"""Putting secrets into decisions: whoever decides knows their names, the proxy alone their values.

Only the values of L{Obligations.secret_headers} are templates.  An ordinary field may carry what a client wrote.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from egress.authz.secrets.table import filled, secret_names
from egress.authz.secrets.vault import Vault
from egress.authz.wrapper import Wrapper
from egress.http.obligations import SECRET_MARK, validate
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest, Obligations
from egress.model.errors import AuthorizerUnavailable


class SecretInjectingAuthorizer(Wrapper):
    """Asks an authorizer, and fills in the secrets that its decision names in C{secret_headers}.

    @param vault: has them.
    """

    def __init__(self, authorizer: IAuthorizer, vault: Vault) -> None:
        super().__init__(authorizer)
        self._vault = vault

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}.

        Without a secret that can be had, and may be sent there, there is no decision.
        """
        asked: Deferred[Decision] = self._authorizer.decide(request)
        if asked.called and not asked.paused:
            decision = asked.result
            if isinstance(decision, Decision) and not _wants_secrets(decision):
                return asked
        return asked.addCallback(self._with_secrets, request)

    def _with_secrets(self, decision: Decision, request: DecisionRequest) -> Decision | Deferred[Decision]:
        terms = decision.obligations
        if not _wants_secrets(decision) or not decision.allowed or validate(terms, templates=True) is not None:
            # What cannot be kept to is refused by whoever asked.
            return decision
        values = [value for _, value in terms.secret_headers]
        names = sorted({name for value in values for name in secret_names(value)})
        if any(SECRET_MARK in filled(value, dict.fromkeys(names, b"")) for value in values):
            raise AuthorizerUnavailable(
                "the decision names a secret in a way that is not understood", AuthzFailure.ANSWER
            )

        def had(secrets: list[bytes]) -> Decision:
            known = dict(zip(names, secrets, strict=True))
            fields = tuple((name, filled(value, known)) for name, value in terms.secret_headers)
            whole = attrs.evolve(terms, set_headers=(*terms.set_headers, *fields), secret_headers=())
            return attrs.evolve(decision, obligations=whole)

        waiting = gatherResults([self._vault.value(name, request.origin) for name in names], consumeErrors=True)
        return waiting.addCallbacks(had, _first)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        self._vault.close()
        return self._authorizer.close()


def _wants_secrets(decision: Decision) -> bool:
    # An authorizer of an application may return anything; whoever asked refuses what is no terms.
    return isinstance(decision.obligations, Obligations) and bool(decision.obligations.secret_headers)


def _first(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
