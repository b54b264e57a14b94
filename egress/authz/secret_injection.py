"""The injection of secrets into decisions: the authorizer knows only their names, the proxy their values.

Only the values of L{Obligations.secret_headers} are templates.  Other fields may contain text of a client.
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
    """Calls an authorizer, and replaces the names of secrets in C{secret_headers} of its decision with their values.

    @param vault: the values of the secrets.
    """

    def __init__(self, authorizer: IAuthorizer, vault: Vault) -> None:
        super().__init__(authorizer)
        self._vault = vault

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request; see L{IAuthorizer.decide}.

        The call fails if a secret is not available, or may not be sent to this origin.
        """
        call: Deferred[Decision] = self._authorizer.decide(request)
        if call.called and not call.paused:
            decision = call.result
            if isinstance(decision, Decision) and not _wants_secrets(decision):
                return call
        return call.addCallback(self._with_secrets, request)

    def _with_secrets(self, decision: Decision, request: DecisionRequest) -> Decision | Deferred[Decision]:
        obligations = decision.obligations
        if not _wants_secrets(decision) or not decision.allowed or validate(obligations, templates=True) is not None:
            # The caller rejects a decision with invalid obligations.
            return decision
        values = [value for _, value in obligations.secret_headers]
        names = sorted({name for value in values for name in secret_names(value)})
        if any(SECRET_MARK in filled(value, dict.fromkeys(names, b"")) for value in values):
            raise AuthorizerUnavailable("the decision contains an invalid reference to a secret", AuthzFailure.RESPONSE)

        def inject(secrets: list[bytes]) -> Decision:
            by_name = dict(zip(names, secrets, strict=True))
            fields = tuple((name, filled(value, by_name)) for name, value in obligations.secret_headers)
            filled_obligations = attrs.evolve(
                obligations, set_headers=(*obligations.set_headers, *fields), secret_headers=()
            )
            return attrs.evolve(decision, obligations=filled_obligations)

        values_of_secrets = gatherResults(
            [self._vault.value(name, request.origin) for name in names], consumeErrors=True
        )
        return values_of_secrets.addCallbacks(inject, _first)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        self._vault.close()
        return self._authorizer.close()


def _wants_secrets(decision: Decision) -> bool:
    # The authorizer of an application may return anything; the caller rejects a value that is not an Obligations
    # object.
    return isinstance(decision.obligations, Obligations) and bool(decision.obligations.secret_headers)


def _first(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
