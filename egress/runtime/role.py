"""The role of a process: the whole proxy, one of its workers, or a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from twisted.internet.interfaces import IStreamServerEndpoint


@attrs.frozen
class Role:
    """How a L{egress.service.EgressProxyService} is used.

    @ivar endpoints: in a worker: the endpoints of C{config.listen}, which the supervisor has opened.
    @ivar approval_key: in a worker: the key with which all workers derive the ids of pending approvals.
    @ivar is_dry_run: whether the service only explains requests and is never started: it makes no CA, reads no key and
        opens no log.
    """

    endpoints: Sequence[IStreamServerEndpoint] | None = None
    approval_key: bytes = b""
    is_dry_run: bool = False

    @property
    def is_worker(self) -> bool:
        """Whether a supervisor binds the ports, and serves the metrics and the admin API."""
        return self.endpoints is not None

    @property
    def is_whole(self) -> bool:
        """Whether this process is the whole proxy: it logs what its operator must know, once."""
        return not self.is_worker and not self.is_dry_run


WHOLE: Final = Role()
DRY_RUN: Final = Role(is_dry_run=True)
