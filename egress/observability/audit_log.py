"""The audit log: one JSON line for each exchange.

A line that cannot be written is counted, reported in the ordinary log and shown by the metrics.  It stops no request,
unless the operator requires the audit log: L{egress.authz.require_audit}.
"""

from __future__ import annotations

import errno
import json
import os
import select
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from egress.config.model import STDOUT, ConfigError
from egress.interfaces import IAuditSink
from egress.model.file_access import PRIVATE, FileAccess
from egress.model.log_numbers import milliseconds, written_time
from egress.model.phases import durations
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url
from egress.runtime.safe_files import open_log

_BACKLOG: Final = 1024 * 1024
_PIPE_BUF: Final = 4096
_LOG_EVERY: Final = 60.0
_LOOK_EVERY: Final = 1.0
_CLOSE_WITHIN: Final = 1.0

_log = Logger()

_encode = json.JSONEncoder(separators=(",", ":")).encode


def audit_fields(record: ExchangeRecord) -> dict[str, Any]:
    """Return the fields of a record for storage, in the order of an audit line, with a redacted URL."""
    client = record.client
    host = f"[{client.address}]" if ":" in client.address else client.address
    fields: dict[str, Any] = {
        "time": written_time(record.time),
        "requestId": record.request_id,
        "client": f"{host}:{client.port}",
        "identity": client.identity,
        "stage": record.stage,
        "method": record.method,
        "url": redact_url(record.url),
        "verdict": record.verdict,
        "outcome": record.outcome,
        "reason": record.reason,
        "observed": record.observed,
        "decidedBy": record.decided_by,
        "ruleId": record.rule_id,
        "source": record.source,
        "decisionMs": None if record.decision_seconds is None else milliseconds(record.decision_seconds),
        "address": record.address,
        "upstream": record.upstream,
        "status": record.status,
        "bytesSent": record.bytes_sent,
        "bytesReceived": record.bytes_received,
        "durationMs": milliseconds(record.duration),
        "phases": [(name, milliseconds(each)) for name, each in durations(record.phases, record.duration)],
        "requestHeaders": record.request_headers,
        "responseHeaders": record.response_headers,
        "clientHttp": record.client_http,
        "originHttp": record.origin_http,
        "policyVersion": record.policy_version,
    }
    if record.grpc is not None:
        fields["grpc"] = attrs.asdict(record.grpc)
    return fields


def audit_line(record: ExchangeRecord) -> bytes:
    """Write a record as one line of ASCII JSON, with a redacted URL."""
    return fields_line(audit_fields(record))


def fields_line(fields: Mapping[str, Any]) -> bytes:
    """Write the fields of a record as one line of ASCII JSON."""
    return _encode(fields).encode("ascii") + b"\n"


class LinesLost(OSError):
    """A write error of the file of a L{LineFile}.

    @ivar lines: the number of lines that are lost permanently.
    """

    def __init__(self, error: OSError, lines: int) -> None:
        super().__init__(error.errno, error.strerror)
        self.lines = lines


class LineFile:
    """A file or pipe to which whole lines are appended without blocking.

    Several processes may append to one file: each line is one C{write(2)} with C{O_APPEND}.  A pipe with a slow reader
    gets as much as it accepts; up to 1 MiB is buffered for it, and lines beyond that are lost.

    A file that is moved or removed, for example by C{logrotate(8)}, is created again under its name within a second.

    @param path: the file; C{None} appends to C{descriptor}, which the caller continues to own.
    @param access: the permissions of the file, whenever it is created.
    @raise OSError: when the file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        descriptor: int = 1,
        clock: Callable[[], float] = time.monotonic,
        access: FileAccess = PRIVATE,
    ) -> None:
        self._path = path
        self._access = access
        self._clock = clock
        self._pending = bytearray()
        # _inside: the last byte written is inside a line; _torn: the rest of that line is lost.
        self._inside = self._torn = False
        self._adopt(descriptor if path is None else open_log(path, access))

    def _adopt(self, descriptor: int) -> None:
        self._descriptor = descriptor
        state = os.fstat(descriptor)
        self._identity = (state.st_dev, state.st_ino)
        self._looked = self._clock()
        # The open file description of standard output is shared with other processes, so it is polled before each
        # write rather than made non-blocking.  A regular file is always ready.
        self._poll: select.poll | None = None
        if not stat.S_ISREG(state.st_mode):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Append one line, which ends in a line feed.

        @raise LinesLost: when this line could not be written, or earlier lines that were buffered for a slow reader.
            With zero lines: when the file was moved and cannot be created again, so that the old file remains in use.
        """
        trouble = self._follow()
        if self._torn:
            line = b"\n" + line
            self._torn = False
        self._pending += line
        self._flush(0.0)
        if len(self._pending) > _BACKLOG:
            # Drop the new line: the others are older, and the first of them may be partly written.
            del self._pending[-len(line) :]
            self._torn = self._inside and not self._pending
            raise LinesLost(_too_slow(), 1)
        if trouble is not None:
            raise trouble

    def reopen(self) -> None:
        """Open the file again under its name.

        @raise OSError: when that fails; the old file remains in use.
        """
        if self._path is None:
            return
        descriptor = open_log(self._path, self._access)
        os.close(self._descriptor)
        self._adopt(descriptor)
        self._inside = self._torn = False

    def close(self) -> None:
        """Wait up to one second for a slow reader to take the buffered lines, and close.

        @raise LinesLost: when lines are still buffered.
        """
        try:
            self._flush(_CLOSE_WITHIN)
            if self._pending:
                raise self._lose(_too_slow())
        finally:
            if self._path is not None:
                os.close(self._descriptor)

    def _follow(self) -> LinesLost | None:
        """Reopen the file when its name refers to another file or does not exist."""
        now = self._clock()
        if self._path is None or now - self._looked < _LOOK_EVERY:
            return None
        self._looked = now
        try:
            state = os.stat(self._path)
            moved = (state.st_dev, state.st_ino) != self._identity
        except OSError:
            moved = True
        if moved:
            try:
                self.reopen()
            except OSError as error:
                return LinesLost(error, 0)
        return None

    def _flush(self, patience: float) -> None:
        until = self._clock() + patience
        while self._pending:
            size = len(self._pending)
            if self._poll is not None:
                if not self._poll.poll(max(0.0, until - self._clock()) * 1000):
                    return
                # A pipe that is ready accepts this many bytes without blocking, and atomically (POSIX, PIPE_BUF).
                size = _PIPE_BUF
            try:
                sent = os.write(self._descriptor, self._pending[:size])
            except BlockingIOError:
                return
            except OSError as error:
                raise self._lose(error) from error
            self._inside = self._pending[sent - 1] != 0x0A
            del self._pending[:sent]

    def _lose(self, error: OSError) -> LinesLost:
        lines = self._pending.lstrip(b"\n").count(b"\n")
        self._pending.clear()
        self._torn = self._inside
        return LinesLost(error, lines)


