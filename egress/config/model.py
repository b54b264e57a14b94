"""The configuration of a proxy: immutable, complete and always valid.

L{egress.config.load} parses text from the command line, the environment or a file; an application that embeds the proxy
creates a L{ProxyConfig} itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

import attrs

from egress.config import contradictions
from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.config.behaviors import AuditFailure as AuditFailure
from egress.config.behaviors import Mode as Mode
from egress.config.behaviors import OversizeBody as OversizeBody
from egress.config.behaviors import Resolve as Resolve
from egress.config.listener import InvalidListener, Listener
from egress.config.notify import NotifySettings
from egress.config.shared import SharedSettings
from egress.model import text_converters as setting_text
from egress.model.authority import UpstreamProxy
from egress.model.authz_api import AuthzApi as AuthzApi
from egress.model.authz_api import AuthzBody as AuthzBody
from egress.model.client_tls import ClientTls
from egress.model.converters import BadValue, checked, file_text, port, string, to_display
from egress.model.converters import ConfigError as ConfigError
from egress.model.converters import at_most as _at_most
from egress.model.converters import not_negative as _not_negative
from egress.model.converters import positive as _positive
from egress.model.dns_server import DnsServer
from egress.model.file_access import FileAccess, FileMode
from egress.model.jwt_issuer import ClientAuth, client_auth_setting
from egress.model.log_format import LogFormat, LoggedRequests, LogThreshold
from egress.model.no_proxy import Bypass
from egress.model.policy_url import PolicyUrl, policy_location
from egress.model.recorded_headers import AuditHeaders
from egress.model.trace import Otel

IPNetwork = IPv4Network | IPv6Network

# In place of the name of a file: standard output.
STDOUT: Final = "-"

KIB = 1024
MIB = 1024 * KIB
MAX_HTTP2_STREAMS: Final = 1000


def _limit(default: float) -> float:
    seconds: float = attrs.field(default=default, validator=_positive)
    return seconds


@attrs.frozen(kw_only=True, field_transformer=checked())
class Limits:
    """All limits of the proxy; sizes in bytes, times in seconds.

    @ivar body: the maximum content of a request that an authorizer inspects.
    @ivar body_memory: the memory for all such contents; at least one fits.  One client gets at most half of the free
        memory.
    @ivar head: the maximum size of a request or response head, including its first line.
    @ivar fields: the maximum number of fields in a head.
    @ivar target: the maximum size of a request-target.
    @ivar head_timeout: from the first byte of a request head to its end; also between two reads of a content that the
        authorizer inspects.
    @ivar body_timeout: for receiving the whole of such a content.
    @ivar tls_timeout: a TLS handshake with a client or an origin.
    @ivar idle_timeout: an idle connection to a client or an origin, between two requests.
    @ivar resolve_timeout: resolving a name.
    @ivar lookups: the maximum number of concurrent name lookups; one client gets at most half of them.
    @ivar lookup_queue: the maximum number of queued name lookups.
    @ivar lookup_queue_per_client: the maximum number of queued name lookups of one client.
    @ivar connect_timeout: connecting to an origin or to the upstream proxy.
    @ivar connect_attempts: the maximum number of concurrent connection attempts for one request.
    @ivar connect_addresses: the maximum number of addresses of a name that are tried for one request.
    @ivar response_timeout: from the end of a request to the response head, and between two reads of a content.
    @ivar tunnel_timeout: a tunnel or an upgraded connection without data in either direction.
    @ivar drain_timeout: the grace period for exchanges in progress at shutdown.
    @ivar pool_per_origin: the maximum number of idle connections per origin and client.
    @ivar pool_total: the maximum number of all idle connections.
    @ivar leaf_contexts: the maximum number of cached TLS contexts for intercepted hosts.
    @ivar connections: the maximum number of concurrent client connections; lower if the limit of open files is low.
    @ivar connections_per_client: the maximum number of concurrent connections of one client address.
    @ivar http2_streams: the maximum number of concurrent streams of an HTTP/2 connection with a client; at most 1000.
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
    http2_streams: int = attrs.field(default=100, validator=(_positive, _at_most(MAX_HTTP2_STREAMS)))


def parse_listeners(given: Iterable[Listener | str]) -> tuple[Listener, ...]:
    """Parse listeners that an application gives in the syntax of the command line.

    @raise ConfigError: if one of them cannot be parsed.
    """
    if not isinstance(given, (tuple, list)):
        raise ConfigError(
            "listen", to_display(given), "must be a tuple or a list, as in ('tcp:8080:interface=127.0.0.1',)"
        )
    if not given:
        raise ConfigError("listen", "", "must not be empty: add an endpoint for clients")
    return tuple(map(_listener, given))


