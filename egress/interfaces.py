"""The interfaces that an application that embeds the proxy can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

from egress.model.client_tls import LeafKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from OpenSSL import SSL
    from twisted.internet.defer import Deferred

    from egress.model.authority import Authority, IPAddress, Origin
    from egress.model.budget import Budget
    from egress.model.comparison import ShadowComparison
    from egress.model.decision import Decision, DecisionRequest
    from egress.model.errors import EgressError
    from egress.model.phases import Mark
    from egress.model.record import ExchangeRecord
    from egress.model.revocation import Revocation, RevocationCounts
    from egress.model.route import Purpose, Route
    from egress.transport.dialed import DialedProtocol


class IAuthorizer(Interface):
    """Decides on requests.

    The proxy forwards a request only when L{decide} fires with an allowing L{Decision}.  Every other result is a denial
    or a failure.
    """

    name: str = Attribute("The name of the authorizer in logs and in the message at startup.")
    needs_body: bool = Attribute(
        "Whether L{decide} always reads the content.  When true, the proxy collects the content up to the body limit "
        "before it calls L{decide}.  When false, C{DecisionRequest.body} is C{None} and content of any length streams "
        "through, unless the decision on a request with C{body_withheld} is C{Verdict.NEED_BODY}: then the proxy "
        "collects the content and calls L{decide} again with it."
    )

    def decide(request: DecisionRequest) -> Deferred[Decision]:
        """Decide on one request.

        The proxy does not resolve a host name before the decision, so a denied request causes no DNS query.  If
        C{DecisionRequest.addresses_withheld} is true, the decision can be C{Verdict.NEED_ADDRESSES}: then the proxy
        resolves the name and calls L{decide} again with its addresses.

        The proxy can cancel the Deferred when the client disconnects.

        @return: fires with the decision, or fails with L{egress.model.errors.AuthorizerUnavailable}.
        """

    def check_ready() -> Deferred[None]:
        """Check whether the authorizer can decide now.

        @return: fires with C{None}, or fails with L{egress.model.errors.AuthorizerUnavailable}.
        """

    def close() -> Deferred[None]:
        """Release every resource.  No method is called after this one."""


class IClientAuthenticator(Interface):
    """Authenticates clients, where a listener requires authentication."""

    def cached_identity(presented: bytes) -> str | None:
        """Look up a value of C{Proxy-Authorization} that was verified a short time ago.

        @return: the name of the client, or C{None} if no verification is cached.
        """

    def check(presented: bytes | None, address: str) -> Deferred[str]:
        """Verify credentials.

        @param presented: the value of C{Proxy-Authorization}; C{None} if the client sent none.
        @param address: the address of the client; checks are limited per address, so that one client cannot delay the
            others.
        @return: fires with the name of the client; fails with L{egress.model.errors.ClientAuthRequired} or
            L{egress.model.errors.ClientAuthBusy}.  It may be cancelled.
        """


class IAuditSink(Interface):
    """Receives one record for each exchange, when the exchange is complete."""

    def write(record: ExchangeRecord) -> None:
        """Receive one record.  It must not block for long, and must not raise."""

    def close() -> None:
        """Flush and release open files."""


class IRevocations(Interface):
    """Applies revocations to this process."""

    def apply(revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void the decisions that a revocation covers, and end the requests and tunnels that run because of them.

        A revocation with the id of an earlier one has no effect.

        @return: fires when none of them runs any more.
        """


class ICharge(Interface):
    """What one exchange charges to budgets."""

    counts_bytes: bool = Attribute("Whether the bytes of the exchange are counted.")
    left: int = Attribute("The number of bytes that may be transferred, as far as known.")
    room: int = Attribute("The number of bytes that may be transferred before the exchange must wait.")
    observed: EgressError | None = Attribute("The error that observe mode did not enforce.")

    def refusal(count: int) -> EgressError | None:
        """Return why a number of bytes must not be transferred; C{None}: they may."""

    def spend(count: int) -> None:
        """Count bytes that are about to be transferred."""

    def refund(count: int) -> None:
        """Return counted bytes that are not transferred after all."""

    def wait(then: Callable[[], None]) -> bool:
        """Return whether the exchange must wait until its bytes are counted together with the bytes of other replicas.

        @param then: is called at the end of the wait, but not after L{close}.
        """

    def close() -> None:
        """Count no more bytes."""


