"""Explanations of requests that are not sent: the components of a proxy are queried in the order of an exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks

from egress.admin.explain_messages import explain_message
from egress.admin.explain_text import describe, of_route, of_terms, of_way
from egress.authz.approvals import Approvals
from egress.authz.chain import AuthorizerChain
from egress.config.model import OversizeBody, ProxyConfig
from egress.http.events import RequestHead
from egress.http.readers import RequestReader
from egress.http.request_target import RequestTarget, parse_request_target
from egress.http.upgrade import Upgrade, requested_upgrade
from egress.http.writers import forwarded_fields
from egress.interfaces import IAddressGuard
from egress.model.authority import DEFAULT_PORTS, PROXY_HOST, Authority, Origin
from egress.model.decision import NEEDS, ClientIdentity, Decision, DecisionRequest, Headers, Stage, Verdict
from egress.model.errors import (
    AddressForbidden,
    AuthorizerUnavailable,
    BadRequest,
    CertificateNotPermitted,
    ClientAuthRequired,
    EgressError,
    NameNotResolved,
    ResolutionTimeout,
    outcome_of,
)
from egress.model.explanation import ExplainRequest, Explanation, RuleTried, Step
from egress.model.route import Purpose, Route
from egress.proxy.context import ProxyContext
from egress.proxy.destination import Destination
from egress.proxy.request_body import content_too_large
from egress.proxy.tunnel_binding import TunnelBinding, named_origin
from egress.transport.tls_layer import TLS_LAYERS
from egress.upstream.connector import Dialer

_LOCAL: Final = "127.0.0.1"
# Only the last rules that were evaluated: an explanation of the longest policy must fit into a response.
_MAX_RULES: Final = 500
_OK: Final = "ok"
_NO: Final = "no"
_FAILED: Final = "failed"
_SKIPPED: Final = "skipped"

_Steps = Generator[Deferred[Any], Any, Explanation]


@attrs.frozen(kw_only=True)
class Explainer:
    """Explains requests with the components of one proxy.

    @ivar config: the configuration.
    @ivar context: the collaborators of the proxy.
    @ivar dialer: finds the routes to origins.
    @ivar guard: the address guard.
    @ivar chain: the authorizers.
    @ivar approvals: the pending approvals and the grants.
    @ivar ca_note: a note about the CA, for the explanation.
    @ivar timer: a clock in seconds, to measure steps with.
    """

    config: ProxyConfig
    context: ProxyContext
    dialer: Dialer
    guard: IAddressGuard
    chain: AuthorizerChain
    approvals: Approvals
    ca_note: str | None = None
    timer: Callable[[], float] = time.perf_counter

    def explain(self, request: ExplainRequest) -> Deferred[Explanation]:
        """Explain one request.  Nothing is forwarded."""
        return _Trace(self, request).run()


class _Trace:
    """The trace of one request, step by step."""

    def __init__(self, explainer: Explainer, request: ExplainRequest) -> None:
        self._of = explainer
        self._context = explainer.context
        self._request = request
        self._url = request.url
        self._steps: list[Step] = []
        self._began = explainer.timer()
        self._decision: Decision | None = None

    def _step(self, name: str, outcome: str, text: str, details: Any = (), rules: tuple[RuleTried, ...] = ()) -> None:
        """Record the end of a step; its duration is the time since the previous step."""
        now = self._of.timer()
        self._steps.append(Step(name, outcome, text, now - self._began, tuple(details), rules))
        self._began = now

    def run(self) -> Deferred[Explanation]:
        """Run all steps; an error that ends the trace early is a step, too."""
        trace: Deferred[Explanation] = self._walk()

        def ended(failure: Any) -> Explanation:
            failure.trap(EgressError)
            return self._fault(failure.value)

        return trace.addErrback(ended)

    # -- the steps

    @inlineCallbacks
    def _walk(self) -> _Steps:
        request = self._request
        name = "client"
        try:
            self._client()
            name = "request"
            head, target, origin = self._read()
            path = "" if target.path == "*" else target.path
            self._url = str(target.authority) if head.method == "CONNECT" else f"{origin}{path}"
            self._step(name, _OK, f"{head.method} {self._url}", self._written_form(head))
            stage = Stage.REQUEST
            name = "tunnel"
            if origin.scheme == "https":
                stage = self._tunnel(origin.authority)
            if stage is Stage.REQUEST and head.method == "CONNECT":
                self._step("decision", _SKIPPED, "each request inside the tunnel is authorized: explain one of them")
                return self._end("none", "the requests inside the tunnel are authorized separately", "proxy")
            if origin.authority.host == PROXY_HOST:
                self._step("decision", _SKIPPED, why := "the proxy itself responds to this host, without authorization")
                return self._end("none", why, "proxy")
            name = "address"
            purpose = Purpose.TUNNEL if stage is Stage.TUNNEL else Purpose.REQUEST
            if stage is Stage.REQUEST and self._upgrade(head) is not None:
                purpose = Purpose.UPGRADE
            destination = Destination(self._context.origins, self._identity(), origin, purpose)
            if self._check_address(destination, origin.authority):
                yield self._look_up(destination, origin.authority, first=True)
            name = "decision"
            authz_request = self._authz_request(head, target, origin, stage, destination)
            if not request.ask and self._of.chain.rules is None:
                self._step(name, _SKIPPED, f"{self._of.chain.without_approver.name} was not queried (--no-ask)")
                return self._end("none", "no authorization request was sent", "proxy")
            decision = yield self._decide(authz_request, destination)
            if decision.verdict is not Verdict.ALLOW:
                if destination.withheld:
                    self._step("address", _SKIPPED, "not resolved: only names of allowed requests are resolved")
                return self._not_allowed(decision)
            if request.message is not None:
                name = "message"
                found = yield explain_message(self._of.chain, authz_request, decision, request.message)
                allowed = found.decision is None or found.decision.allowed
                self._step(name, _OK if allowed else _NO, found.text, (), found.rules)
                if not allowed:
                    return attrs.evolve(self._not_allowed(found.decision), status=None, code="message-denied")
            if destination.resolution_error is not None:
                return self._fault(destination.resolution_error)
            name = "address"
            if destination.route is None:
                yield self._look_up(destination, origin.authority)
            route = destination.route
            assert route is not None  # look_up() found it or raised
            name = "way"
            self._route(route, origin)
            name = "connection"
            if request.connect:
                yield self._connect(route)
            else:
                self._step(name, _SKIPPED, "not tried (--connect)")
            return self._end("allow", decision.reason, decision.decided_by, decision.rule_id)
        except EgressError as error:
            # The step that failed may have recorded the error, with details.
            if not self._steps or self._steps[-1].text != error.reason:
                outcome = _NO if outcome_of(error).verdict in ("deny", "rejected") else _FAILED
                self._step(name, outcome, error.reason)
            raise

    def _client(self) -> None:
        config, name = self._of.config, self._request.client
        if name is not None:
            self._step("client", _OK, f"{name}, assumed to be authenticated")
        elif config.listen and all(map(config.requires_auth_at, config.listen)):
            raise ClientAuthRequired("clients must authenticate: set the name of a client with --client")

    def _read(self) -> tuple[RequestHead, RequestTarget, Origin]:
        """Parse the request with the proxy's own reader, as if a client had sent it."""
        request = self._request
        names = {name.lower() for name, _ in request.headers}
        lines = [f"{request.method} {request.url} HTTP/1.1".encode()]
        lines += [name + b": " + value for name, value in request.headers]
        connect = request.method == "CONNECT"
        schemes = DEFAULT_PORTS
        target = parse_request_target(request.method, request.url.encode("utf-8"), schemes)
        if target.authority is None:
            raise BadRequest("write an absolute URL, as in https://example.com/, or a host and a port for CONNECT")
        scheme = target.scheme or "https"
        origin = Origin("https", target.authority) if connect else Origin.of(scheme, target.authority)
        if b"host" not in names:
            lines.append(f"Host: {origin.authority if connect else str(origin).partition('://')[2]}".encode())
        if request.body and not names & {b"content-length", b"transfer-encoding"}:
            lines.append(f"Content-Length: {len(request.body)}".encode())
        reader = RequestReader(self._context.head_limits)
        reader.receive(b"\r\n".join([*lines, b"", b""]))
        head = reader.next_event()
        assert isinstance(head, RequestHead)  # it is complete
        if origin.scheme == "http":
            origin = named_origin(parse_request_target(head.method, head.target))
        elif not connect:
            target = TunnelBinding(origin, self._identity()).target_of(head)
        return head, target, origin

    def _written_form(self, head: RequestHead) -> list[str]:
        request = self._request
        written = f"{request.method} {request.url}"
        return [] if written == f"{head.method} {self._url}" else [f"written as {written}"]

    def _identity(self) -> ClientIdentity:
        return ClientIdentity(_LOCAL, 0, self._request.client)

    def _tunnel(self, authority: Authority) -> Stage:
        tunnels = self._context.tunnels
        refusal = tunnels.interception.refusal(authority)
        if tunnels.is_passthrough(authority):
            why = "--opaque-ports" if tunnels.is_opaque_port(authority) else "--passthrough"
            self._step("tunnel", _OK, f"passthrough ({why}): the tunnel is authorized as a whole, and relayed unread")
            return Stage.TUNNEL
        if refusal is not None:
            raise CertificateNotPermitted(refusal)
        note = self._of.ca_note
        self._step("tunnel", _OK, f"intercepted; the CA may sign for {authority.host}", [note] if note else [])
        return Stage.REQUEST

    def _check_address(self, destination: Destination, authority: Authority) -> bool:
        """Apply the dialer's checks that need no lookup; return whether the lookup comes next."""
        try:
            lookup_first = destination.begin()
        except AddressForbidden as error:
            literal = authority.ip
            known = () if literal is None else (literal,)
            self._step("address", _NO, error.reason, describe(self._of.guard, known, authority.port))
            raise
        if destination.route is not None:
            self._address_found(destination.route)
        return lookup_first

    @inlineCallbacks
    def _look_up(
        self, destination: Destination, authority: Authority, first: bool = False
    ) -> Generator[Deferred[Any], Any, None]:
        """Have the dialer resolve the name, and describe each address."""
        try:
            yield destination.look_up_first() if first else destination.look_up()
        except AddressForbidden as error:
            found = yield self._of.dialer.addresses(authority)
            self._step("address", _NO, error.reason, describe(self._of.guard, found, authority.port))
            raise
        except (NameNotResolved, ResolutionTimeout) as error:
            self._step("address", _FAILED, error.reason)
            raise
        if destination.resolution_error is not None:
            self._step("address", _FAILED, destination.resolution_error.reason)
        elif destination.route is not None:
            self._address_found(destination.route)

    def _address_found(self, route: Route) -> None:
        details = describe(self._of.guard, route.addresses, route.origin.authority.port)
        self._step("address", _OK, of_route(route), details)

    def _authz_request(
        self, head: RequestHead, target: RequestTarget, origin: Origin, stage: Stage, destination: Destination
    ) -> DecisionRequest:
        """Make the authorization request that the proxy would send."""
        body = self._request.body or None
        tunnel = stage is Stage.TUNNEL
        host: Headers = ((b"Host", str(origin.authority).encode("ascii")),)
        request = DecisionRequest(
            request_id=self._context.authz.new_id(),
            stage=stage,
            method="CONNECT" if tunnel else head.method,
            origin=origin,
            path="" if tunnel else target.path,
            headers=host if tunnel else tuple(forwarded_fields(head, origin, self._upgrade(head))),
            client=self._identity(),
            content_length=0 if tunnel else len(body or b""),
            addresses=destination.addresses,
            addresses_withheld=destination.withheld,
        )
        if body is None or tunnel:
            return request
        if self._of.chain.without_approver.needs_body:
            return self._with_body(request, body)
        return attrs.evolve(request, body_withheld=True)

    def _upgrade(self, head: RequestHead) -> Upgrade | None:
        return requested_upgrade(head, self._context.upgrade_protocols)

    def _with_body(self, request: DecisionRequest, body: bytes) -> DecisionRequest:
        limit = self._context.limits.body
        if len(body) > limit and self._context.oversize_body is OversizeBody.REFUSE:
            raise content_too_large(limit)
        return attrs.evolve(request, body=body[:limit], body_truncated=len(body) > limit, body_withheld=False)

    @inlineCallbacks
    def _decide(self, request: DecisionRequest, destination: Destination) -> Generator[Deferred[Any], Any, Decision]:
        details = []
        while True:
            decision: Decision = yield self._of.chain.without_approver.decide(request)
            if decision.verdict is Verdict.NEED_BODY and request.body_withheld:
                details.append("authorized again, with the content")
                request = self._with_body(request, self._request.body or b"")
            elif decision.verdict is Verdict.NEED_ADDRESSES and request.addresses_withheld:
                details.append("authorized again, with the addresses")
                request = yield self._with_addresses(request, destination)
            else:
                break
        if decision.verdict in NEEDS:
            raise AuthorizerUnavailable("the authorizer requested data that it already has, or that is not available")
        details += of_terms(decision)
        rule = f"rule {decision.rule_id} of " if decision.rule_id is not None else ""
        outcome = {Verdict.ALLOW: _OK, Verdict.ASK: "ask"}.get(decision.verdict, _NO)
        text = f"{decision.verdict.value}, by {rule}{decision.decided_by}: {decision.reason}"
        rules = self._rules(request)
        if len(rules) > _MAX_RULES:
            details.append(f"{len(rules) - _MAX_RULES} earlier rules did not match")
        self._step("decision", outcome, text, details, rules[-_MAX_RULES:])
        return self._approval(request, decision)

    @inlineCallbacks
    def _with_addresses(
        self, request: DecisionRequest, destination: Destination
    ) -> Generator[Deferred[Any], Any, DecisionRequest]:
        yield (
            destination.look_up()
            if destination.resolution_error is not None
            else self._look_up(destination, request.authority)
        )
        assert destination.route is not None  # it was found
        destination.set_addresses(destination.route)
        return attrs.evolve(request, addresses=destination.addresses, addresses_withheld=False)

    def _rules(self, request: DecisionRequest) -> tuple[RuleTried, ...]:
        rules = self._of.chain.rules
        if rules is None:
            return ()
        traced = rules.trace(request, self._context.authz.wall_clock())
        return tuple(
            RuleTried(one.rule_id, one.verdict.value, one.matched, one.failed, one.where, one.doubt) for one in traced
        )

    def _approval(self, request: DecisionRequest, decision: Decision) -> Decision:
        """Return what the approval step would decide, without notifying an approver."""
        if decision.verdict is not Verdict.ASK:
            return decision
        found = self._of.approvals.resolve_without_approver(request, decision)
        if found is None:
            timeout = self._of.config.approval_timeout
            self._step("approval", "ask", f"pending until an approver allows or denies it, for up to {timeout:g} s")
            return decision
        self._step("approval", _OK if found.allowed else _NO, found.reason)
        return found

    def _not_allowed(self, decision: Decision) -> Explanation:
        if decision.verdict is Verdict.ASK:
            return self._end("ask", decision.reason, decision.decided_by, decision.rule_id)
        denied = self._end("deny", decision.reason, decision.decided_by, decision.rule_id)
        return attrs.evolve(denied, status=403, code="denied")

    def _route(self, route: Route, origin: Origin) -> None:
        self._step("way", _OK, of_way(self._of.config, route, origin))

    @inlineCallbacks
    def _connect(self, route: Route) -> Generator[Deferred[Any], Any, None]:
        """Connect as the proxy would, TLS included, and close the connection."""
        connection = yield self._context.origins.streams.open(route, http2=True)
        transport: Any = connection.transport
        hop = connection.hop
        details = []
        if isinstance(transport, TLS_LAYERS):
            handle: Any = transport.getHandle()
            details.append(f"{handle.get_protocol_version_name()}, {handle.get_cipher_name()}")
        connection.abort()
        self._step("connection", _OK, f"connected to {hop.address or hop.upstream}", details)

    # -- the end

    def _end(self, verdict: str, reason: str, decided_by: str, rule_id: str | None = None) -> Explanation:
        method, steps = self._request.method, tuple(self._steps)
        return Explanation(method, self._url, steps, verdict, reason, decided_by, rule_id)

    def _fault(self, error: EgressError) -> Explanation:
        outcome = outcome_of(error)
        verdict = "deny" if outcome.verdict in ("deny", "rejected") else "none"
        status = None if outcome.status is None else outcome.status.value
        return attrs.evolve(self._end(verdict, error.reason, "proxy"), status=status, code=outcome.code)
