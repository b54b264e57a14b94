"""The seams of the proxy: what an application that embeds it can put something of its own behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

from egress.model.client_tls import LeafKey

if TYPE_CHECKING:
    from OpenSSL import SSL
    from twisted.internet.defer import Deferred

    from egress.model.authority import Authority, IPAddress, Origin
    from egress.model.comparison import ShadowComparison
    from egress.model.decision import Decision, DecisionRequest
    from egress.model.record import ExchangeRecord
    from egress.model.route import Purpose, Route
    from egress.transport.dialed import DialedProtocol


class IAuthorizer(Interface):
    """Decides on requests.

    The proxy forwards a request only when L{decide} fired with an allowing L{Decision}; whatever else happens is a
    denial or an outage.
    """

    name: str = Attribute("Who this is, for logs and for the lines printed at start.")
    needs_body: bool = Attribute(
        "Whether L{decide} always looks at the content.  When true, the content is collected up to the body limit "
        "before the question.  When false, C{DecisionRequest.body} is C{None} and contents of any length stream "
        "through, unless the answer to a question with C{body_withheld} is C{Verdict.NEED_BODY}: then the content is "
        "collected, and the question put again with it."
    )

    def decide(request: DecisionRequest) -> Deferred[Decision]:
        """Decide on one request.

        A name is not resolved before, so that one that is denied causes no DNS query.  Where
        C{DecisionRequest.addresses_withheld} is true, the answer may be C{Verdict.NEED_ADDRESSES}: then the name is
        resolved, and the question put again with its addresses.

        The Deferred may be cancelled when the client goes away.

        @return: fires with the decision, or fails with L{egress.model.errors.AuthorizerUnavailable}.
        """

    def check_ready() -> Deferred[None]:
        """Find out whether decisions can be had now.

        @return: fires with C{None}, or fails with L{egress.model.errors.AuthorizerUnavailable}.
        """

    def close() -> Deferred[None]:
        """Let go of every resource; no question comes after this."""


class IClientAuthenticator(Interface):
    """Knows the clients that may send requests, where not everybody may."""

    def cached_identity(presented: bytes) -> str | None:
        """Look whether a value of C{Proxy-Authorization} was found to be good a short while ago.

        @return: the name of the client.
        """

    def check(presented: bytes | None, address: str) -> Deferred[str]:
        """Find out whose credentials these are.

        @param address: where they come from: nobody can have so many checked that others must wait.
        @return: fires with the name of the client; fails with L{egress.model.errors.ClientUnauthenticated} or
            L{egress.model.errors.ClientCheckBusy}.  It may be cancelled.
        """


class IAuditSink(Interface):
    """Is told of every exchange, once, when it is over."""

    def write(record: ExchangeRecord) -> None:
        """Take one record.  It must not block for long, and must not raise."""

    def close() -> None:
        """Flush and let go of what is open."""


class IShadowSink(Interface):
    """Is told what a second decider says of what the first has decided."""

    def write(comparison: ShadowComparison) -> None:
        """Take one comparison.  It must not block for long, and must not raise."""

    def close() -> None:
        """Flush and let go of what is open."""


class IAddressGuard(Interface):
    """Says which addresses nobody may be sent to, whatever the authorizer says."""

    def refusal(address: IPAddress, port: int) -> str | None:
        """Classify one address.

        @return: C{None} when it may be contacted, otherwise one sentence that says why not.
        """

    def port_refusal(port: int) -> str | None:
        """Classify a port, before anything is resolved.

        @return: C{None} when it may be contacted, otherwise one sentence that says why not.
        """

    def name_refusal(authority: Authority) -> str | None:
        """Classify a name by itself, before it is resolved, or where an upstream proxy resolves it.

        @return: C{None} when it may be contacted, as far as its name says, otherwise one sentence that says why not.
        """


class IDialer(Interface):
    """Opens connections to origins, directly or through an upstream proxy, checked by the address guard."""

    def judge(origin: Origin, purpose: Purpose) -> Route | None:
        """Say what can be said of an origin without resolving its name.

        @return: a route where no look-up is needed: to an address, or through an upstream proxy, which resolves names
            itself; C{None} for a name that L{check} has to resolve.
        @raise egress.model.errors.AddressForbidden: for a port, an address or a name that the guard refuses.
        """

    def check(origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        """Resolve the origin and classify every address of it, without connecting.

        @param client: for whom, as per-client limits count clients (L{egress.model.limit_key}); empty for the proxy
            itself.  The lookups of one client do not delay those of others.
        @return: fires with a route for L{dial}; fails with L{egress.model.errors.AddressForbidden} or an
            L{egress.model.errors.OriginError}.
        """

    def dial(route: Route, protocol: DialedProtocol) -> Deferred[None]:
        """Connect C{protocol} along a route.

        @return: fires when the connection is up, a TLS handshake included; fails with an
            L{egress.model.errors.OriginError}.  Cancelling it drops the connection.
        """


class ILeafSource(Interface):
    """Gives the TLS identity under which the proxy answers for an authority."""

    def refusal(authority: Authority) -> str | None:
        """Say whether the proxy may have a certificate for an authority.

        @return: C{None} when it may, otherwise one sentence that says why not.
        """

    def prepared(key: LeafKey) -> Deferred[Any]:
        """Wait until there is a key of this kind.

        @return: fires when L{context_for} can be called with it.
        """

    def context_for(authority: Authority, key: LeafKey = LeafKey.P256) -> SSL.Context:
        """Give the server context for one authority, minting its leaf certificate when there is none yet.

        @param key: what kind of key the client accepts; with another than P-256, L{prepared} has fired.
        """
