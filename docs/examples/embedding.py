"""An application that embeds an egress proxy.

Before a job runs, it requests a permit for each host from the application.  Afterwards, it deletes the permits::

    curl -X PUT    http://127.0.0.1:8081/permits/api.example.com
    curl -X DELETE http://127.0.0.1:8081/permits/api.example.com

In between, the proxy in the same process allows requests to C{api.example.com}, and denies all others.  The authorizer
is written in Python, and uses the application's own state.

Run it with C{python embedding.py}.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from twisted.application.internet import TCPServer
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from egress.config.model import ProxyConfig
from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.authority import normalize_host
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.errors import InvalidTarget
from egress.model.record import ExchangeRecord
from egress.service import EgressProxyService
from egress.transport.reactor import IEgressReactor


@implementer(IAuditSink)
class Permits:
    """The application's state: the hosts with a permit, each with its number of requests.

    It is also an audit sink: the proxy writes a record of every exchange to it.
    """

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}

    def write(self, record: ExchangeRecord) -> None:
        """Count a request that was forwarded."""
        if record.outcome == "forwarded":
            host = urlsplit(record.url).hostname
            if host in self.requests:
                self.requests[host] += 1

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


@implementer(IAuthorizer)
class PermitAuthorizer:
    """Allows requests to hosts with a permit.

    An authorizer that has to wait, for example for a database or an approver, returns a Deferred that fires later.  The
    client waits until then, and nothing is forwarded.  If the authorizer raises an exception, or its Deferred fires
    with anything but a L{Decision}, nothing is forwarded either.
    """

    name = "permits"
    needs_body = False

    def __init__(self, permits: Permits) -> None:
        self._permits = permits

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Decide by the permits."""
        host = request.authority.host
        if host in self._permits.requests:
            return succeed(Decision(Verdict.ALLOW, f"there is a permit for {host}", self.name))
        reason = f"there is no permit for {host}: request one with PUT /permits/{host}"
        return succeed(Decision(Verdict.DENY, reason, self.name, rule_id="no-permit"))

    def check_ready(self) -> Deferred[None]:
        """Always ready: the state is in this process."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Do nothing: there is nothing to close."""
        return succeed(None)


class PermitPage(Resource):
    """The application's own web service: C{PUT} and C{DELETE /permits/HOST}, and C{GET /permits}."""

    isLeaf = True

    def __init__(self, permits: Permits) -> None:
        super().__init__()
        self._permits = permits

    def render_GET(self, request: Request) -> bytes:
        """List the permits, each with its number of requests."""
        request.setHeader("Content-Type", "application/json")
        return json.dumps(self._permits.requests).encode("ascii") + b"\n"

    def render_PUT(self, request: Request) -> bytes:
        """Add a permit."""
        host = self._host(request)
        if host:
            self._permits.requests.setdefault(host, 0)
        return b""

    def render_DELETE(self, request: Request) -> bytes:
        """Delete a permit."""
        self._permits.requests.pop(self._host(request), None)
        return b""

    def _host(self, request: Request) -> str:
        """Return the host in the path, normalized in the same way as in the proxy."""
        try:
            (segment,) = request.postpath
            host = normalize_host(segment.decode("utf-8"))
        except (InvalidTarget, ValueError):
            request.setResponseCode(400)
            return ""
        request.setResponseCode(204)
        return host


class Application(MultiService):
    """A web service and a proxy that share their state.

    @ivar permits: the state.
    @ivar proxy: the proxy.  C{proxy.listening()} fires when it is ready.
    """

    def __init__(self, reactor: IEgressReactor, config: ProxyConfig, port: int = 8081) -> None:
        super().__init__()
        self.permits = Permits()
        self.proxy = EgressProxyService(reactor, config, authorizer=PermitAuthorizer(self.permits), audit=self.permits)
        self.proxy.setServiceParent(self)
        root = Resource()
        root.putChild(b"permits", PermitPage(self.permits))
        TCPServer(port, Site(root, reactor=reactor), interface="127.0.0.1", reactor=reactor).setServiceParent(self)


def main(reactor: Any) -> Deferred[None]:
    """Run until interrupted."""
    application = Application(reactor, ProxyConfig())
    reactor.addSystemEventTrigger("before", "shutdown", application.stopService)
    application.privilegedStartService()
    application.startService()

    def ready(addresses: tuple[IAddress, ...]) -> Deferred[None]:
        print(f"listening on {addresses[0]}; the CA is {application.proxy.certificate_authority.fingerprint}")
        return Deferred()

    return application.proxy.listening().addCallback(ready)


if __name__ == "__main__":
    react(main)
