"""The changes of the policy in the console, and their audit records."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from egress.admin.api import Unanswered
from egress.config.model import ConfigError
from egress.console.policy_reader import PolicyReader
from egress.console.sources import ConsoleSources
from egress.model.change import Actor, Change, ChangeKind, policy_change
from egress.policy.parse.load import PolicyError

_RELOAD_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1


async def reload_policy(sources: ConsoleSources, reader: PolicyReader, actor: Actor) -> None:
    """Reload the policy and the certificates, and record it.

    @raise ConfigError: if a file is not valid; this is recorded, too.
    """
    try:
        before = await reader.state()
    except (Unanswered, PolicyError):
        # The reload can be the remedy.
        before = None
    digest = None if before is None else before.loaded.digest
    expected = digest
    if before is not None and before.changed is not None and before.changed.rules is not None:
        expected = before.changed.rules.digest
    try:
        await sources.reload()
    except ConfigError as error:
        text = f"the reload failed: {error}{policy_change(digest, digest)}"
        sources.backend.record(Change(ChangeKind.RELOAD_FAILED, text, actor))
        raise
    in_use = None if expected is None else await wait_until_loaded(sources, expected)
    text = f"the policy and the certificates are reloaded{policy_change(digest, in_use)}"
    sources.backend.record(Change(ChangeKind.POLICY_RELOADED, text, actor))


async def wait_until_loaded(sources: ConsoleSources, digest: str) -> str | None:
    """Wait until each process uses a policy: workers load it after they were told to.

    @return: the digest of the policy in use; C{None} if no process responds.
    """
    clock: Any = sources.clock
    for _ in range(round(_RELOAD_SECONDS / _POLL_SECONDS)):
        in_use = await sources.policies.in_use()
        if all(each.digest == digest for each in in_use):
            break
        waited: Deferred[None] = deferLater(clock, _POLL_SECONDS)
        await waited
    return next((each.digest for each in in_use), None)
