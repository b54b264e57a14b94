"""The table of options.

It is all there is: C{--help}, the names of the environment variables, the keys of the configuration file and the page
in the documentation come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egress import values
from egress.limit_options import LIMIT_OPTIONS
from egress.model.bypass import Bypass
from egress.option import Option, Variable

_NONE: Final = ("none",)


def _bypass(entries: Sequence[str]) -> Bypass:
    return Bypass.parse(",".join(entries))


_PROXY_VARIABLES = (
    Variable("HTTP_PROXY", ("upstream_http",), conventional=True),
    Variable("HTTPS_PROXY", ("upstream_https",), conventional=True),
)

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="listen",
        group="Listening",
        metavar="ENDPOINT",
        help="Where clients connect: a Twisted server endpoint, such as tcp:8080:interface=127.0.0.1, "
        "tcp6:8080:interface=\\:\\:1, unix:/run/egress.sock or ssl:8443:privateKey=proxy.pem, with settings of its own "
        "behind it: client-auth=FILE or none, and with ssl: client-ca=FILE.",
        default="tcp:8080:interface=127.0.0.1",
        fields=("listen",),
        parse=values.endpoint,
        repeatable=True,
    ),
    Option(
        name="client-auth",
        group="Listening",
        metavar="FILE",
        help="The hashed secrets of clients, one line for each, made by: egress client NAME. Requests "
        "without one of them are answered with 407. It is read again when it changes.",
        default="none",
        fields=("client_auth",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="authz-url",
        group="Deciding",
        metavar="URL",
        help="The authorization service, which is asked about every request; /validate is appended to the URL unless "
        "it ends so. Without it, the policy decides.",
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
        name="body-limit",
        group="Deciding",
        metavar="SIZE",
        help="How much of a request body is put to an authorizer that looks at bodies, in bytes or with a unit "
        "(512k, 1MiB).",
        default="1MiB",
        fields=("limits.body",),
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
    Option(
        name="passthrough",
        group="Certificates",
        metavar="HOST",
        help="A host, or *.host for those below it, each with an optional :port, whose TLS is tunnelled unread. "
        "The authorizer is asked about the tunnel.",
        default="none",
        fields=("passthrough",),
        parse=values.host_pattern,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="opaque-ports",
        group="Certificates",
        metavar="PORTS",
        help="TCP ports, or ranges as in 5432-5433, to which a CONNECT is tunnelled unread, whatever it carries: "
        "SSH, or a database's protocol. The authorizer is asked about the tunnel.",
        default="none",
        fields=("opaque_ports",),
        parse=values.ports,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="ca-dir",
        group="Certificates",
        metavar="DIR",
        help="Where the certificate authority is kept; it is made at the first start. ca.pem in it is what clients "
        "must trust.",
        default="~/.egressproxy/ca",
        fields=("ca_dir",),
        parse=values.directory,
    ),
    Option(
        name="ca-cert",
        group="Certificates",
        metavar="FILE",
        help="A CA of yours to sign with instead, most often an intermediate one: a PEM file with its certificate, "
        "followed by those above it. Needs --ca-key; --ca-dir is not used then.",
        default="none",
        fields=("ca_cert",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="ca-key",
        group="Certificates",
        metavar="FILE",
        help="The key of --ca-cert, a PEM file that its owner alone can read.",
        default="none",
        fields=("ca_key",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="ca-name-constraints",
        group="Certificates",
        metavar="HOSTS",
        help="For which hosts a CA that is made may sign: names, each with all below it, addresses and CIDR ranges. "
        "A CONNECT to another is refused.",
        default="none",
        fields=("ca_name_constraints",),
        parse=values.name_constraint,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="ssl-extra-ca-certs",
        group="Certificates",
        metavar="FILE",
        help="A PEM file with certificate authorities to trust besides the system's: for origins, for the "
        "authorization service and for an https:// upstream proxy.",
        default="none",
        fields=("extra_ca_certs",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="origin-tls",
        group="Certificates",
        metavar="FILE",
        help="A TOML file that says for which hosts a certificate of ours is shown, a newer TLS is required, or which "
        "CAs alone are trusted.",
        default="none",
        fields=("origin_tls",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="upstream-proxy",
        group="Leaving",
        metavar="URL",
        help="The proxy through which allowed requests leave: http:// or https://, with percent-encoded credentials "
        "where it wants them; without a port, 80 or 443. HTTP_PROXY is for http origins alone, HTTPS_PROXY for "
        "https origins and tunnels.",
        default="none",
        fields=("upstream_http", "upstream_https"),
        parse=values.upstream_proxy,
        aliases=("proxy",),
        variables=_PROXY_VARIABLES,
        clear=("none", ""),
        url=True,
    ),
    Option(
        name="no-proxy",
        group="Leaving",
        metavar="HOSTS",
        help="What is contacted directly, past the upstream proxy: hosts, each with what is below it, addresses, CIDR "
        "ranges, host:port, or * for everything.",
        default="none",
        fields=("bypass",),
        parse=values.bypass_entry,
        variables=(Variable("NO_PROXY", conventional=True),),
        clear=("none", ""),
        repeatable=True,
        lists=True,
        combine=_bypass,
    ),
    Option(
        name="allow-address",
        group="Leaving",
        metavar="CIDR",
        help="A range of addresses to open that the address guard refuses otherwise, such as loopback or link-local.",
        default="none",
        fields=("allow_address",),
        parse=values.address_range,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="deny-address",
        group="Leaving",
        metavar="CIDR",
        help="A range of addresses that nobody is sent to, besides those that the guard refuses; it counts over "
        "--allow-address.",
        default="none",
        fields=("deny_address",),
        parse=values.address_range,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="allow-ports",
        group="Leaving",
        metavar="PORTS",
        help="A TCP port, or a range as in 8000-8999, that requests may go to. Without it, to every port that the "
        "authorizer allows.",
        default="none",
        fields=("allow_ports",),
        parse=values.ports,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    *LIMIT_OPTIONS,
    Option(
        name="workers",
        group="Operating",
        metavar="N|auto",
        help="How many processes serve clients, behind one twistd; auto is one for each core. Every limit is one "
        "of each process.",
        default="1",
        fields=("workers",),
        parse=values.workers,
    ),
    Option(
        name="audit-log",
        group="Operating",
        metavar="FILE|-",
        help="Where one line of JSON is written for each decision; - is standard output.",
        default="none",
        fields=("audit_log",),
        parse=values.log_file,
        clear=_NONE,
    ),
    Option(
        name="audit-failure",
        group="Operating",
        metavar="continue|deny",
        help="What happens while the audit log cannot be written, as on a full disk: the proxy continues, and counts "
        "the lines that are lost; or it denies every request, with 503, until a line can be written again.",
        default="continue",
        fields=("audit_failure",),
        parse=values.audit_failure,
    ),
    Option(
        name="metrics-port",
        group="Operating",
        metavar="PORT",
        help="The TCP port for /metrics, /health/live and /health/ready.",
        default="none",
        fields=("metrics_port",),
        parse=values.port,
        clear=_NONE,
    ),
    Option(
        name="metrics-interface",
        group="Operating",
        metavar="ADDRESS",
        help="The IP address on which the metrics port is opened.",
        default="127.0.0.1",
        fields=("metrics_interface",),
        parse=values.interface,
    ),
    Option(
        name="config",
        group="Operating",
        metavar="FILE",
        help="A TOML file with these same names as keys. The command line counts over the environment, the "
        "environment over the file.",
        default="none",
        fields=("config",),
        parse=values.readable_file,
        clear=_NONE,
    ),
)

BY_NAME: Final = {name: option for option in OPTIONS for name in (option.name, *option.aliases)}
