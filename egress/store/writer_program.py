"""The process that writes the audit store of a proxy: C{python -m egress.store.writer_program}.

It inherits one end of a socket pair, whose descriptor is its argument.  It ends when the proxy closes the other end,
also if the proxy was killed: then it first writes the batches that it has received.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from egress.model.converters import ConfigError
from egress.store.batches import BatchReport, StoreBatches
from egress.store.location import configured_store
from egress.store.record_codec import decode_entry
from egress.store.writer_ipc import IGNORED, WriterSpec, receive_batch, receive_spec, report_line


class Writer:
    """Writes the batches of a proxy; it opens the store when the first batch arrives.

    @param spec: the settings.
    """

    def __init__(self, spec: WriterSpec) -> None:
        self._spec = spec
        self._batches: StoreBatches | None = None
        self._last = BatchReport()

    def write(self, records: Sequence[bytes], *, is_further: bool = False) -> BatchReport:
        """Write a batch, or a part of it.

        @param is_further: whether it is a further part of the batch before it.  If an earlier part must be written
            again, it is not written: it would overtake that part, and the proxy sends both again.
        """
        if not (is_further and self._last.again):
            self._last = self._write(records)
        return self._last

    def _write(self, records: Sequence[bytes]) -> BatchReport:
        try:
            batches = self._opened()
        except ConfigError as error:
            return BatchReport(fault=error.remedy, again=True)
        return batches.work(list(map(decode_entry, records)))

    def _opened(self) -> StoreBatches:
        if self._batches is None:
            spec = self._spec
            self._batches = StoreBatches(
                configured_store(spec.config, worker=spec.worker, check=False, signer=spec.signer),
                seconds=time.monotonic,
                now=time.time,
                retention=spec.retention,
                rolls_up=spec.rolls_up,
            )
        return self._batches

    def close(self) -> None:
        """Close the store."""
        if self._batches is not None:
            self._batches.finish(())


def serve(line: socket.socket) -> None:
    """Write batches until the proxy closes the socket."""
    spec = receive_spec(line)
    if spec is None:
        return
    writer = Writer(spec)
    try:
        while (batch := receive_batch(line)) is not None:
            is_further, records = batch
            # A proxy that was killed does not receive the result of its last batch.
            with suppress(ConnectionError):
                line.sendall(report_line(writer.write(records, is_further=is_further)))
    finally:
        writer.close()


def main() -> None:
    """Run the process on the socket that the proxy passes."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as line:
        serve(line)


if __name__ == "__main__":
    main()
