"""The role of a process: the whole proxy, the supervisor of workers, one of its workers, or a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from twisted.internet.interfaces import IStreamServerEndpoint


@attrs.frozen
class Role:
    """The use that a process makes of the inputs of a proxy.

    @ivar endpoints: the open endpoints of C{config.listen}, in a worker or outside a sandbox.
    @ivar approval_key: in a worker: the key with which all workers derive the ids of pending approvals.
    @ivar is_supervisor: whether the process starts workers, and serves no client itself.
    @ivar serves_sandbox: whether the endpoints are in the network of a sandbox, of which the addresses of this machine
        tell nothing.
    @ivar is_dry_run: whether the service only explains requests and is never started: it makes no CA, reads no key and
        opens no log.
    @ivar worker: in a worker: its number, from 1.
    @ivar has_writer: whether a process of its own writes the audit store: in a program of egressproxy, and not in an
        application, whose C{sys.executable} need not run the modules of egressproxy.
    @ivar is_replacement: in a worker: whether an earlier one with this number has ended.
    """

    endpoints: Sequence[IStreamServerEndpoint] | None = None
    approval_key: bytes = b""
    is_supervisor: bool = False
    serves_sandbox: bool = False
    is_dry_run: bool = False
    worker: int = attrs.field(default=0, kw_only=True)
    has_writer: bool = attrs.field(default=False, kw_only=True)
    is_replacement: bool = attrs.field(default=False, kw_only=True)

    @property
    def is_worker(self) -> bool:
        """Whether a supervisor binds the ports, and serves the metrics and the admin API."""
        return self.endpoints is not None and not self.serves_sandbox

    @property
    def is_whole(self) -> bool:
        """Whether this process is the whole proxy."""
        return not (self.is_worker or self.is_supervisor or self.is_dry_run)

    @property
    def notifies(self) -> bool:
        """Whether this process logs what the operator must know: of a supervisor and its workers, only one does."""
        return self.is_whole or self.is_supervisor


WHOLE: Final = Role()
PROGRAM: Final = Role(has_writer=True)
SUPERVISOR: Final = Role(is_supervisor=True)
DRY_RUN: Final = Role(is_dry_run=True)
