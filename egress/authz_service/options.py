"""The options of the authorization service.  Options that the proxy has, too, have the same meaning."""

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


AUTHZ_SERVICE_OPTIONS: Final[tuple[Option, ...]] = (
    _shared(
        "listen",
        help="A listener for callers, as a Twisted server endpoint: tcp:9000:interface=127.0.0.1, "
        "tcp6:9000:interface=\\:\\:1, unix:/run/egressauthz.sock or ssl:9443:privateKey=authz.pem. With ssl:, "
        "client-ca=FILE requires a client certificate.",
        default="tcp:9000:interface=127.0.0.1",
    ),
    Option(
        name="token-file",
        group="Listeners",
        metavar="FILE",
        help="A file with the bearer token that callers must send. The variable EGRESSAUTHZ_TOKEN contains the token "
        "itself.",
        default="none",
        fields=("token",),
        parse=values.token_file,
        variables=(Variable(name="EGRESSAUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
        prefix=_PREFIX,
    ),
    _shared(
        "policy",
        metavar="FILE",
        help="A TOML file with the rules of the policy. It is reloaded when it, or an included file, changes.",
    ),
    _shared("grpc-descriptors"),
    _shared(
        "allow-address",
        group="Authorization",
        help='A range of private addresses to permit although private_addresses = "deny" in the policy denies it. Use '
        "the same values as in the proxies.",
    ),
    _shared(
        "body-limit",
        group="Limits",
        help="Maximum length of a request body in an authorization request, in bytes or with a unit (512k, 1MiB). Use "
        "at least the value of the proxies.",
        fields=("body_limit",),
    ),
    _shared(
        "max-connections",
        help="Maximum number of connections of callers. Above it, a new connection replaces an idle connection of a "
        "caller without the token; if there is none, the new connection is closed.",
        default="4096",
        fields=("connections",),
    ),
    _shared(
        "idle-timeout",
        help="Timeout of an idle connection between two authorization requests.",
        fields=("idle_timeout",),
    ),
    Option(
        name="request-timeout",
        group="Limits",
        metavar="TIME",
        help="Timeout for receiving a whole authorization request.",
        default="15s",
        fields=("request_timeout",),
        parse=values.duration,
        prefix=_PREFIX,
    ),
    _shared(
        "drain-timeout",
        help="Grace period at shutdown for callers to read their responses.",
        fields=("drain_timeout",),
    ),
    _shared("audit-log", help="The audit log: one line of JSON for each authorization request. - is standard output."),
    _shared("audit-log-mode"),
    _shared("audit-log-group"),
    _shared(
        "audit-failure",
        help="What to do while the audit log cannot be written, for example on a full disk. continue: continue, and "
        "count the lost lines. deny: respond with 503 to every authorization request until a line can be written "
        "again.",
    ),
    _shared("log-format", help="The format of the log: lines of text, or one JSON object for each record."),
    _shared("log-level"),
    _shared("metrics-port", help="The TCP port for /metrics, /health/live and /health/ready."),
    _shared("metrics-interface"),
    _shared("config"),
)
