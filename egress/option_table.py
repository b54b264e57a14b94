"""The table of options.

It is all there is: C{--help}, the names of the environment variables, the keys of the configuration file and the page
in the documentation come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from egress import values
from egress.config import Limits
from egress.model.bypass import Bypass
from egress.values import Place

Parse = Callable[[str, Place], Any]

_NONE: Final = ("none",)


@attrs.frozen
class Variable:
    """An environment variable besides the one that is named after its option.

    @ivar fields: what it sets of L{egress.config.ProxyConfig}; C{None}: what the option sets.
    @ivar parse: how it is read; C{None}: like the option.
    @ivar conventional: whether it is one of those that many programs read: also in lower case, which then counts.
    @ivar secret: whether its value is never shown.
    """

    name: str
    fields: tuple[str, ...] | None = None
    parse: Parse | None = None
    conventional: bool = False
    secret: bool = False


@attrs.frozen(kw_only=True)
class Option:
    """One option.

    @ivar name: as on the command line, without the dashes, and in the file.
    @ivar metavar: what stands for its value in C{--help}; empty for a flag.
    @ivar default: the default, for people.
    @ivar fields: what it sets of L{egress.config.ProxyConfig}; C{config} is the file itself.
    @ivar parse: reads one value.
    @ivar clear: values that stand for "not set", whatever a lower layer says.
    @ivar repeatable: whether it may be given several times.
    @ivar lists: whether one value may be several, between commas or white space.
    @ivar combine: makes one value of those of a repeatable option.
    @ivar url: whether values may carry credentials, which no message shows.
    """

    name: str
    group: str
    metavar: str
    help: str
    default: str
    fields: tuple[str, ...]
    parse: Parse
    aliases: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    clear: tuple[str, ...] = ()
    repeatable: bool = False
    lists: bool = False
    combine: Callable[[Sequence[Any]], Any] = tuple
    url: bool = False

    @property
    def variable(self) -> Variable:
        """The environment variable that is named after the option."""
        return Variable("EGRESS_" + self.name.upper().replace("-", "_"))

    @property
    def environment(self) -> tuple[Variable, ...]:
        """All environment variables, the one that counts most first."""
        return (self.variable, *self.variables)

    @property
    def flag(self) -> bool:
        """Whether it takes no value on the command line."""
        return not self.metavar


def _limits(text: str, place: Place) -> Limits:
    return Limits(body=values.size(text, place))


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
        help="The hashed secrets of clients, one line for each, made by: python -m egress.clients.line NAME. Requests "
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
        fields=("limits",),
        parse=_limits,
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
