"""The configuration of a proxy: frozen, complete and valid once it exists.

Text from the command line, the environment or a file is read in L{egress.config.load}; an application that
embeds the proxy builds a L{ProxyConfig} itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

import attrs

from egress.config import contradictions
from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.config.listener import InvalidListener, Listener
from egress.model import text_converters as setting_text
from egress.model.authority import UpstreamProxy
from egress.model.client_tls import ClientTls
from egress.model.converters import BadValue, checked, file_text, port, string, to_display
from egress.model.converters import ConfigError as ConfigError
from egress.model.converters import not_negative as _not_negative
from egress.model.converters import positive as _positive
from egress.model.dns_server import DnsServer
from egress.model.no_proxy import Bypass

IPNetwork = IPv4Network | IPv6Network

KIB = 1024
MIB = 1024 * KIB


class Mode(enum.Enum):
    """What a decision does.

    @cvar ENFORCE: what is not allowed does not leave.
    @cvar OBSERVE: it leaves all the same, and is on record as what would have been refused; what the address guard
        refuses does not leave.
    """

    ENFORCE = "enforce"
    OBSERVE = "observe"


class OversizeBody(enum.Enum):
    """What happens to a request whose content is over the body limit, when the authorizer looks at contents.

    @cvar REFUSE: 413, and nothing of it is forwarded.
    @cvar TRUNCATE: the authorizer decides on the beginning, and is told so (contract: C{bodyTruncated}).
    """

    REFUSE = "refuse"
    TRUNCATE = "truncate"


class Resolve(enum.Enum):
    """When the name of a destination is resolved.

    @cvar AFTER: once a request is allowed, or its authorizer wants the addresses; a denied name causes no DNS query.
    @cvar BEFORE: before the authorizer is asked, which is told the addresses.
    """

    AFTER = "after"
    BEFORE = "before"


class AuthzApi(enum.Enum):
    """How an authorization service is asked.

    @cvar POSTMAN: by the contract of the Postman runner's proxy, C{POST .../validate}.
    @cvar AUTHZEN: by the Access Evaluation API of AuthZEN.
    @cvar OPA: by the data API of Open Policy Agent.
    @cvar EXT_AUTHZ: by the HTTP check of Envoy's C{ext_authz}.
    """

    POSTMAN = "postman"
    AUTHZEN = "authzen"
    OPA = "opa"
    EXT_AUTHZ = "ext-authz"


class AuthzBody(enum.Enum):
    """When an authorization service is given the content of a request.

    @cvar ALWAYS: with each question.
    @cvar ON_DEMAND: when it answers that it needs it.
    @cvar NEVER: not at all.
    """

    ALWAYS = "always"
    ON_DEMAND = "on-demand"
    NEVER = "never"


class AuditFailure(enum.Enum):
    """What happens while the audit log cannot be written.

    @cvar CONTINUE: requests are decided and forwarded; the lines are lost, and counted.
    @cvar DENY: nothing is forwarded until a line can be written again.
    """

    CONTINUE = "continue"
    DENY = "deny"


def _limit(default: float) -> float:
    seconds: float = attrs.field(default=default, validator=_positive)
    return seconds


@attrs.frozen(kw_only=True, field_transformer=checked())
class Limits:
    """Every bound that the proxy keeps; sizes in bytes, times in seconds.

    @ivar body: the content of a request, up to which it is put to an authorizer that looks at contents.
    @ivar body_memory: all such contents together; at least one fits.  Half of what is free is one client's.
    @ivar head: a request or response head, its first line included.
    @ivar fields: the number of fields in a head.
    @ivar target: a request-target.
    @ivar head_timeout: from the first byte of a request head to its end; also between two reads of a body that is to
        be put to the authorizer.
    @ivar body_timeout: for the whole of such a body.
    @ivar tls_timeout: a TLS handshake, on either leg.
    @ivar idle_timeout: a kept connection, on either leg, between two requests.
    @ivar resolve_timeout: resolving a name.
    @ivar lookups: names that are looked up at the same time; one client alone gets half of them.
    @ivar lookup_queue: names that wait to be looked up.
    @ivar lookup_queue_per_client: those of one client.
    @ivar connect_timeout: connecting to an origin or to the upstream proxy.
    @ivar connect_attempts: attempts to connect for one request that are under way at the same time.
    @ivar connect_addresses: addresses of a name that are tried for one request.
    @ivar response_timeout: from the end of a request to the head of its answer, and between two reads of a body.
    @ivar tunnel_timeout: a tunnel or an upgraded connection, without a byte in either direction.
    @ivar drain_timeout: what a stopping proxy gives exchanges to finish.
    @ivar pool_per_origin: idle connections kept per origin and client.
    @ivar pool_total: idle connections kept in all.
    @ivar leaf_contexts: TLS contexts kept for intercepted hosts.
    @ivar connections: client connections that are open at the same time; fewer where the limit of open files is low.
    @ivar connections_per_client: those of one client address.
    """

    body: int = attrs.field(default=16 * MIB, validator=_positive)
    body_memory: int = attrs.field(default=256 * MIB, validator=_positive)
    head: int = attrs.field(default=64 * KIB, validator=_positive)
    fields: int = attrs.field(default=256, validator=_positive)
    target: int = attrs.field(default=16 * KIB, validator=_positive)
    head_timeout: float = _limit(30.0)
    body_timeout: float = _limit(300.0)
    tls_timeout: float = _limit(15.0)
    idle_timeout: float = _limit(75.0)
    resolve_timeout: float = _limit(10.0)
    lookups: int = attrs.field(default=32, validator=_positive)
    lookup_queue: int = attrs.field(default=4096, validator=_positive)
    lookup_queue_per_client: int = attrs.field(default=256, validator=_positive)
    connect_timeout: float = _limit(15.0)
    connect_attempts: int = attrs.field(default=4, validator=_positive)
    connect_addresses: int = attrs.field(default=16, validator=_positive)
    response_timeout: float = _limit(300.0)
    tunnel_timeout: float = _limit(3600.0)
    drain_timeout: float = _limit(20.0)
    pool_per_origin: int = attrs.field(default=512, validator=_positive)
    pool_total: int = attrs.field(default=1024, validator=_positive)
    leaf_contexts: int = attrs.field(default=1024, validator=_positive)
    connections: int = attrs.field(default=16384, validator=_positive)
    connections_per_client: int = attrs.field(default=4096, validator=_positive)


def parse_listeners(given: Iterable[Listener | str]) -> tuple[Listener, ...]:
    """Read what an application writes as it would stand on the command line.

    @raise ConfigError: when it cannot be read.
    """
    if not isinstance(given, (tuple, list)):
        raise ConfigError(
            "listen", to_display(given), "must be a tuple or a list, as in ('tcp:8080:interface=127.0.0.1',)"
        )
    if not given:
        raise ConfigError("listen", "", "name an endpoint: without one, no client can connect")
    return tuple(map(_listener, given))


def _listener(given: object) -> Listener:
    if isinstance(given, Listener):
        return given
    try:
        return Listener.parse(string(given))
    except (BadValue, InvalidListener) as error:
        raise ConfigError("listen", to_display(given), error.remedy) from error


def _admin(given: AdminEndpoint | str | None) -> AdminEndpoint | None:
    """Read what an application writes as it would stand on the command line."""
    if given is None or isinstance(given, AdminEndpoint):
        return given
    try:
        return AdminEndpoint.parse(string(given))
    except (BadValue, InvalidAdmin) as error:
        raise ConfigError("admin", to_display(given), error.remedy) from error


# The kinds of values that types do not tell.
_KINDS: Final = checked(
    authz_url=setting_text.authz_url,
    authz_token=setting_text.token,
    authz_response_headers=setting_text.field_name,
    shadow_authz_url=setting_text.authz_url,
    shadow_authz_token=setting_text.token,
    shadow_log=file_text,
    ca_name_constraints=setting_text.name_constraint,
    upstream_http=setting_text.upstream_proxy,
    upstream_https=setting_text.upstream_proxy,
    bypass=setting_text.bypass,
    passthrough=setting_text.host_pattern,
    dns_servers=setting_text.dns_server,
    upgrade_protocols=setting_text.upgrade_protocol,
    audit_log=file_text,
    metrics_port=port,
    metrics_interface=setting_text.interface,
    admin_token=setting_text.token,
)


@attrs.frozen(kw_only=True, field_transformer=_KINDS)
class ProxyConfig:
    """What one proxy does.

    @ivar listen: server endpoint descriptions (U{twisted.internet.endpoints.serverFromString}), each with its own
        settings; text is read by L{Listener.parse}.
    @ivar client_auth: a file with the secrets of clients, without which no request is taken, unless an entrance says
        otherwise; C{None}: clients need not say who they are.
    @ivar authz_url: the authorization service; what C{authz_api} has at the end of its path is appended unless it ends
        so.  C{None}: C{policy} decides.
    @ivar authz_timeout: seconds for one whole call.
    @ivar authz_token: the bearer token for the call.
    @ivar authz_client_cert: a PEM file with certificate and key, shown to an C{https} authorization service.
    @ivar authz_via_upstream: whether the call leaves through the upstream proxy.
    @ivar authz_max_concurrency: how many questions are put to an authorizer at the same time, but for the embedded one.
    @ivar authz_queue: how many more wait for their turn.
    @ivar authz_breaker_failures: how many questions in a row without an answer have it left alone for a while; C{None}:
        it is always asked.
    @ivar authz_api: how it is asked.
    @ivar authz_body: when it is given the content.
    @ivar authz_response_headers: with L{AuthzApi.EXT_AUTHZ}: the fields of its answers that are added to the request.
    @ivar authz_cache: how many decisions are kept for as long as it says, of any authorizer but the embedded one;
        C{None}: none are, and identical questions do not share an answer.
    @ivar authz_max_ttl: seconds for which a decision is reused at most.
    @ivar authz_max_stale: seconds for which one is reused beyond that at most, while there are no answers.
    @ivar policy: the embedded authorizer's TOML file; C{None}: the packaged starter policy.
    @ivar secrets: a TOML file that says where the secrets come from which decisions put into requests, and where they
        may be sent; C{None}: there are none.
    @ivar mode: whether decisions are enforced, or only put on record.
    @ivar shadow_authz_url: an authorization service that is asked as well, without effect.
    @ivar shadow_authz_token: the bearer token for it; that of C{authz_url} is not sent there.
    @ivar shadow_policy: a policy that is asked as well, without effect.
    @ivar shadow_log: a file for the disagreements of the two.
    @ivar ca_dir: where the CA is kept, and made at first start.
    @ivar ca_cert: the certificate of a CA to sign with instead, followed by those above it.
    @ivar ca_key: its key.
    @ivar ca_name_constraints: the names, each with all below it, and ranges of addresses to which a CA that is made is
        limited; empty: it is not.
    @ivar extra_ca_certs: a PEM file with CAs to trust besides the system's: for origins, the authorization service and
        an C{https} upstream proxy.
    @ivar origin_tls: a TOML file with what holds for the TLS of some origins.
    @ivar client_tls: which suites of TLS 1.2 clients may use.
    @ivar upstream_http: the proxy for C{http} origins.
    @ivar upstream_https: the proxy for C{https} origins, tunnels and upgrades.
    @ivar bypass: the origins that are contacted directly nevertheless (C{NO_PROXY}).
    @ivar passthrough: hosts (C{example.com}, or C{.example.com} and C{*.example.com} for what is below it; each may
        carry a port) whose TLS is tunnelled unread.
    @ivar opaque_ports: ranges of ports to which every CONNECT is tunnelled unread.
    @ivar resolve: when the name of a destination is resolved.
    @ivar dns_servers: the DNS servers that resolve the names of origins and of the upstream proxy, in the order
        in which to ask them; text is read by L{DnsServer.parse}.  Empty: the system resolves names.
    @ivar upgrade_protocols: protocols, as the C{Upgrade} field names them, to which an allowed request may upgrade its
        connection, besides WebSockets; each is checked by L{egress.model.protocol.protocol_name}.
    @ivar allow_address: ranges that the address guard lets through.
    @ivar deny_address: ranges that it refuses besides its own, also where C{allow_address} has them.
    @ivar allow_ports: ranges of ports that requests may go to; none: every port.
    @ivar audit_log: a file, or C{"-"} for standard output; C{None}: no audit log.
    @ivar audit_failure: what happens while it cannot be written.
    @ivar metrics_port: the TCP port for C{/metrics} and C{/health}; C{None}: none.
    @ivar metrics_interface: the address for it.
    @ivar admin: where people answer what they are asked, and requests are explained; text is read by
        L{AdminEndpoint.parse}.  C{None}: nowhere, and nobody can be asked.
    @ivar admin_token: the bearer token that is wanted there.
    @ivar approval_timeout: seconds for which a request is held until a person answers.
    @ivar approval_queue: how many requests are held at the same time.
    @ivar workers: how many processes C{twistd} makes of it, each with all of C{limits}; an application that embeds
        the proxy has one.
    """

    listen: tuple[Listener, ...] = attrs.field(default=("tcp:8080:interface=127.0.0.1",), converter=parse_listeners)
    client_auth: Path | None = None
    authz_url: str | None = None
    authz_timeout: float = attrs.field(default=5.0, validator=_positive)
    authz_token: str | None = attrs.field(default=None, repr=False)
    authz_client_cert: Path | None = None
    authz_via_upstream: bool = False
    authz_max_concurrency: int = attrs.field(default=256, validator=_positive)
    authz_queue: int = attrs.field(default=1024, validator=_not_negative)
    authz_breaker_failures: int | None = attrs.field(default=5, validator=_positive)
    authz_api: AuthzApi = AuthzApi.POSTMAN
    authz_body: AuthzBody = AuthzBody.ALWAYS
    authz_response_headers: tuple[str, ...] = ()
    authz_cache: int | None = attrs.field(default=4096, validator=_positive)
    authz_max_ttl: float = attrs.field(default=3600.0, validator=_positive)
    authz_max_stale: float = attrs.field(default=300.0, validator=_not_negative)
    policy: Path | None = None
    secrets: Path | None = None
    mode: Mode = Mode.ENFORCE
    shadow_authz_url: str | None = None
    shadow_authz_token: str | None = attrs.field(default=None, repr=False)
    shadow_policy: Path | None = None
    shadow_log: str | None = None
    ca_dir: Path = attrs.field(factory=lambda: Path.home() / ".egressproxy" / "ca")
    ca_cert: Path | None = None
    ca_key: Path | None = None
    ca_name_constraints: tuple[str | IPNetwork, ...] = ()
    extra_ca_certs: Path | None = None
    origin_tls: Path | None = None
    client_tls: ClientTls = ClientTls.MODERN
    upstream_http: UpstreamProxy | None = None
    upstream_https: UpstreamProxy | None = None
    bypass: Bypass = attrs.field(factory=Bypass)
    oversize_body: OversizeBody = OversizeBody.REFUSE
    passthrough: tuple[str, ...] = ()
    opaque_ports: tuple[range, ...] = ()
    resolve: Resolve = Resolve.AFTER
    dns_servers: tuple[DnsServer, ...] = ()
    upgrade_protocols: tuple[str, ...] = ()
    allow_address: tuple[IPNetwork, ...] = ()
    deny_address: tuple[IPNetwork, ...] = ()
    allow_ports: tuple[range, ...] = ()
    audit_log: str | None = None
    audit_failure: AuditFailure = AuditFailure.CONTINUE
    metrics_port: int | None = None
    metrics_interface: str = "127.0.0.1"
    admin: AdminEndpoint | None = attrs.field(default=None, converter=_admin)
    admin_token: str | None = attrs.field(default=None, repr=False)
    approval_timeout: float = attrs.field(default=300.0, validator=_positive)
    approval_queue: int = attrs.field(default=100, validator=_positive)
    workers: int = attrs.field(default=1, validator=_positive)
    limits: Limits = attrs.field(factory=Limits)

    def __attrs_post_init__(self) -> None:
        """Look at what only the fields together can have wrong.

        @raise ConfigError: naming the field and the remedy.
        """
        contradictions.check(self, contradictions.PROXY)

    @property
    def over_body_limit(self) -> OversizeBody:
        """What happens to a request whose content is over the body limit: observing, none is refused for that."""
        return OversizeBody.TRUNCATE if self.mode is Mode.OBSERVE else self.oversize_body

    def auth_at(self, entrance: Listener) -> Path | None:
        """The file with the secrets of those who may come in at an entrance; C{None} for everybody."""
        return entrance.client_auth if entrance.sets_auth else self.client_auth

    def asks_at(self, entrance: Listener) -> bool:
        """Whether clients have to say, and to prove, who they are at an entrance."""
        certificates = entrance.tls is not None and entrance.tls.client_ca is not None
        return certificates or self.auth_at(entrance) is not None
