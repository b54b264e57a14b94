"""The parser of the condition on gRPC calls."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from egress.policy.match.grpc_calls import GrpcCalls
from egress.policy.match.grpc_fields import GrpcFields
from egress.policy.match.json_body import Expression, Wanted, compile_expression
from egress.policy.match.patterns import REGEX, Pattern, compile_pattern
from egress.policy.parse.toml_reader import Table, nearest

_KEYS: Final = ("service", "method")
_FIELDS: Final = "fields"
_ALL: Final = (*_KEYS, _FIELDS)


def read_grpc(table: Table, given: dict[str, Any], *, broad: bool) -> GrpcCalls:
    """Parse the table C{grpc} of a rule.

    @param table: the table of the rule.
    @param given: the table C{grpc}.
    @param broad: whether an uncertain condition counts as a match.
    @raise egress.policy.parse.toml_reader.PolicyError: if the table is not valid.
    """
    unknown = next((key for key in given if key not in _ALL), None)
    if unknown is not None:
        raise table.error(f"grpc {unknown!r}: is not known here; {nearest(unknown, _ALL)}", "grpc", unknown)
    services, methods = (_patterns(table, key, given.get(key), broad) for key in _KEYS)
    return GrpcCalls(services, methods)


def read_grpc_fields(table: Table, given: dict[str, Any], *, broad: bool) -> GrpcFields | None:
    """Parse the table C{grpc.fields} of a rule, from the same arguments as L{read_grpc}.

    @return: C{None} if there is none.
    @raise egress.policy.parse.toml_reader.PolicyError: if the table is not valid.
    """
    fields = given.get(_FIELDS)
    if fields is None:
        return None
    if not isinstance(fields, dict) or not fields:
        raise table.error("grpc 'fields': write a table of expressions and values", "grpc", _FIELDS)
    where = ("grpc", _FIELDS)
    return GrpcFields(tuple(read_field(table, where, text, value, broad=broad) for text, value in fields.items()))


def read_field(table: Table, at: tuple[str, ...], text: str, value: Any, *, broad: bool) -> tuple[Expression, Wanted]:
    """Parse an expression for fields of messages, and the values that it may select.

    @param at: the position of the table of fields.
    @raise egress.policy.parse.toml_reader.PolicyError: if one of them is not valid.
    """
    what, where = f"grpc field {text!r}", (*at, text)
    expression = table.reading(compile_expression, text, what, *where)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise table.error(f"{what}: is empty and would match nothing", *where)
    return expression, table.reading(partial(Wanted.of, broad=broad), values, what, *where)


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
