"""The configuration of an authorization service: immutable, complete and valid once it exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from egress.config import contradictions
from egress.config.listener import Listener
from egress.config.model import MIB, AuditFailure, ConfigError, IPNetwork, parse_listeners
from egress.model import text_converters as setting_text
from egress.model.converters import BadValue, checked, file_text, port
from egress.model.converters import not_negative as _not_negative
from egress.model.converters import positive as _positive
from egress.model.file_access import FileAccess, FileMode
from egress.model.log_format import LogFormat, LogThreshold
from egress.model.policy_url import PolicyUrl, policy_location


def _without_clients(instance: object, attribute: attrs.Attribute[Any], value: tuple[Listener, ...]) -> None:
    if any(listener.sets_auth for listener in value):
        raise ConfigError("listen", "", "remove client-auth: callers authenticate with a token or a certificate")
    if any(listener.https is not None for listener in value):
        raise ConfigError("listen", "", "remove https: it applies only to clients of a proxy")


def _policy_file(value: object) -> Path:
    """Accept the file of a policy."""
    location = policy_location(value)
    if isinstance(location, PolicyUrl):
        raise BadValue("egressauthz needs a file: download the policy, and specify its file")
    return location


_KINDS: Final = checked(
    policy=_policy_file,
    token=setting_text.token,
    audit_log=file_text,
    metrics_port=port,
    metrics_interface=setting_text.interface,
)


@attrs.frozen(kw_only=True, field_transformer=_KINDS)
class AuthzServiceConfig:
    """The configuration of one authorization service.

    @ivar listen: server endpoint descriptions, as in L{egress.config.model.ProxyConfig}, without C{client-auth}.
    @ivar policy: the TOML file of the policy; C{None}: the packaged starter policy.
    @ivar grpc_descriptors: descriptor sets with the types of gRPC messages, for conditions on their fields.
    @ivar token: the bearer token of callers; C{None}: they need none.
    @ivar allow_address: ranges to which C{private_addresses = "deny"} of the policy does not apply.
    @ivar body_limit: the maximum length of the request content in an authorization request, in bytes.
    @ivar audit_log: a file, or C{"-"} for standard output; C{None}: no audit log.
    @ivar audit_log_mode: the mode of that file, if the service creates it.
    @ivar audit_log_group: the id of the group of that file, if the service creates it; C{None}: the system chooses it.
    @ivar audit_failure: what to do while the audit log cannot be written.
    @ivar log_format: the format of the log that C{twistd} writes.
    @ivar log_level: the lowest level of the records in that log.
    @ivar metrics_port: the TCP port for C{/metrics} and C{/health}; C{None}: no port.
    @ivar metrics_interface: the address of that port.
    @ivar connections: the maximum number of open connections of callers.
    @ivar idle_timeout: seconds for which a connection stays open between two requests.
    @ivar request_timeout: seconds from the first byte of an authorization request to its last; also for a decision, if
        it is not rules that decide.
    @ivar drain_timeout: seconds in which a stopping service completes requests in progress.
    """

    listen: tuple[Listener, ...] = attrs.field(
        default=(Listener("tcp:9000:interface=127.0.0.1"),), converter=parse_listeners, validator=_without_clients
    )
    policy: Path | None = None
    grpc_descriptors: tuple[Path, ...] = ()
    token: str | None = attrs.field(default=None, repr=False)
    allow_address: tuple[IPNetwork, ...] = ()
    body_limit: int = attrs.field(default=16 * MIB, validator=_positive)
    audit_log: str | None = None
    audit_log_mode: FileMode = FileMode.OWNER
    audit_log_group: int | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    audit_failure: AuditFailure = AuditFailure.CONTINUE
    log_format: LogFormat = LogFormat.TEXT
    log_level: LogThreshold = LogThreshold.INFO
    metrics_port: int | None = None
    metrics_interface: str = "127.0.0.1"
    connections: int = attrs.field(default=4096, validator=_positive)
    idle_timeout: float = attrs.field(default=75.0, validator=_positive)
    request_timeout: float = attrs.field(default=15.0, validator=_positive)
    drain_timeout: float = attrs.field(default=20.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        """Check the fields against each other.

        @raise egress.config.model.ConfigError: with the name of the field and the fix.
        """
        contradictions.check(self, contradictions.AUTHZ_SERVICE)

    @property
    def audit_access(self) -> FileAccess:
        """The permissions of the audit log."""
        return FileAccess(self.audit_log_mode, self.audit_log_group)

    @property
    def request_limit(self) -> int:
        """The maximum length of an authorization request, in bytes.

        One byte of content can need six in JSON, but in text few bytes do; base64 needs four for three.  The rest is
        for the head of a request, which is encoded twice.
        """
        return 4 * self.body_limit + MIB // 2

    def requires_auth_at(self, listener: Listener) -> bool:
        """Return whether a listener requires a token or a certificate."""
        certificates = listener.tls is not None and listener.tls.client_ca is not None
        return certificates or self.token is not None
