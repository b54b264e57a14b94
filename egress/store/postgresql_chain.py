"""The chain of signed blocks in PostgreSQL; see L{egress.store.chain}.

All proxies extend one chain, under the lock with which each transaction numbers its records.  The digests of records
are computed before the lock, and the block is stored by the statement that stores the records.  So other writers wait
only for one signature more.

The leaf of a record has the digest of its line, which the proxy sends, or which waited in a spool.  The digest excludes
the words for searches.  It includes the name of the machine and the number of the worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any, Final, Protocol

import attrs

from egress.store.chain import Checkpoint, Signer, Stored, leaf_of_digest
from egress.store.chain_table import ChainStore, block_values, next_block
from egress.store.postgresql_row import inet_text
from egress.store.postgresql_schema import INSERT_SIGNED, KNOWN, LOCK_CHAIN, SIGNED
from egress.store.schema import ID_BITS

_WORDS: Final = b',"words":'
_TIME: Final = b'{"time_ms":'
_OF_ID: Final = (1 << ID_BITS) - 1
_INET: Final = SIGNED.index("client_inet")

_encode = json.JSONEncoder(separators=(",", ":")).encode


class SigningStore(ChainStore, Protocol):
    """A store in PostgreSQL that signs its records."""

    def transaction(self) -> AbstractContextManager[bool]:
        """Run statements in one transaction."""


@attrs.frozen
class Origin:
    """The process that writes records.

    @ivar node: the name of its machine.
    @ivar worker: the number of the worker.
    """

    node: str
    worker: int

    @property
    def suffix(self) -> bytes:
        """The end of the content of a leaf."""
        return f',"node":{_encode(self.node)},"worker":{self.worker}}}'.encode("ascii")

    def __str__(self) -> str:
        """Return the name of the writer in findings."""
        return f"{self.node} worker {self.worker}" if self.worker else self.node


@attrs.frozen
class _Line:
    """A record that is not stored yet."""

    text: bytes
    time_ms: int
    digest: bytes


class _StoredAlreadyError(Exception):
    """The store has some of the records."""


def line_digest(line: bytes, origin: Origin) -> tuple[int, bytes]:
    """Return the time of a line, in milliseconds, and the digest of its record.

    @raise ValueError: if it is not such a line.
    """
    content, words, _ = line.rpartition(_WORDS)
    # No text in JSON contains these bytes, because it has a backslash before each quote.
    if not (words and content.startswith(_TIME)):
        raise ValueError("not a line of the spool")
    time_ms = int(content[len(_TIME) : content.index(b",")])
    return time_ms, sha256(content + origin.suffix).digest()


def stored_row(row: Sequence[Any]) -> Stored:
    """Return a record as its verification takes it.

    @param row: the id, C{seq}, request id, node, worker, and the columns L{SIGNED}.
    """
    record_id, seq, name, node, worker, *values = row
    address = values[_INET]
    values[_INET] = None if address is None else inet_text(address)
    document = {key: value for key, value in zip(SIGNED, values, strict=True) if value is not None}
    origin = Origin(node, worker)
    content = _encode(document).encode("ascii")[:-1] + origin.suffix
    return Stored(seq, leaf_of_digest(record_id, sha256(content).digest()), name, str(origin))


def append_signed(
    store: SigningStore,
    signer: Signer,
    lines: Sequence[bytes],
    origin: Origin,
    own: Checkpoint | None,
    *,
    prepare: Callable[[], None] = lambda: None,
) -> Checkpoint | None:
    """Store lines and their block in one transaction; a line whose request id is stored already is ignored.

    @param own: the last block that this process has signed.
    @param prepare: begins each transaction.
    @return: the block, or C{own} if all records are stored already.
    @raise ValueError: if one of the lines is invalid.
    """
    prepared = [_Line(line, *line_digest(line, origin)) for line in lines]
    try:
        with store.transaction():
            prepare()
            return _append(store, signer, prepared, origin, own)
    except _StoredAlreadyError:
        # A commit whose result the proxy did not receive.
        with store.transaction():
            prepare()
            store.rows(LOCK_CHAIN)
            given = {json.loads(line.text)["request_id"]: line for line in reversed(prepared)}
            for (name,) in store.rows(KNOWN, (list(given),)):
                given.pop(name, None)
            fresh = list(reversed(given.values()))
            return _append(store, signer, fresh, origin, own) if fresh else own


def _append(
    store: ChainStore, signer: Signer, lines: Sequence[_Line], origin: Origin, own: Checkpoint | None
) -> Checkpoint:
    seq, number, digest = store.rows(LOCK_CHAIN)[0]
    numbered = enumerate(lines, seq + 1)
    leaves = [leaf_of_digest((line.time_ms << ID_BITS) | (each & _OF_ID), line.digest) for each, line in numbered]
    head = None if number is None else Checkpoint(number, digest)
    block = next_block(store, signer, head, own, first_seq=seq + 1, leaves=leaves)
    document = "[" + ",".join(line.text.decode("ascii") for line in lines) + "]"
    values = (origin.node, origin.worker, document, *block_values(block), len(lines), block.number, block.digest)
    ((added,),) = store.rows(INSERT_SIGNED, values)
    if added != len(lines):
        raise _StoredAlreadyError
    return Checkpoint(block.number, block.digest)
