"""The options for the limits of a proxy; a part of L{egress.config.options}."""

from __future__ import annotations

import re
from typing import Final

from egress.config import parsers as values
from egress.config.model import MAX_HTTP2_STREAMS
from egress.config.option import Option


def http2_streams(text: str, place: values.ParseContext) -> int:
    """Parse the number of concurrent streams of an HTTP/2 connection."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_HTTP2_STREAMS:
        raise values.BadValue(f"write a number from 1 to {MAX_HTTP2_STREAMS}")
    return int(text)


LIMIT_OPTIONS: Final = (
    Option(
        name="max-connections",
        group="Limits",
        metavar="N",
        help="Maximum number of client connections. Above it, clients get 503. The limit of open files can reduce "
        "this number.",
        default="16384",
        fields=("limits.connections",),
        parse=values.number,
    ),
    Option(
        name="max-connections-per-client",
        group="Limits",
        metavar="N",
        help="Maximum number of connections from one address, or one /64 prefix of IPv6. Above it, the client gets "
        "429.",
        default="4096",
        fields=("limits.connections_per_client",),
        parse=values.number,
    ),
    Option(
        name="http2-streams",
        group="Limits",
        metavar="N",
        help="Maximum number of concurrent requests on one HTTP/2 connection with a client, from 1 to 1000. The proxy "
        "announces it, and refuses further streams, which clients then send later.",
        default="100",
        fields=("limits.http2_streams",),
        parse=http2_streams,
    ),
    Option(
        name="head-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout for a whole request head, and between two reads of a body that is sent to the authorizer. After "
        "it, the client gets 408.",
        default="30s",
        fields=("limits.head_timeout",),
        parse=values.duration,
    ),
    Option(
        name="body-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout for a whole body that is sent to the authorizer. After it, the client gets 408.",
        default="5m",
        fields=("limits.body_timeout",),
        parse=values.duration,
    ),
    Option(
        name="idle-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout of an idle connection between two requests, for clients and origins.",
        default="75s",
        fields=("limits.idle_timeout",),
        parse=values.duration,
    ),
    Option(
        name="connect-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout for connecting to an origin or to the upstream proxy. After it, the client gets 504.",
        default="15s",
        fields=("limits.connect_timeout",),
        parse=values.duration,
    ),
    Option(
        name="response-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout for the start of a response from an origin, and between two reads of the response. After it, "
        "the client gets 504 or, if the response has started, the connection is aborted.",
        default="5m",
        fields=("limits.response_timeout",),
        parse=values.duration,
    ),
    Option(
        name="tunnel-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout of a tunnel or an upgraded connection without data in either direction.",
        default="1h",
        fields=("limits.tunnel_timeout",),
        parse=values.duration,
    ),
    Option(
        name="drain-timeout",
        group="Limits",
        metavar="TIME",
        help="Grace period for in-flight requests at shutdown.",
        default="20s",
        fields=("limits.drain_timeout",),
        parse=values.duration,
    ),
)
