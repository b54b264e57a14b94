"""The parser of the condition on gRPC calls."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from egress.policy.match.grpc_calls import GrpcCalls
from egress.policy.match.patterns import REGEX, Pattern, compile_pattern
from egress.policy.parse.toml_reader import Table, nearest

_KEYS: Final = ("service", "method")


def read_grpc(table: Table, given: dict[str, Any], *, broad: bool) -> GrpcCalls:
    """Parse the table C{grpc} of a rule.

    @param table: the table of the rule.
    @param given: the table C{grpc}.
    @param broad: whether an uncertain condition counts as a match.
    @raise egress.policy.parse.toml_reader.PolicyError: if the table is not valid.
    """
    unknown = next((key for key in given if key not in _KEYS), None)
    if unknown is not None:
        raise table.error(f"grpc {unknown!r}: is not known here; {nearest(unknown, _KEYS)}", "grpc", unknown)
    services, methods = (_patterns(table, key, given.get(key), broad) for key in _KEYS)
    return GrpcCalls(services, methods)


def _patterns(table: Table, key: str, value: Any, broad: bool) -> tuple[Pattern, ...]:
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) for one in values):
        raise table.error(f"grpc {key!r}: write a pattern, or a list of patterns", "grpc", key)
    for one in values:
        if "/" in one and not one.startswith(REGEX):
            example = 'service = "package.Service" and method = "Method"'
            raise table.error(f"grpc {key!r}, {one!r}: contains a slash; write {example}", "grpc", key)
    compile_one = partial(compile_pattern, broad=broad)
    return tuple(table.reading(compile_one, one, f"grpc {key!r}, {one!r}", "grpc", key) for one in values)
