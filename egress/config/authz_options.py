"""The options for the authorizers, and for the protocol of the authorization service."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option, Variable
from egress.config.policy_options import POLICY_OPTIONS, policy

_NONE: Final = ("none",)

AUTHZ_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="authz-url",
        group="Authorization",
        metavar="URL",
        help="URL of the authorization service. Appends /validate (or the path of the selected --authz-api) if "
        "missing. Without this option, the policy decides.",
        default="none",
        fields=("authz_url",),
        parse=values.authz_url,
        variables=(Variable(name="POSTMAN_RUNNER_AUTHZ_URL"),),
        clear=_NONE,
        url=True,
    ),
    Option(
        name="authz-timeout",
        group="Authorization",
        metavar="TIME",
        help="Timeout for one authorization request, in seconds or with a unit (500ms, 2m). After it, the client gets "
        "503.",
        default="5s",
        fields=("authz_timeout",),
        parse=values.duration,
    ),
    Option(
        name="authz-token-file",
        group="Authorization",
        metavar="FILE",
        help="A file with the bearer token for the authorization service. The variable EGRESS_AUTHZ_TOKEN contains "
        "the token itself.",
        default="none",
        fields=("authz_token",),
        parse=values.token_file,
        variables=(Variable(name="EGRESS_AUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="authz-client-cert",
        group="Authorization",
        metavar="FILE",
        help="A PEM file with a client certificate and its key for an https:// authorization service.",
        default="none",
        fields=("authz_client_cert",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="authz-via-upstream",
        group="Authorization",
        metavar="",
        help="Contact the authorization service through the upstream proxy instead of directly.",
        default="false",
        fields=("authz_via_upstream",),
        parse=values.boolean,
    ),
    Option(
        name="authz-max-concurrency",
        group="Authorization",
        metavar="N",
        help="Maximum number of concurrent authorization requests. Each uses its own connection.",
        default="256",
        fields=("authz_max_concurrency",),
        parse=values.number,
    ),
    Option(
        name="authz-queue",
        group="Authorization",
        metavar="N",
        help="Maximum number of authorization requests in the queue, within --authz-timeout. Above it, clients get "
        "503 immediately.",
        default="1024",
        fields=("authz_queue",),
        parse=values.number_or_zero,
    ),
    Option(
        name="authz-breaker-failures",
        group="Authorization",
        metavar="N|none",
        help="Consecutive failures that open the circuit breaker. While it is open, clients get 503 immediately. "
        "none: no circuit breaker.",
        default="5",
        fields=("authz_breaker_failures",),
        parse=values.number_or_none,
    ),
    Option(
        name="authz-api",
        group="Authorization",
        metavar="postman|authzen|opa|ext-authz",
        help="The API of the authorization service. postman: the contract of the Postman runner. authzen: AuthZEN's "
        "Access Evaluation API. opa: the data API of Open Policy Agent. ext-authz: the HTTP check of Envoy's "
        "ext_authz.",
        default="postman",
        fields=("authz_api",),
        parse=values.authz_api,
    ),
    Option(
        name="authz-body",
        group="Authorization",
        metavar="always|on-demand|never",
        help="When to send the request body to the authorization service. always: in each authorization request. "
        "on-demand: when the service requests it; other bodies are streamed. never: not at all.",
        default="always",
        fields=("authz_body",),
        parse=values.authz_body,
    ),
    Option(
        name="authz-decode-body",
        group="Authorization",
        metavar="",
        help="Also send the body without its Content-Encoding (gzip, deflate, br, zstd) to the authorization service, "
        "as decodedBody. The origin gets the body unchanged.",
        default="false",
        fields=("authz_decode_body",),
        parse=values.boolean,
    ),
    Option(
        name="authz-response-headers",
        group="Authorization",
        metavar="NAMES",
        help="With --authz-api ext-authz: header fields of the authorization response to set on the request.",
        default="none",
        fields=("authz_response_headers",),
        parse=values.field_name,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="authz-cache",
        group="Authorization",
        metavar="N|none",
        help="Maximum number of cached decisions. The authorization service sets how long each can be reused. none: "
        "no reuse.",
        default="4096",
        fields=("authz_cache",),
        parse=values.number_or_none,
    ),
    Option(
        name="authz-max-ttl",
        group="Authorization",
        metavar="TIME",
        help="Maximum time to live of a cached decision, regardless of the authorization service.",
        default="1h",
        fields=("authz_max_ttl",),
        parse=values.duration,
    ),
    Option(
        name="authz-max-stale",
        group="Authorization",
        metavar="TIME|0",
        help="How long after its time to live a cached decision can be reused while the authorization service is "
        "unavailable, if the service permits it.",
        default="5m",
        fields=("authz_max_stale",),
        parse=values.duration_or_zero,
    ),
    *POLICY_OPTIONS,
    Option(
        name="grpc-descriptors",
        group="Authorization",
        metavar="FILE",
        help="A descriptor set with the types of gRPC messages, for policies that match their fields. It contains "
        "imported files, too. Needs egressproxy[grpc].",
        default="none",
        fields=("grpc_descriptors",),
        parse=values.readable_file,
        clear=_NONE,
        repeatable=True,
    ),
    Option(
        name="secrets",
        group="Authorization",
        metavar="FILE",
        help="A TOML file with the secrets that decisions insert into requests as ${secret:NAME}. It lists the source "
        "of each secret (a file, a variable, or a command) and the hosts that may receive it.",
        default="none",
        fields=("secrets",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="approval-timeout",
        group="Authorization",
        metavar="TIME",
        help="Timeout of a pending approval. After it, the client gets 403.",
        default="5m",
        fields=("approval_timeout",),
        parse=values.duration,
    ),
    Option(
        name="approval-queue",
        group="Authorization",
        metavar="N",
        help="Maximum number of pending approvals. Above it, clients get 403 immediately.",
        default="100",
        fields=("approval_queue",),
        parse=values.number,
    ),
    Option(
        name="mode",
        group="Authorization",
        metavar="enforce|observe",
        help="observe: no decision is enforced. Denied requests, and requests without a decision, are forwarded, and "
        "the audit log marks them. Only denials by the address guard, the allowed ports, or rules about addresses are "
        "enforced.",
        default="enforce",
        fields=("mode",),
        parse=values.mode,
    ),
    Option(
        name="shadow-authz-url",
        group="Authorization",
        metavar="URL",
        help="URL of a shadow authorization service. It receives the same authorization requests without any effect. "
        "Disagreements are counted and logged. TLS trust and connections are the same as for --authz-url.",
        default="none",
        fields=("shadow_authz_url",),
        parse=values.authz_url,
        clear=_NONE,
        url=True,
    ),
    Option(
        name="shadow-authz-token-file",
        group="Authorization",
        metavar="FILE",
        help="A file with the bearer token for the shadow authorization service. The token of --authz-token-file is "
        "never sent to it. The variable EGRESS_SHADOW_AUTHZ_TOKEN contains the token itself.",
        default="none",
        fields=("shadow_authz_token",),
        parse=values.token_file,
        variables=(Variable(name="EGRESS_SHADOW_AUTHZ_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="shadow-policy",
        group="Authorization",
        metavar="FILE|URL",
        help="A TOML file with a shadow policy, or an https:// URL as for --policy. It evaluates the same requests "
        "without any effect. Cannot be combined with --shadow-authz-url.",
        default="none",
        fields=("shadow_policy",),
        parse=policy,
        clear=_NONE,
        url=True,
    ),
    Option(
        name="shadow-log",
        group="Authorization",
        metavar="FILE",
        help="A file with one line of JSON for each disagreement between the authorizer and its shadow.",
        default="none",
        fields=("shadow_log",),
        parse=values.shadow_log,
        clear=_NONE,
    ),
    Option(
        name="body-limit",
        group="Authorization",
        metavar="SIZE",
        help="Maximum length of a request body that is sent to the authorizer, in bytes or with a unit (512k, 1MiB).",
        default="16MiB",
        fields=("limits.body",),
        parse=values.size,
    ),
    Option(
        name="body-memory",
        group="Authorization",
        metavar="SIZE",
        help="Maximum memory for all bodies that are collected for the authorizer. One client gets at most half of the "
        "free memory. A body that does not fit waits for up to --body-timeout; then the client gets 503.",
        default="256MiB",
        fields=("limits.body_memory",),
        parse=values.size,
    ),
    Option(
        name="oversize-body",
        group="Authorization",
        metavar="refuse|truncate",
        help="What to do with a request body over the limit. refuse: reject the request with 413. truncate: the "
        "authorizer decides on the first part, and is told that it is truncated.",
        default="refuse",
        fields=("oversize_body",),
        parse=values.oversize_body,
    ),
)
