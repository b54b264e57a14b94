"""The options that say who decides, and how they are asked."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option, Variable

_NONE: Final = ("none",)

DECIDING_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="authz-url",
        group="Deciding",
        metavar="URL",
        help="The authorization service, which is asked about every request. /validate is appended to the URL unless "
        "it ends so; with another --authz-api, what that has there. Without it, the policy decides.",
        default="none",
        fields=("authz_url",),
        parse=values.authz_url,
        variables=(Variable("POSTMAN_RUNNER_AUTHZ_URL"),),
        clear=_NONE,
        url=True,
    ),
    Option(
        name="authz-timeout",
        group="Deciding",
        metavar="TIME",
        help="What the authorization service has for one whole answer, in seconds or with a unit (500ms, 2m). "
        "After it, the request is refused with 503.",
        default="5s",
        fields=("authz_timeout",),
        parse=values.duration,
    ),
    Option(
        name="authz-token-file",
        group="Deciding",
        metavar="FILE",
        help="A file that holds the bearer token with which the authorization service is called. The variable "
        "EGRESS_AUTHZ_TOKEN holds the token itself.",
        default="none",
        fields=("authz_token",),
        parse=values.token_file,
        variables=(Variable("EGRESS_AUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="authz-client-cert",
        group="Deciding",
        metavar="FILE",
        help="A PEM file with a certificate and its key, shown to an https:// authorization service.",
        default="none",
        fields=("authz_client_cert",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="authz-via-upstream",
        group="Deciding",
        metavar="",
        help="Call the authorization service through the upstream proxy; otherwise it is called directly.",
        default="false",
        fields=("authz_via_upstream",),
        parse=values.boolean,
    ),
    Option(
        name="authz-max-concurrency",
        group="Deciding",
        metavar="N",
        help="How many questions are put to the authorization service at the same time, each over a connection of its "
        "own.",
        default="256",
        fields=("authz_max_concurrency",),
        parse=values.number,
    ),
    Option(
        name="authz-queue",
        group="Deciding",
        metavar="N",
        help="How many questions wait for their turn, within --authz-timeout; beyond that, requests are refused with "
        "503 at once.",
        default="1024",
        fields=("authz_queue",),
        parse=values.number_or_zero,
    ),
    Option(
        name="authz-breaker-failures",
        group="Deciding",
        metavar="N|none",
        help="After how many questions in a row without an answer the authorization service is left alone for a while: "
        "requests are then refused with 503 at once. none: it is always asked.",
        default="5",
        fields=("authz_breaker_failures",),
        parse=values.number_or_none,
    ),
    Option(
        name="authz-api",
        group="Deciding",
        metavar="postman|authzen|opa|ext-authz",
        help="How the authorization service is asked: by the contract of the Postman runner, AuthZEN's Access "
        "Evaluation API, the data API of Open Policy Agent, or the HTTP check of Envoy's ext_authz.",
        default="postman",
        fields=("authz_api",),
        parse=values.authz_api,
    ),
    Option(
        name="authz-body",
        group="Deciding",
        metavar="always|on-demand|never",
        help="When the authorization service is given the content of a request: with each question; when it answers "
        "that it needs it, so that all other content streams; or not at all.",
        default="always",
        fields=("authz_body",),
        parse=values.authz_body,
    ),
    Option(
        name="authz-response-headers",
        group="Deciding",
        metavar="NAMES",
        help="With --authz-api ext-authz: header fields of its answers that are set on the request.",
        default="none",
        fields=("authz_response_headers",),
        parse=values.field_name,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="authz-cache",
        group="Deciding",
        metavar="N|none",
        help="How many decisions are kept for reuse, for as long as the authorization service says. none: every "
        "request is put to it.",
        default="4096",
        fields=("authz_cache",),
        parse=values.number_or_none,
    ),
    Option(
        name="authz-max-ttl",
        group="Deciding",
        metavar="TIME",
        help="For how long a decision is reused at most, whatever the authorization service says.",
        default="1h",
        fields=("authz_max_ttl",),
        parse=values.duration,
    ),
    Option(
        name="authz-max-stale",
        group="Deciding",
        metavar="TIME|0",
        help="For how long beyond that it is reused at most while the authorization service gives no answers, where "
        "that allows it.",
        default="5m",
        fields=("authz_max_stale",),
        parse=values.duration_or_zero,
    ),
    Option(
        name="policy",
        group="Deciding",
        metavar="FILE",
        help="The rules of the embedded authorizer, a TOML file. Not together with --authz-url.",
        default="the starter policy of the package",
        fields=("policy",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="secrets",
        group="Deciding",
        metavar="FILE",
        help="A TOML file with the secrets that decisions put into requests as ${secret:NAME}: where each comes from "
        "(a file, a variable, a command), and to which hosts it may be sent.",
        default="none",
        fields=("secrets",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="approval-timeout",
        group="Deciding",
        metavar="TIME",
        help="How long a request is held that a person is to decide on; then it is refused with 403.",
        default="5m",
        fields=("approval_timeout",),
        parse=values.duration,
    ),
    Option(
        name="approval-queue",
        group="Deciding",
        metavar="N",
        help="How many such requests are held; beyond that, they are refused with 403 at once.",
        default="100",
        fields=("approval_queue",),
        parse=values.number,
    ),
    Option(
        name="mode",
        group="Deciding",
        metavar="enforce|observe",
        help="observe: nothing is enforced. What would be refused, or could not be decided, leaves all the same and is "
        "on record as such; only what the address guard, the allowed ports or a rule about addresses refuse does not.",
        default="enforce",
        fields=("mode",),
        parse=values.mode,
    ),
    Option(
        name="shadow-authz-url",
        group="Deciding",
        metavar="URL",
        help="A second authorization service, which is asked the same questions without any effect; disagreements are "
        "counted and logged. It is trusted, and called, as that of --authz-url is.",
        default="none",
        fields=("shadow_authz_url",),
        parse=values.authz_url,
        clear=_NONE,
        url=True,
    ),
    Option(
        name="shadow-authz-token-file",
        group="Deciding",
        metavar="FILE",
        help="A file that holds the bearer token for it; the token of --authz-token-file is never sent there. The "
        "variable EGRESS_SHADOW_AUTHZ_TOKEN holds the token itself.",
        default="none",
        fields=("shadow_authz_token",),
        parse=values.token_file,
        variables=(Variable("EGRESS_SHADOW_AUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="shadow-policy",
        group="Deciding",
        metavar="FILE",
        help="Rules that are asked the same questions without any effect, a TOML file. Not together with "
        "--shadow-authz-url.",
        default="none",
        fields=("shadow_policy",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="shadow-log",
        group="Deciding",
        metavar="FILE",
        help="Where one line of JSON is written for each disagreement of the two.",
        default="none",
        fields=("shadow_log",),
        parse=values.shadow_log,
        clear=_NONE,
    ),
    Option(
        name="body-limit",
        group="Deciding",
        metavar="SIZE",
        help="How much of a request body is put to an authorizer that looks at bodies, in bytes or with a unit "
        "(512k, 1MiB).",
        default="16MiB",
        fields=("limits.body",),
        parse=values.size,
    ),
    Option(
        name="body-memory",
        group="Deciding",
        metavar="SIZE",
        help="How much memory all bodies together may take that are put to an authorizer. One client gets half of what "
        "is free at most; what does not fit waits for up to --body-timeout, then gets 503.",
        default="256MiB",
        fields=("limits.body_memory",),
        parse=values.size,
    ),
    Option(
        name="oversize-body",
        group="Deciding",
        metavar="refuse|truncate",
        help="What becomes of a request whose body is over the limit: it is refused with 413, or the authorizer "
        "decides on the beginning and is told so.",
        default="refuse",
        fields=("oversize_body",),
        parse=values.oversize_body,
    ),
)
