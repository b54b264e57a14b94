"""The options for the bounds that a proxy keeps; part of L{egress.config.options}."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option

LIMIT_OPTIONS: Final = (
    Option(
        name="max-connections",
        group="Limits",
        metavar="N",
        help="How many client connections may be open; beyond it, clients get 503. Fewer where the limit of open files "
        "leaves no room for so many.",
        default="16384",
        fields=("limits.connections",),
        parse=values.number,
    ),
    Option(
        name="max-connections-per-client",
        group="Limits",
        metavar="N",
        help="How many of them may come from one address, or one /64 of IPv6 addresses; beyond it, the client gets "
        "429.",
        default="4096",
        fields=("limits.connections_per_client",),
        parse=values.number,
    ),
    Option(
        name="head-timeout",
        group="Limits",
        metavar="TIME",
        help="What a client has for a whole request head, and between two reads of a body that is put to the "
        "authorizer; then it gets 408.",
        default="30s",
        fields=("limits.head_timeout",),
        parse=values.duration,
    ),
    Option(
        name="body-timeout",
        group="Limits",
        metavar="TIME",
        help="What a client has for the whole of a body that is put to the authorizer; then it gets 408.",
        default="5m",
        fields=("limits.body_timeout",),
        parse=values.duration,
    ),
    Option(
        name="idle-timeout",
        group="Limits",
        metavar="TIME",
        help="How long a connection is kept between two requests, a client's or an origin's.",
        default="75s",
        fields=("limits.idle_timeout",),
        parse=values.duration,
    ),
    Option(
        name="connect-timeout",
        group="Limits",
        metavar="TIME",
        help="What connecting to an origin or to the upstream proxy may take; then the client gets 504.",
        default="15s",
        fields=("limits.connect_timeout",),
        parse=values.duration,
    ),
    Option(
        name="response-timeout",
        group="Limits",
        metavar="TIME",
        help="How long an origin may be silent, before its answer and within it; then the client gets 504, or sees its "
        "connection cut.",
        default="5m",
        fields=("limits.response_timeout",),
        parse=values.duration,
    ),
    Option(
        name="tunnel-timeout",
        group="Limits",
        metavar="TIME",
        help="How long a tunnel or an upgraded connection may be silent in both directions.",
        default="1h",
        fields=("limits.tunnel_timeout",),
        parse=values.duration,
    ),
    Option(
        name="drain-timeout",
        group="Limits",
        metavar="TIME",
        help="What exchanges under way have to finish when the proxy is being stopped.",
        default="20s",
        fields=("limits.drain_timeout",),
        parse=values.duration,
    ),
)
