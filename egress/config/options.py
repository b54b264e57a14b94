"""The table of options.

It is all there is: C{--help}, the names of the environment variables, the keys of the configuration file and the page
in the documentation come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egress.config import parsers as values
from egress.config.admin_options import ADMIN_OPTIONS
from egress.config.authz_options import DECIDING_OPTIONS
from egress.config.limit_options import LIMIT_OPTIONS
from egress.config.option import Option, Variable, by_name
from egress.model import text_converters as setting_text
from egress.model.dns_server import DnsServer
from egress.model.no_proxy import Bypass

_NONE: Final = ("none",)


def _bypass(entries: Sequence[str]) -> Bypass:
    return Bypass.parse(",".join(entries))


def _dns_server(text: str, place: values.Place) -> DnsServer:
    """Read the address of a DNS server, with a port or without."""
    return setting_text.dns_server(text)


def _upgrade_protocol(text: str, place: values.Place) -> str:
    """Read the name of a protocol, as the C{Upgrade} field has it."""
    return setting_text.upgrade_protocol(text)


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
        "behind it: client-auth=FILE or none, https=allow or refuse (https URLs without CONNECT), and with ssl: "
        "client-ca=FILE.",
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
    *DECIDING_OPTIONS,
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
        name="client-tls",
        group="Certificates",
        metavar="modern|compatible",
        help="compatible: clients may use CBC and CCM suites, too, for those that have no others. Suites without "
        "forward secrecy and versions before TLS 1.2 are never accepted.",
        default="modern",
        fields=("client_tls",),
        parse=values.client_tls,
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
        variables=(Variable("NO_PROXY", conventional=True, lenient=True),),
        clear=("none", ""),
        repeatable=True,
        lists=True,
        combine=_bypass,
        url=True,
    ),
    Option(
        name="resolve",
        group="Leaving",
        metavar="after|before",
        help="When the name of a destination is resolved: after the request was allowed, so that a denied name causes "
        "no DNS query; or before the authorizer is asked, which is then told the addresses.",
        default="after",
        fields=("resolve",),
        parse=values.resolve,
    ),
    Option(
        name="dns-server",
        group="Leaving",
        metavar="ADDRESS[:PORT]",
        help="A DNS server that resolves the names that requests name, instead of the system: an IP address, IPv6 in "
        "brackets, with port 53 unless given. Of several the next one is asked when one fails. /etc/hosts counts "
        "before.",
        default="none",
        fields=("dns_servers",),
        parse=_dns_server,
        clear=_NONE,
        repeatable=True,
        lists=True,
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
    Option(
        name="upgrade-protocols",
        group="Leaving",
        metavar="NAMES",
        help="Protocols, such as tcp,spdy/3.1 for docker and kubectl, to which an allowed request may upgrade its "
        "connection, besides WebSockets. What follows is relayed unread. Without it, a request for one is refused.",
        default="none",
        fields=("upgrade_protocols",),
        parse=_upgrade_protocol,
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
    *ADMIN_OPTIONS,
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

BY_NAME: Final = by_name(OPTIONS)
