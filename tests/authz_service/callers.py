"""Callers of an authorization service, in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.service import EgressAuthzService
from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.record import ExchangeRecord
from tests.proxy.fakes import Wire, content_of, status_of
from tests.threads import ThreadlessReactor, at_once

POLICY = """
version = 1
[[rules]]
id = "no-writes"
action = "deny"
reason = "writes are not allowed"
methods = ["POST"]
[[rules]]
id = "all"
action = "allow"
"""

ALLOWED = {"url": "https://example.com/a?token=hunter2", "method": "GET", "headers": "{}"}
DENIED = {**ALLOWED, "method": "POST"}


def post(content: bytes, *fields: str, target: str = "/validate", method: str = "POST") -> bytes:
    """Encode an HTTP request with an authorization request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: authz", f"Content-Length: {len(content)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + content


class CallerTestCase(SynchronousTestCase):
    """Base: a service, and its callers."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = ThreadlessReactor()
        self.records: list[ExchangeRecord] = []
        self.policy = Path(self.mktemp())
        self.policy.write_text(POLICY, "utf-8")

    def write(self, record: ExchangeRecord) -> None:
        """Receive one record (L{IAuditSink.write})."""
        self.records.append(record)

    def close(self) -> None:
        """Do nothing: there are no open files (L{IAuditSink.close})."""

    def serve(self, authorizer: IAuthorizer | None = None, **config: Any) -> EgressAuthzService:
        """Start a service."""
        sink: IAuditSink = self  # type: ignore[assignment]
        made = AuthzServiceConfig(**{"policy": self.policy if authorizer is None else None, **config})
        service = EgressAuthzService(self.reactor, made, authorizer, sink)  # type: ignore[arg-type]
        service.privilegedStartService()
        service.startService()
        self.service = service
        return service

    def connect(self, port: int = 9000) -> Wire:
        """Connect to the service."""
        (factory,) = (server[1] for server in self.reactor.tcpServers if server[0] == port)
        address = IPv4Address("TCP", "198.51.100.7", 40000)
        return Wire(self.reactor, address).connect(factory.buildProtocol(address))

    def ask(self, question: object = None, *fields: str, wire: Wire | None = None) -> tuple[int, dict[str, Any]]:
        """Send an authorization request.

        @return: the status code, and the members of the response.
        """
        wire = wire or self.connect()
        content = json.dumps(ALLOWED if question is None else question).encode()
        wire.feed(post(content, "Content-Type: application/json", *fields))
        return self.answer(wire.take())

    def answer(self, data: bytes) -> tuple[int, dict[str, Any]]:
        """Decode one response."""
        found: dict[str, Any] = json.loads(content_of(data))
        return status_of(data), found

    def number(self, name: str) -> float:
        """Return the value of a metric of the service."""
        lines = self.service.metrics.render()[0].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))