class IBudgets(Interface):
    """Counts allowed requests, and their bytes, against the budgets of a decision."""

    def take(request: DecisionRequest, budgets: tuple[Budget, ...]) -> Deferred[ICharge]:
        """Count an allowed request.

        @return: fires with its charge; fails with L{egress.model.errors.BudgetExhausted} or
            L{egress.model.errors.BudgetUnavailable}.  Cancelling it returns the counted tokens.
        """

    def follow(request: DecisionRequest, budgets: tuple[Budget, ...]) -> ICharge:
        """Return the charge of a request that was counted, for its bytes under a later decision.

        @raise egress.model.errors.BudgetUnavailable: if they cannot be counted.
        """


class IShadowSink(Interface):
    """Receives the comparison of a shadow decision with the actual decision."""

    def write(comparison: ShadowComparison) -> None:
        """Receive one comparison.  It must not block for long, and must not raise."""

    def close() -> None:
        """Flush and release open files."""


class IAddressGuard(Interface):
    """Refuses addresses to which no request may be sent, whatever the authorizer decides."""

    def refusal(address: IPAddress, port: int) -> str | None:
        """Check one address.

        @return: C{None} if the address is permitted, otherwise one sentence with the reason for the refusal.
        """

    def is_the_proxy(address: IPAddress, port: int) -> bool:
        """Tell whether the proxy itself listens on an address."""

    def port_refusal(port: int) -> str | None:
        """Check a port, before any name is resolved.

        @return: C{None} if the port is permitted, otherwise one sentence with the reason for the refusal.
        """

    def name_refusal(authority: Authority) -> str | None:
        """Check a host name before it is resolved, or where an upstream proxy resolves it.

        @return: C{None} if the name itself is permitted, otherwise one sentence with the reason for the refusal.
        """


class IDialer(Interface):
    """Opens connections to origins, directly or through an upstream proxy.  The address guard checks each address."""

    def judge(origin: Origin, purpose: Purpose) -> Route | None:
        """Find the route to an origin without resolving its name.

        @return: a route where no lookup is needed: to an address, or through an upstream proxy, which resolves names
            itself; C{None} for a name that L{check} has to resolve.
        @raise egress.model.errors.AddressForbidden: for a port, an address or a name that the guard refuses.
        """

    def check(origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        """Resolve the origin and check each of its addresses, without connecting.

        @param origin: the origin.
        @param purpose: the purpose of the connection.
        @param client: the key by which per-client limits count the client (L{egress.model.limit_key}); empty for the
            proxy itself.  The lookups of one client do not delay other clients.
        @return: fires with a route for L{dial}; fails with L{egress.model.errors.AddressForbidden}, an
            L{egress.model.errors.OriginError}, L{egress.model.errors.TooManyLookups} or
            L{egress.model.errors.ResolverBusy}.
        """

    def dial(
        route: Route, protocol: DialedProtocol, phases: list[Mark] | None = None, http2: bool = False
    ) -> Deferred[None]:
        """Connect C{protocol} along a route.

        @param route: the route.
        @param protocol: the protocol of the connection.
        @param phases: receives the beginning of each phase (L{egress.model.phases}).
        @param http2: whether HTTP/2 is offered to the origin in the TLS handshake, besides HTTP/1.1.
        @return: fires when the connection is established, including the TLS handshake; fails with an
            L{egress.model.errors.OriginError}.  Cancelling it drops the connection.
        """


class ILeafSource(Interface):
    """Provides the TLS context with which the proxy impersonates an authority."""

    def refusal(authority: Authority) -> str | None:
        """Check whether the proxy may issue a certificate for an authority.

        @return: C{None} if it may, otherwise one sentence with the reason for the refusal.
        """

    def prepared(key: LeafKey) -> Deferred[Any]:
        """Wait until a key of this kind exists.

        @return: fires when L{context_for} can be called with it.
        """

    def context_for(authority: Authority, key: LeafKey = LeafKey.P256) -> SSL.Context:
        """Return the server context for one authority.  Issue its leaf certificate if there is none yet.

        @param authority: the authority that the certificate names.
        @param key: the kind of key that the client accepts; for any kind other than P-256, L{prepared} must have fired.
        """


class IPlaceholderNames(Interface):
    """The names for which placeholder addresses were given out."""

    def name_of(address: str) -> str | None:
        """Return the normalized name of a placeholder address.

        @param address: an address, as text.
        @return: C{None} if it is no placeholder address, or if it is not in use.
        """