def _too_slow() -> OSError:
    return OSError(errno.EAGAIN, "its reader is too slow")


@implementer(IAuditSink)
class JsonLinesAudit:
    """An audit sink that writes one JSON line for each record.

    @param target: a file, C{"-"} for standard output, or a callable that receives each line.
    @param access: the permissions of the file.
    @raise OSError: when the file cannot be opened.
    @ivar lost: the number of lines that could not be written.
    @ivar fault: the reason why the last line could not be written; C{None} if it was written.
    """

    def __init__(
        self,
        target: str | Path | Callable[[bytes], object],
        clock: Callable[[], float] = time.monotonic,
        access: FileAccess = PRIVATE,
    ) -> None:
        self.lost = 0
        self.fault: str | None = None
        self._clock = clock
        self._logged: float | None = None
        self._unlogged = 0
        self._file: LineFile | None = None
        self._write: Callable[[bytes], object]
        if callable(target):
            self._write = target
        else:
            self._file = LineFile(None if target == STDOUT else Path(target), clock=clock, access=access)
            self._write = self._file.write

    @property
    def note(self) -> str | None:
        """Why records are not in the log; C{None} if all are."""
        return None if self.fault is None else f"the audit log cannot be written: {self.fault}"

    def write(self, record: ExchangeRecord) -> None:
        """Write one record (L{IAuditSink.write})."""
        self.write_line(audit_line(record))

    def write_line(self, line: bytes) -> None:
        """Write one line that another process made."""
        self.fault = None
        try:
            self._write(line)
        except LinesLost as error:
            self._failed(error.lines, error)
        except Exception as error:  # noqa: BLE001
            # The function of an embedding application may raise anything: its error must not fail the client's request.
            self._failed(1, error)

    def lose(self, error: Exception) -> None:
        """Count a line from another process that arrived incomplete."""
        self._failed(1, error)

    def reopen(self) -> None:
        """Open the file again under its name; for an application that rotates its logs on a signal."""
        if self._file is not None:
            try:
                self._file.reopen()
            except OSError as error:
                self._failed(0, error)

    def close(self) -> None:
        """Flush and close (L{IAuditSink.close})."""
        if self._file is not None:
            try:
                self._file.close()
            except LinesLost as error:
                self._failed(error.lines, error)

    def _failed(self, lines: int, error: Exception) -> None:
        self.lost += lines
        self._unlogged += lines
        if lines:
            self.fault = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
        now = self._clock()
        if self._logged is not None and now - self._logged < _LOG_EVERY:
            return
        self._logged = now
        _log.error(
            "audit log: {lines} lines lost, {total} in total: {error}",
            lines=self._unlogged,
            total=self.lost,
            error=error,
        )
        self._unlogged = 0


def configured_audit(target: str, access: FileAccess = PRIVATE) -> JsonLinesAudit:
    """Open the audit log of a configuration.

    @param target: C{ProxyConfig.audit_log}.
    @param access: the permissions of the file.
    @raise ConfigError: if it cannot be opened; it names the option and the fix.
    """
    _check_group(access.group)
    try:
        return JsonLinesAudit(target, access=access)
    except OSError as error:
        raise ConfigError("--audit-log", target, f"cannot be written to: {error.strerror}") from error


def _check_group(group: int | None) -> None:
    """Check that this process can give a file to a group, also if the file exists now and is created again later."""
    if group is not None and os.geteuid() != 0 and group not in (os.getegid(), *os.getgroups()):
        raise ConfigError(
            "--audit-log-group", str(group), "the user of this process is not in this group: add the user to the group"
        )
