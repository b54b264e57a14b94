"""The table of options.

It is the only definition: C{--help}, the names of the environment variables, the keys of the configuration file and the
page in the documentation are generated from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egress.config import parsers as values
from egress.config.admin_options import ADMIN_OPTIONS
from egress.config.audit_options import AUDIT_OPTIONS
from egress.config.authz_options import AUTHZ_OPTIONS
from egress.config.limit_options import LIMIT_OPTIONS
from egress.config.log_options import LOG_OPTIONS
from egress.config.notify_options import NOTIFY_OPTIONS
from egress.config.option import Option, Variable, by_name
from egress.config.shared_options import SHARED_OPTIONS
from egress.config.tracing_options import TRACING_OPTIONS
from egress.model import text_converters as setting_text
from egress.model.dns_server import DnsServer
from egress.model.no_proxy import Bypass

_NONE: Final = ("none",)


def _bypass(entries: Sequence[str]) -> Bypass:
    return Bypass.parse(",".join(entries))


def _dns_server(text: str, place: values.ParseContext) -> DnsServer:
    """Parse the address of a DNS server, with an optional port."""
    return setting_text.dns_server(text)


def _upgrade_protocol(text: str, place: values.ParseContext) -> str:
    """Parse the name of a protocol, as in the C{Upgrade} field."""
    return setting_text.upgrade_protocol(text)


_PROXY_VARIABLES = (
    Variable(name="HTTP_PROXY", fields=("upstream_http",), conventional=True),
    Variable(name="HTTPS_PROXY", fields=("upstream_https",), conventional=True),
    Variable(name="ALL_PROXY", conventional=True),
)

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="listen",
        group="Listeners",
        metavar="ENDPOINT",
        help="A listener for clients, as a Twisted server endpoint: tcp:8080:interface=127.0.0.1, "
        "tcp6:8080:interface=\\:\\:1, unix:/run/egress.sock or ssl:8443:privateKey=proxy.pem. With socket activation, "
        "write systemd:name=NAME. Additional settings in the endpoint: client-auth=FILE, jwt\\:ISSUER or none, "
        "https=allow or refuse (https URLs without CONNECT), and transparent=yes (connections that the system "
        "redirects). With ssl:, there is also client-ca=FILE. With socks5=yes, the listener accepts SOCKS5 in addition "
        "to HTTP, and with h2c=yes HTTP/2 without TLS, from clients with prior knowledge. haproxy: before an endpoint "
        "requires the PROXY protocol, with balancers=ADDRESSES only of these load balancers.",
        default="tcp:8080:interface=127.0.0.1",
        fields=("listen",),
        parse=values.endpoint,
        repeatable=True,
    ),
    Option(
        name="client-auth",
        group="Listeners",
        metavar="FILE|jwt:ISSUER",
        help="A file with the hashed secrets of clients, one line for each client. Create the lines with: egress "
        "client NAME. A request without valid credentials gets 407. The file is reloaded when it changes. With "
        "jwt:ISSUER, clients send a JSON Web Token of this issuer instead, such as the token of a Kubernetes service "
        "account. Settings follow after a colon: audience=NAME (egressproxy), claim=NAME (sub), jwks=FILE or URL, "
        "ca=FILE, token-file=FILE, algorithms=LIST. Needs egressproxy[jwt].",
        default="none",
        fields=("client_auth",),
        parse=values.client_auth,
        clear=_NONE,
    ),
    *AUTHZ_OPTIONS,
    Option(
        name="passthrough",
        group="TLS",
        metavar="HOST",
        help="A host whose TLS is tunneled without interception: a name, or *.host for subdomains, each with an "
        "optional :port. The authorizer decides on the tunnel.",
        default="none",
        fields=("passthrough",),
        parse=values.host_pattern,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="opaque-ports",
        group="TLS",
        metavar="PORTS",
        help="TCP ports, or ranges such as 5432-5433. CONNECT requests to these ports are tunneled without "
        "interception, for any protocol, such as SSH or that of a database. The authorizer decides on the tunnel.",
        default="none",
        fields=("opaque_ports",),
        parse=values.ports,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="ca-dir",
        group="TLS",
        metavar="DIR",
        help="The directory of the CA. The first start creates the CA in it. Clients must trust the file ca.pem in "
        "this directory.",
        default="~/.egressproxy/ca",
        fields=("ca_dir",),
        parse=values.directory,
    ),
    Option(
        name="ca-cert",
        group="TLS",
        metavar="FILE",
        help="Your own CA instead of a generated one, usually an intermediate CA: a PEM file with its certificate, "
        "followed by the certificates of its issuers. Requires --ca-key. --ca-dir is not used.",
        default="none",
        fields=("ca_cert",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="ca-key",
        group="TLS",
        metavar="FILE",
        help="The key of --ca-cert: a PEM file that only its owner can read.",
        default="none",
        fields=("ca_key",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="ca-root",
        group="TLS",
        metavar="FILE",
        help="A PEM file with the certificates that clients trust, if --ca-cert does not contain its root. During a "
        "rotation, it also has the next or the previous root. cert-manager writes it as ca.crt.",
        default="none",
        fields=("ca_root",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="ca-name-constraints",
        group="TLS",
        metavar="HOSTS",
        help="Name constraints for a generated CA: names with their subdomains, addresses, and CIDR ranges. A CONNECT "
        "to any other host is rejected.",
        default="none",
        fields=("ca_name_constraints",),
        parse=values.name_constraint,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="ssl-extra-ca-certs",
        group="TLS",
        metavar="FILE",
        help="A PEM file with CAs to trust in addition to the system's CAs: for origins, the authorization service, "
        "and an https:// upstream proxy.",
        default="none",
        fields=("extra_ca_certs",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="origin-tls",
        group="TLS",
        metavar="FILE",
        help="A TOML file with TLS settings for specific hosts: a client certificate, a minimum TLS version, the "
        "only trusted CAs, or whether to offer HTTP/2.",
        default="none",
        fields=("origin_tls",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="http2",
        group="TLS",
        metavar="on|off",
        help="Whether clients and origins can use HTTP/2 in addition to HTTP/1.1: in tunnels, on ssl: listeners, and "
        "towards origins. --origin-tls sets it for specific origins.",
        default="on",
        fields=("http2",),
        parse=values.switch,
    ),
    Option(
        name="client-tls",
        group="TLS",
        metavar="modern|compatible",
        help="compatible: also accepts CBC and CCM cipher suites, for clients that have no others. Cipher suites "
        "without forward secrecy, and versions before TLS 1.2, are never accepted.",
        default="modern",
        fields=("client_tls",),
        parse=values.client_tls,
    ),
    Option(
        name="upstream-proxy",
        group="Destinations",
        metavar="URL",
        help="The proxy through which allowed requests leave: http://, https://, socks5h:// (it resolves the names of "
        "origins) or socks5:// (it receives addresses), with percent-encoded credentials if it requires them. The "
        "default port is 80, 443 or 1080. For a chain of two proxies, write 'URL via URL': the first is contacted "
        "through the second. HTTP_PROXY applies only to http origins, HTTPS_PROXY to https origins and tunnels, "
        "ALL_PROXY to both.",
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
        group="Destinations",
        metavar="HOSTS",
        help="Destinations to contact directly instead of through the upstream proxy: hosts with their subdomains, "
        "addresses, CIDR ranges, host:port, or * for everything.",
        default="none",
        fields=("bypass",),
        parse=values.bypass_entry,
        variables=(Variable(name="NO_PROXY", conventional=True, lenient=True),),
        clear=("none", ""),
        repeatable=True,
        lists=True,
        combine=_bypass,
        url=True,
    ),
    Option(
        name="resolve",
        group="Destinations",
        metavar="after|before",
        help="When to resolve the name of a destination. after: after the request is allowed, so that a denied name "
        "causes no DNS query. before: before authorization, so that the authorizer receives the addresses.",
        default="after",
        fields=("resolve",),
        parse=values.resolve,
    ),
    Option(
        name="dns-server",
        group="Destinations",
        metavar="ADDRESS[:PORT]",
        help="A DNS server for the names in requests, instead of the system's resolver: an IP address (IPv6 in "
        "brackets). The default port is 53. If a server fails, the next one is queried. /etc/hosts takes precedence.",
        default="none",
        fields=("dns_servers",),
        parse=_dns_server,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="allow-address",
        group="Destinations",
        metavar="CIDR",
        help="A range of addresses to permit although the address guard denies it by default, such as loopback or "
        "link-local.",
        default="none",
        fields=("allow_address",),
        parse=values.address_range,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="deny-address",
        group="Destinations",
        metavar="CIDR",
        help="A range of addresses to deny, in addition to the default ranges of the address guard. Takes precedence "
        "over --allow-address.",
        default="none",
        fields=("deny_address",),
        parse=values.address_range,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="allow-ports",
        group="Destinations",
        metavar="PORTS",
        help="A TCP port, or a range such as 8000-8999, to which requests may go. Default: every port that the "
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
        group="Destinations",
        metavar="NAMES",
        help="Protocols, such as tcp,spdy/3.1 for docker and kubectl, to which an allowed request may upgrade its "
        "connection, in addition to WebSockets. The upgraded connection is relayed without inspection. A request for "
        "any other upgrade is rejected.",
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
        group="Operation",
        metavar="N|auto",
        help="Number of worker processes under one twistd. auto: one for each core. Every limit applies to each "
        "process.",
        default="1",
        fields=("workers",),
        parse=values.workers,
    ),
    *AUDIT_OPTIONS,
    Option(
        name="audit-headers",
        group="Operation",
        metavar="none|denied|all",
        help="The requests whose header fields are in the audit log and the audit store, with secrets redacted. "
        "denied: requests that were not allowed. all: all requests, and their responses.",
        default="denied",
        fields=("audit_headers",),
        parse=values.audit_headers,
    ),
    *LOG_OPTIONS,
    Option(
        name="metrics-port",
        group="Operation",
        metavar="PORT",
        help="The TCP port for /metrics, /health/live and /health/ready, and for /proxy.pac and /ca.pem, which "
        "configure browsers.",
        default="none",
        fields=("metrics_port",),
        parse=values.port,
        clear=_NONE,
    ),
    Option(
        name="metrics-interface",
        group="Operation",
        metavar="ADDRESS",
        help="The IP address of the metrics port.",
        default="127.0.0.1",
        fields=("metrics_interface",),
        parse=values.interface,
    ),
    *TRACING_OPTIONS,
    *ADMIN_OPTIONS,
    Option(
        name="config",
        group="Operation",
        metavar="FILE",
        help="A TOML configuration file. Its keys are the names of these options. Command-line options override "
        "environment variables, which override the file.",
        default="none",
        fields=("config",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    *NOTIFY_OPTIONS,
    *SHARED_OPTIONS,
)

BY_NAME: Final = by_name(OPTIONS)
