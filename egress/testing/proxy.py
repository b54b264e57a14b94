"""A whole proxy in memory, with its origins and clients."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from twisted.internet.address import IPv4Address

from egress.config.model import ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, normalize_host, parse_ip
from egress.model.record import ExchangeRecord
from egress.model.trace import Otel
from egress.service import EgressProxyService
from egress.testing.authorizer import RecordingAuthorizer, RecordingSink
from egress.testing.client import ClientResponse, MemoryClient, PendingResponse
from egress.testing.origin import MemoryOrigin, Respond
from egress.testing.origin_ca import OriginCa
from egress.testing.reactor import MemoryReactor
from egress.tls.issuer import CertificateAuthority
from egress.transport.reactor import IEgressReactor

T = TypeVar("T")

_PORT: Final = 8080
# The address guard permits these addresses, as any public address; nothing is ever sent to them.
_FIRST_ADDRESS: Final = ip_address("11.0.0.1")
# More than the steps of a stop take, in addition to the drain timeout.
_STOP_SECONDS: Final = 60.0
_DECIDE: Final = ("policy", "authz_url")


def _noting(done: list[object]) -> Callable[[T], T]:
    """Return a callback that records that it was called."""

    def note(result: T) -> T:
        done.append(result)
        return result

    return note


class MemoryProxy:
    """A proxy for a test: a L{EgressProxyService} on a L{MemoryReactor}, with origins and clients in memory.

    It uses the real parsers, TLS sessions, address guard, authorizer chain, and audit.  It creates a CA in a temporary
    directory, which L{close} deletes.

    @ivar reactor: the reactor.
    @ivar service: the proxy.
    @ivar directory: the directory with its files: the CA, in C{ca}, and the CA of the origins.
    @ivar authorizer: the authorizer of the application, or a L{RecordingAuthorizer} that allows every request.
    @ivar records: the audit records.
    @ivar origins: the origins, by their names.

    @param authorizer: the authorizer; C{None}: the policy or the authorization service in C{options}, and without them
        a L{RecordingAuthorizer}.
    @param reactor: the reactor; by default a new one.
    @param options: fields of L{ProxyConfig}.
    """

    def __init__(
        self, authorizer: IAuthorizer | None = None, *, reactor: MemoryReactor | None = None, **options: Any
    ) -> None:
        self.reactor = MemoryReactor() if reactor is None else reactor
        self.origins: dict[str, MemoryOrigin] = {}
        self._ca = OriginCa()
        self._directory = tempfile.TemporaryDirectory(prefix="egress-testing-")
        self.directory = path = Path(self._directory.name)
        if authorizer is None and not any(options.get(name) for name in _DECIDE):
            authorizer = RecordingAuthorizer()
        self.authorizer = authorizer
        self._sink = RecordingSink()
        defaults = {
            "listen": (f"tcp:{_PORT}:interface=127.0.0.1",),
            "ca_dir": path / "ca",
            "extra_ca_certs": self._ca.write(path / "origins.pem"),
            # Variables of the environment would make a test start threads and open sockets.
            "otel": Otel.OFF,
        }
        config = ProxyConfig(**{**defaults, **options})
        self._drain_timeout = config.limits.drain_timeout
        self.service = EgressProxyService(cast(IEgressReactor, self.reactor), config, authorizer, self._sink)
        self.service.startService()
        (self._address, *_) = self.reactor.wait_for(self.service.listening())

    @property
    def records(self) -> Sequence[ExchangeRecord]:
        """The audit records of the exchanges that ended."""
        return self._sink.records

    @property
    def ca(self) -> CertificateAuthority:
        """The CA of the proxy, which its clients trust."""
        return self.service.certificate_authority

    def origin(
        self,
        name: str,
        respond: Respond | None = None,
        *,
        http_ports: Sequence[int] = (80,),
        https_ports: Sequence[int] = (443,),
    ) -> MemoryOrigin:
        """Add an origin.  Its name resolves to an address of its own, unless the resolver has one for it.

        @param name: the host.
        @param respond: makes the responses; see L{MemoryOrigin}.
        @param http_ports: the ports on which it listens without TLS.
        @param https_ports: the ports on which it listens with TLS.
        """
        origin = MemoryOrigin() if respond is None else MemoryOrigin(respond)
        host = normalize_host(name)
        self.origins[host] = origin
        address = host if parse_ip(host) is not None else self._address_of(host)
        for port in http_ports:
            self.reactor.listen(address, port, origin.accept)
        for port in https_ports:
            context = self._ca.context(Authority(host, port))
            self.reactor.listen(address, port, partial(origin.accept, tls=context))
        return origin

    def _address_of(self, host: str) -> str:
        names = self.reactor.resolver.names
        if host not in names:
            names[host] = [str(_FIRST_ADDRESS + len(names))]
        return names[host][0]

    def client(self, address: str = "127.0.0.1", *, trusting: bool = True) -> MemoryClient:
        """Return a client.

        @param address: its IP address.
        @param trusting: whether it trusts the CA of the proxy.
        """
        port = cast(IPv4Address, self._address).port
        ca = self.ca if trusting else None
        return MemoryClient(self.reactor, port, ca, IPv4Address("TCP", address, 54321))

    def send(
        self, method: str, url: str, fields: Mapping[str, str] | None = None, body: bytes = b""
    ) -> PendingResponse:
        """Send a request of a new client; see L{MemoryClient.send}."""
        return self.client().send(method, url, fields, body)

    def request(
        self, method: str, url: str, fields: Mapping[str, str] | None = None, body: bytes = b""
    ) -> ClientResponse:
        """Send a request of a new client, and return its response; see L{MemoryClient.request}."""
        return self.client().request(method, url, fields, body)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.reactor.pass_time(seconds)

    def close(self) -> None:
        """Stop the proxy, and delete its files.

        @raise AssertionError: if it does not stop.
        """
        done: list[object] = []
        stopped = self.service.stopService().addBoth(_noting(done))
        self.reactor.settle()
        end = self.reactor.seconds() + self._drain_timeout + _STOP_SECONDS
        while not done and self.reactor.seconds() < end:
            # The proxy waits for exchanges that a test left open, and aborts them in the end.
            self.reactor.pass_time(1.0)
        self.reactor.wait_for(stopped)
        self._directory.cleanup()

    def __enter__(self) -> MemoryProxy:
        """Return the proxy, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the proxy."""
        self.close()
