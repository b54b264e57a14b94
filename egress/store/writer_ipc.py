"""The messages between a proxy and the process that writes its audit store, over a socket pair.

The proxy sends frames: first the settings, then batches.  The process responds to each batch with a line of JSON.  When
the socket closes, one of the two has ended.
"""

from __future__ import annotations

import json
import marshal
import pickle
import signal
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from egress.model.statistics import SpoolStats
from egress.store.batches import BatchReport, Retention, SpoolReport
from egress.store.chain import Signer
from egress.store.location import StoreSettings
from egress.store.signing_key import load_signer

if TYPE_CHECKING:
    from egress.config.model import ProxyConfig

IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that the process ignores: a terminal or a process manager sends them to the proxy, too."""

_LENGTH: Final = struct.Struct("!I")


@attrs.frozen(kw_only=True)
class WriterSpec:
    """The settings of the process.

    @ivar config: the settings with which the store is opened.
    @ivar signer: signs the records; C{None}: they have no signatures.
    @ivar worker: the number of the worker whose records it writes; 0 without workers.
    @ivar retention: the records to keep.
    @ivar rolls_up: whether it updates the rollups.
    """

    config: StoreSettings
    signer: Signer | None = attrs.field(repr=False)
    worker: int
    retention: Retention
    rolls_up: bool

    @classmethod
    def of(cls, config: ProxyConfig, worker: int) -> WriterSpec:
        """Return the settings of a proxy, without settings that the process does not need.

        @raise ConfigError: if the key of the signatures cannot be read: this process can have the right to read it,
            before it changes its user, and the other process not.
        """
        key = config.audit_signing_key
        return cls(
            config=StoreSettings(
                audit_store=config.audit_store,
                audit_store_password=config.audit_store_password,
                audit_spool_size=config.audit_spool_size,
                ca_dir=config.ca_dir,
            ),
            signer=None if key is None else load_signer(key),
            worker=worker,
            retention=retention_of(config),
            rolls_up=config.admin is not None,
        )


def retention_of(config: ProxyConfig) -> Retention:
    """Return the records to keep."""
    return Retention(config.audit_store_days, config.audit_store_size)


def _frame(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def spec_frame(spec: WriterSpec) -> bytes:
    """Return the frame with the settings."""
    return _frame(pickle.dumps(spec))


def batch_frame(records: Sequence[bytes], *, is_further: bool = False) -> bytes:
    """Return the frame with a batch of serialized records.

    @param is_further: whether it is a further part of the batch before it.
    """
    return _frame(marshal.dumps((is_further, list(records)), 2))


def receive_spec(line: socket.socket) -> WriterSpec | None:
    """Receive the settings; C{None} if the proxy has ended."""
    content = _receive_frame(line)
    if content is None:
        return None
    spec: WriterSpec = pickle.loads(content)  # noqa: S301 - from the proxy, over the inherited socket
    return spec


def receive_batch(line: socket.socket) -> tuple[bool, list[bytes]] | None:
    """Receive a batch.

    @return: whether it is a further part of the batch before it, and its records; C{None} if the proxy has ended.
    """
    content = _receive_frame(line)
    if content is None:
        return None
    batch: tuple[bool, list[bytes]] = marshal.loads(content)  # noqa: S302 - from the proxy, over the inherited socket
    return batch


def _receive_frame(line: socket.socket) -> bytes | None:
    head = _receive(line, _LENGTH.size)
    return None if head is None else _receive(line, *_LENGTH.unpack(head))


def _receive(line: socket.socket, size: int) -> bytes | None:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        try:
            received = line.recv_into(rest)
        except ConnectionError:
            return None
        if not received:
            return None
        rest = rest[received:]
    return bytes(content)


def report_line(report: BatchReport) -> bytes:
    """Return the response to a batch."""
    return json.dumps(attrs.asdict(report)).encode("ascii") + b"\n"


def parse_report(line: bytes) -> BatchReport:
    """Parse the response to a batch."""
    fields: dict[str, Any] = json.loads(line)
    spool = fields["spool"]
    if spool is not None:
        fields["spool"] = SpoolReport(**{**spool, "stats": SpoolStats(**spool["stats"])})
    return BatchReport(**{**fields, "errors": tuple(fields["errors"])})