def _listener(given: object) -> Listener:
    if isinstance(given, Listener):
        return given
    try:
        return Listener.parse(string(given))
    except (BadValue, InvalidListener) as error:
        raise ConfigError("listen", to_display(given), error.remedy) from error


def _admin(given: AdminEndpoint | str | None) -> AdminEndpoint | None:
    """Parse an admin endpoint that an application gives in the syntax of the command line."""
    if given is None or isinstance(given, AdminEndpoint):
        return given
    try:
        return AdminEndpoint.parse(string(given))
    except (BadValue, InvalidAdmin) as error:
        raise ConfigError("admin", to_display(given), error.remedy) from error


# The constraints of values that types do not express.
_KINDS: Final = checked(
    client_auth=client_auth_setting,
    authz_url=setting_text.authz_url,
    authz_token=setting_text.token,
    authz_response_headers=setting_text.field_name,
    policy=policy_location,
    shadow_policy=policy_location,
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
    audit_store=setting_text.audit_store,
    audit_store_password=setting_text.password,
    metrics_port=port,
    metrics_interface=setting_text.interface,
    admin_token=setting_text.token,
    admin_viewer_token=setting_text.token,
    admin_hosts=setting_text.host_name,
)


@attrs.frozen(kw_only=True, field_transformer=_KINDS)
class ProxyConfig:
    """The settings of one proxy.

    @ivar listen: server endpoint descriptions (C{twisted.internet.endpoints.serverFromString}), each with its own
        settings; L{Listener.parse} parses text.
    @ivar client_auth: a file with the secrets of clients, or an issuer of tokens (C{jwt:ISSUER}); one of them is then
        required for each request, unless a listener has another setting.  C{None}: clients need no authentication.
    @ivar authz_url: the authorization service; the path of C{authz_api} is appended if it is missing.  C{None}:
        C{policy} decides.
    @ivar authz_timeout: the timeout of one authorization request, in seconds.
    @ivar authz_token: the bearer token for the authorization service.
    @ivar authz_client_cert: a PEM file with certificate and key, sent to an C{https} authorization service.
    @ivar authz_via_upstream: whether authorization requests use the upstream proxy.
    @ivar authz_max_concurrency: the concurrency limit of authorization requests, except for the embedded policy.
    @ivar authz_queue: the maximum number of queued authorization requests.
    @ivar authz_breaker_failures: how many consecutive failures open the circuit breaker; C{None}: no circuit breaker.
    @ivar authz_api: the protocol of the authorization service.
    @ivar authz_body: when the authorization service gets the content.
    @ivar authz_decode_body: whether the authorization service also gets the content without its content codings.
    @ivar authz_response_headers: with L{AuthzApi.EXT_AUTHZ}: the fields of its responses that are added to the request.
    @ivar authz_cache: the maximum number of cached decisions, each for the time that the authorizer states.  Decisions
        of the embedded policy are not cached.  C{None}: no cache, and identical authorization requests do not share a
        response.
    @ivar authz_max_ttl: the maximum time to live of a cached decision, in seconds.
    @ivar authz_max_stale: the maximum time for which a cached decision is used beyond that while the authorizer fails,
        in seconds.
    @ivar policy: the file or the URL of the embedded policy; C{None}: the packaged starter policy.
    @ivar policy_interval: the seconds between two checks of a policy URL.
    @ivar policy_token_file: a file with the bearer token for the server of a policy URL.
    @ivar policy_client_cert: a PEM file with certificate and key, sent to the server of a policy URL.
    @ivar policy_key: a PEM file with the public keys of which one must have signed a policy; C{None}: none must.
    @ivar policy_max_age: the seconds after the last successful check of a policy URL for which its policy is used;
        C{None}: no limit.
    @ivar policy_dir: the directory for the last good version of a policy URL; C{None}: C{policy} in C{ca_dir}.
    @ivar grpc_descriptors: descriptor sets with the types of gRPC messages, for conditions on their fields.
    @ivar secrets: a TOML file with the sources of the secrets that decisions put into requests, and the destinations of
        each secret; C{None}: no secrets.
    @ivar mode: whether decisions are enforced, or only recorded.
    @ivar shadow_authz_url: an authorization service that is queried as well, without effect.
    @ivar shadow_authz_token: the bearer token for it; that of C{authz_url} is not sent there.
    @ivar shadow_policy: a policy that is evaluated as well, without effect.
    @ivar shadow_log: a file for the differences between the two decisions.
    @ivar ca_dir: the directory of the CA, which is created at the first start.
    @ivar ca_cert: the certificate of a CA that signs instead, followed by its chain.
    @ivar ca_key: the key of that CA.
    @ivar ca_root: the certificates that clients trust, if C{ca_cert} does not contain them.
    @ivar ca_name_constraints: the names, with subdomains, and address ranges that limit a created CA; empty: no limit.
    @ivar extra_ca_certs: a PEM file with further CAs to trust, for origins, the authorization service and upstreams.
    @ivar origin_tls: a TOML file with TLS settings for single origins.
    @ivar http2: whether clients and origins can use HTTP/2.
    @ivar client_tls: the cipher suites of TLS 1.2 that clients may use.
    @ivar upstream_http: the proxy for C{http} origins.
    @ivar upstream_https: the proxy for C{https} origins, tunnels and upgrades.
    @ivar bypass: the origins that are contacted directly even if there is an upstream proxy (C{NO_PROXY}).
    @ivar oversize_body: the handling of a request whose content exceeds C{limits.body}.
    @ivar passthrough: the hosts whose TLS is tunnelled without interception (C{example.com}, or C{.example.com} and
        C{*.example.com} for its subdomains; each may include a port).
    @ivar opaque_ports: ranges of ports to which every CONNECT is tunnelled without interception.
    @ivar resolve: when the name of a destination is resolved.
    @ivar dns_servers: the DNS servers that resolve the names of origins and of the upstream proxy, in the order of the
        queries; L{DnsServer.parse} parses text.  Empty: the system resolves names.
    @ivar upgrade_protocols: protocols, as the C{Upgrade} field names them, to which an allowed request may upgrade its
        connection, besides WebSockets; L{egress.model.protocol.protocol_name} checks each of them.
    @ivar allow_address: ranges that the address guard permits.
    @ivar deny_address: ranges that it refuses in addition to its own, even if C{allow_address} contains them.
    @ivar allow_ports: ranges of permitted destination ports; empty: every port.
    @ivar audit_log: a file, or C{"-"} for standard output; C{None}: no audit log.
    @ivar audit_log_mode: the mode of that file, if the proxy creates it.
    @ivar audit_log_group: the id of the group of that file, if the proxy creates it; C{None}: the system chooses it.
    @ivar audit_store: the audit store, as C{sqlite:FILE} or a C{postgresql://} URL; C{None}: no audit store.
    @ivar audit_store_password: the password for the server of the audit store.
    @ivar audit_store_required: whether a proxy that cannot open the audit store does not start.
    @ivar audit_store_days: the days after which records are deleted from it.
    @ivar audit_store_size: the size above which the oldest records are deleted from it, in bytes.
    @ivar audit_signing_key: a file with the key that signs the records in it, which is created at the first start.
    @ivar audit_spool_size: the maximum size of the spool of each process, in bytes.
    @ivar audit_failure: the behavior while the audit log or the audit store cannot be written.
    @ivar audit_headers: the requests whose header fields are in the audit log and the audit store.
    @ivar otel: whether OpenTelemetry data is exported.
    @ivar trace_propagate: whether origins receive the context of the trace.
    @ivar log_format: the format of the log that C{twistd} writes; an application that embeds the proxy has its own log.
    @ivar log_level: the lowest level of the records in that log.
    @ivar log_requests: the requests for which the log has a line; C{None}: with C{twistd} denied requests, unless the
        audit log is standard output; in an application no requests.
    @ivar metrics_port: the TCP port for C{/metrics} and C{/health}; C{None}: none.
    @ivar metrics_interface: the address of that port.
    @ivar admin: the endpoint of the admin API (L{AdminEndpoint.parse}); C{None}: no admin API, and no approvals.
    @ivar admin_token: the bearer token that the admin API requires.
    @ivar admin_viewer_token: the token of viewers of the web console.
    @ivar admin_hosts: the names by which browsers reach the web console, in addition to localhost.
    @ivar console_policy_edit: whether administrators of the web console can add rules to the policy file.
    @ivar approval_timeout: the seconds for which a request waits for the approver's decision.
    @ivar approval_queue: the maximum number of pending approvals.
    @ivar workers: the number of worker processes that C{twistd} starts, each with all of C{limits}; an application that
        embeds the proxy has one process.
    @ivar notify: the settings of notifications.
    @ivar shared: the settings of the state that replicas share.
    @ivar limits: the limits.
    """

    listen: tuple[Listener, ...] = attrs.field(default=("tcp:8080:interface=127.0.0.1",), converter=parse_listeners)
    client_auth: ClientAuth | None = None
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
    authz_decode_body: bool = False
    authz_response_headers: tuple[str, ...] = ()
    authz_cache: int | None = attrs.field(default=4096, validator=_positive)
    authz_max_ttl: float = attrs.field(default=3600.0, validator=_positive)
    authz_max_stale: float = attrs.field(default=300.0, validator=_not_negative)
    policy: Path | PolicyUrl | None = None
    policy_interval: float = attrs.field(default=30.0, validator=_positive)
    policy_token_file: Path | None = None
    policy_client_cert: Path | None = None
    policy_key: Path | None = None
    policy_max_age: float | None = attrs.field(default=None, validator=_positive)
    policy_dir: Path | None = None
    grpc_descriptors: tuple[Path, ...] = ()
    secrets: Path | None = None
    mode: Mode = Mode.ENFORCE
    shadow_authz_url: str | None = None
    shadow_authz_token: str | None = attrs.field(default=None, repr=False)
    shadow_policy: Path | PolicyUrl | None = None
    shadow_log: str | None = None
    ca_dir: Path = attrs.field(factory=lambda: Path.home() / ".egressproxy" / "ca")
    ca_cert: Path | None = None
    ca_key: Path | None = None
    ca_root: Path | None = None
    ca_name_constraints: tuple[str | IPNetwork, ...] = ()
    extra_ca_certs: Path | None = None
    origin_tls: Path | None = None
    http2: bool = True
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
    audit_log_mode: FileMode = FileMode.OWNER
    audit_log_group: int | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    audit_store: str | None = None
    audit_store_password: str | None = attrs.field(default=None, repr=False)
    audit_store_required: bool = True
    audit_store_days: int = attrs.field(default=30, validator=_positive)
    audit_store_size: int = attrs.field(default=1024 * MIB, validator=_positive)
    audit_signing_key: Path | None = None
    audit_spool_size: int = attrs.field(default=256 * MIB, validator=_positive)
    audit_failure: AuditFailure = AuditFailure.CONTINUE
    audit_headers: AuditHeaders = AuditHeaders.DENIED
    otel: Otel = Otel.AUTO
    trace_propagate: bool = False
    log_format: LogFormat = LogFormat.TEXT
    log_level: LogThreshold = LogThreshold.INFO
    log_requests: LoggedRequests | None = None
    metrics_port: int | None = None
    metrics_interface: str = "127.0.0.1"
    admin: AdminEndpoint | None = attrs.field(default=None, converter=_admin)
    admin_token: str | None = attrs.field(default=None, repr=False)
    admin_viewer_token: str | None = attrs.field(default=None, repr=False)
    admin_hosts: tuple[str, ...] = ()
    console_policy_edit: bool = False
    approval_timeout: float = attrs.field(default=300.0, validator=_positive)
    approval_queue: int = attrs.field(default=100, validator=_positive)
    workers: int = attrs.field(default=1, validator=_positive)
    notify: NotifySettings = attrs.field(factory=NotifySettings)
    shared: SharedSettings = attrs.field(factory=SharedSettings)
    limits: Limits = attrs.field(factory=Limits)

    def __attrs_post_init__(self) -> None:
        """Check the fields for contradictions.

        @raise ConfigError: names the field and the remedy.
        """
        contradictions.check(self, contradictions.PROXY)

    @property
    def audit_access(self) -> FileAccess:
        """The permissions of the audit log."""
        return FileAccess(self.audit_log_mode, self.audit_log_group)

    @property
    def over_body_limit(self) -> OversizeBody:
        """The handling of a request whose content exceeds the body limit: observe mode never rejects it."""
        return OversizeBody.TRUNCATE if self.mode is Mode.OBSERVE else self.oversize_body

    @property
    def policy_cache(self) -> Path:
        """The directory for the last good version of a policy URL."""
        return self.policy_dir or self.ca_dir / "policy"

    def auth_at(self, listener: Listener) -> ClientAuth | None:
        """Return how a listener's clients authenticate; C{None} if the listener accepts every client."""
        return listener.client_auth if listener.sets_auth else self.client_auth

    def requires_auth_at(self, listener: Listener) -> bool:
        """Tell whether a listener requires client authentication, by credentials or by certificate."""
        certificates = listener.tls is not None and listener.tls.client_ca is not None
        return certificates or self.auth_at(listener) is not None
