"""The policies of several workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList

from egress.admin.api import Unanswered
from egress.policy.loaded_policy import LoadedPolicy, texts_from_json
from egress.policy.source_text import SourceText
from egress.workers.ipc import POLICIES, POLICY_TEXTS
from egress.workers.supervisor import WorkerSlot

# Workers respond immediately.
_WITHIN: Final = 2.0


class WorkerPolicies:
    """The policies of the workers (L{egress.admin.policies.PolicyBackend}).

    @param running: returns the slots whose workers serve.
    """

    def __init__(self, running: Callable[[], Sequence[WorkerSlot]]) -> None:
        self._running = running

    def in_use(self) -> Deferred[list[LoadedPolicy]]:
        """Return the policy of each worker that responds; see L{egress.admin.policies.PolicyBackend.in_use}."""

        def found(results: list[tuple[bool, Any]]) -> list[LoadedPolicy]:
            return [LoadedPolicy.from_json(one) for told, policies in results if told for one in policies]

        return self._request_all(POLICIES).addCallback(found)

    def texts(self, digest: str) -> Deferred[tuple[SourceText, ...]]:
        """Return the texts of a policy; see L{egress.admin.policies.PolicyBackend.texts}."""

        def found(results: list[tuple[bool, Any]]) -> tuple[SourceText, ...]:
            document = next((texts for told, texts in results if told and texts is not None), None)
            if document is None:
                raise Unanswered("no worker responded with this policy: reload the page")
            return texts_from_json(document)

        return self._request_all(POLICY_TEXTS, digest).addCallback(found)

    def _request_all(self, what: str, argument: Any = None) -> Deferred[list[tuple[bool, Any]]]:
        requests = [slot.request(what, _WITHIN, argument) for slot in self._running()]
        return DeferredList(requests, consumeErrors=True)
