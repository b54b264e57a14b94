"""The serialization of audit records for the process that stores them.

C{marshal} takes a microsecond for a record, and the loaded values are only data: tuples, texts and numbers.  The reader
runs the same interpreter, because the format can differ between versions of Python.
"""

from __future__ import annotations

import marshal
from operator import attrgetter
from typing import Any, Final

import attrs

from egress.model.decision import ClientIdentity
from egress.model.grpc_result import GrpcResult
from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord

_NAMES: Final = [each.name for each in attrs.fields(ExchangeRecord)]
_CLIENT: Final = _NAMES.index("client")
_TRACE: Final = _NAMES.index("trace")
_GRPC: Final = _NAMES.index("grpc")
_values_of: Final = attrgetter(*_NAMES)
# Later versions look for equal values, which takes more time than it saves.
_VERSION: Final = 2


def encode_record(record: ExchangeRecord) -> bytes:
    """Serialize a record, without its trace."""
    values: list[Any] = list(_values_of(record))
    client = record.client
    values[_CLIENT] = (client.address, client.port, client.identity)
    values[_TRACE] = None
    if record.grpc is not None:
        values[_GRPC] = attrs.astuple(record.grpc)
    try:
        return marshal.dumps(values, _VERSION)
    except ValueError:
        # An authorizer of the application can use subclasses of the types.
        return marshal.dumps(_plain(values), _VERSION)


def _plain(value: Any) -> Any:
    """Return a value of the types that C{marshal} accepts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    for kind in (int, float, str):
        if isinstance(value, kind):
            # The constructor would call a method of the subclass.
            return kind.__add__(value, kind())  # type: ignore[operator]
    return str(value)


def encode_policy(use: PolicyUse) -> bytes:
    """Serialize the use of a policy."""
    return marshal.dumps(attrs.asdict(use), _VERSION)


def decode_entry(content: bytes) -> ExchangeRecord | PolicyUse:
    """Return the record, or the use of a policy, of a serialization."""
    values = marshal.loads(content)  # noqa: S302 - from the proxy, over its own socket
    return PolicyUse(**values) if isinstance(values, dict) else _record(list(values))


def decode_record(content: bytes) -> ExchangeRecord:
    """Return the record of a serialization."""
    return _record(list(marshal.loads(content)))  # noqa: S302 - from the proxy, over its own socket


def _record(values: list[Any]) -> ExchangeRecord:
    values[_CLIENT] = ClientIdentity(*values[_CLIENT])
    if values[_GRPC] is not None:
        values[_GRPC] = GrpcResult(*values[_GRPC])
    return ExchangeRecord(*values)
