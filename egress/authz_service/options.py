"""The options of the authorization service; those that it shares with the proxy mean the same."""

from __future__ import annotations

from typing import Final

import attrs

from egress.config import parsers as values
from egress.config.option import Option, Variable
from egress.config.options import BY_NAME

_PREFIX: Final = "EGRESSAUTHZ_"
_NONE: Final = ("none",)


def _shared(name: str, **changes: str | tuple[str, ...]) -> Option:
    return attrs.evolve(BY_NAME[name], prefix=_PREFIX, variables=(), **changes)  # type: ignore[arg-type]


PDP_OPTIONS: Final[tuple[Option, ...]] = (
    _shared(
        "listen",
        help="Where callers connect: a Twisted server endpoint, such as tcp:9000:interface=127.0.0.1, "
        "tcp6:9000:interface=\\:\\:1, unix:/run/egressauthz.sock or ssl:9443:privateKey=authz.pem, the latter with "
        "client-ca=FILE where callers must show a certificate.",
        default="tcp:9000:interface=127.0.0.1",
    ),
    Option(
        name="token-file",
        group="Listening",
        metavar="FILE",
        help="A file that holds the bearer token which callers must show. The variable EGRESSAUTHZ_TOKEN holds the "
        "token itself.",
        default="none",
        fields=("token",),
        parse=values.token_file,
        variables=(Variable("EGRESSAUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
        prefix=_PREFIX,
    ),
    _shared(
        "policy",
        help="The rules that decide, a TOML file. It is read again when it changes, or one that it includes.",
    ),
    _shared(
        "allow-address",
        group="Deciding",
        help='A range of private addresses that private_addresses = "deny" of the policy is not about. Give what '
        "the proxies have.",
    ),
    _shared(
        "body-limit",
        group="Limits",
        help="How long the body of a request may be that comes with a question, in bytes or with a unit (512k, 1MiB). "
        "Give at least what the proxies have.",
        fields=("body_limit",),
    ),
    _shared(
        "max-connections",
        help="How many connections of callers are open at the same time; a new one takes the place of an idle one of a "
        "client without the token, or is closed.",
        default="4096",
        fields=("connections",),
    ),
    _shared(
        "idle-timeout",
        help="How long a connection is kept between two questions.",
        fields=("idle_timeout",),
    ),
    Option(
        name="question-timeout",
        group="Limits",
        metavar="TIME",
        help="What a caller has for a whole question, from its first byte to its last.",
        default="15s",
        fields=("question_timeout",),
        parse=values.duration,
        prefix=_PREFIX,
    ),
    _shared(
        "drain-timeout",
        help="How long a service that stops waits for its answers to be read.",
        fields=("drain_timeout",),
    ),
    _shared("audit-log", help="Where one line of JSON is written for each question; - is standard output."),
    _shared(
        "audit-failure",
        help="What happens while the audit log cannot be written, as on a full disk: the service continues, and counts "
        "the lines that are lost; or it decides on nothing, with 503, until a line can be written again.",
    ),
    _shared("metrics-port"),
    _shared("metrics-interface"),
    _shared("config"),
)
