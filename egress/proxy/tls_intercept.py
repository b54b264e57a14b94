"""The TLS-intercepting factory: it impersonates an authority towards the client of a tunnel, with per-host contexts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast
from typing import Protocol as Structure

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.interfaces import ILeafSource
from egress.model.authority import Authority
from egress.model.client_tls import LeafKey
from egress.tls.client_hello import UNREADABLE, ClientHello, MalformedHello, read_client_hello
from egress.transport.fair_turns import RoundRobin
from egress.transport.tls import ServerTls
from egress.transport.tls_layer import TlsLayer


class Session(Structure):
    """The interface of the protocol inside the TLS layer."""

    def makeConnection(self, transport: Any) -> None:
        """See C{twisted.internet.interfaces.IProtocol}."""

    def handshakeCompleted(self) -> None:
        """See C{IHandshakeListener}."""


class HandshakeOwner(Structure):
    """The interface of the object that is notified of the end of a handshake."""

    def handshake_over(self) -> None:
        """The handshake is complete."""

    def handshake_failed(self, reason: Failure) -> None:
        """The handshake failed."""

    def new_session(self, scheme: str, protocol: bytes | None) -> Session:
        """Create the session for an application protocol that was negotiated; C{None} without one."""


@implementer(IHandshakeListener)
class Handshake(Protocol):
    """The protocol between the TLS layer and the session during the handshake."""

    def __init__(self, owner: HandshakeOwner) -> None:
        self._owner = owner
        self._completed = False

    def handshakeCompleted(self) -> None:
        """Replace this protocol with the session."""
        self._completed = True
        self._owner.handshake_over()
        session = self._owner.new_session("https", self.transport.negotiatedProtocol)  # type: ignore[union-attr]
        session.makeConnection(self.transport)
        session.handshakeCompleted()
        # From here on the TLS layer calls the session directly.
        self.transport.wrappedProtocol = session  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle a connection that was lost during the handshake."""
        if not self._completed:
            self._owner.handshake_failed(reason)


class TlsIntercept:
    """Builds the TLS layers of all intercepted tunnels.

    @param host_contexts: provides the TLS context of each authority.
    @param turns: the queue of work for later turns of the reactor.
    """

    def __init__(self, host_contexts: ILeafSource, turns: RoundRobin) -> None:
        self._host_contexts = host_contexts
        self._turns = turns

    def refusal(self, authority: Authority) -> str | None:
        """Tell why no certificate can be issued for an authority; see L{ILeafSource.refusal}."""
        return self._host_contexts.refusal(authority)

    def prepared(self, key: LeafKey) -> Deferred[Any] | None:
        """Prepare the key of a leaf certificate.

        @return: fires when the key exists; C{None} if it exists already.
        """
        return None if key is LeafKey.P256 else self._host_contexts.prepared(key)

    def prepare(self, authority: Authority) -> None:
        """Create the certificate and the context that most clients of an authority need, before they are needed."""
        # The handshake repeats an error, and reports it.
        with suppress(Exception):
            self._host_contexts.context_for(authority)

    def layer(self, authority: Authority, key: LeafKey, handshake: Handshake) -> Protocol:
        """Build the TLS layer of one tunnel.

        @param authority: the authority to impersonate.
        @param key: the kind of key that the client accepts.
        @param handshake: the protocol during the handshake.
        @raise Exception: if no certificate can be issued; most likely, the CA has expired.
        """
        context = self._host_contexts.context_for(authority, key)
        return cast("Protocol", TlsLayer(ServerTls(context), False, handshake, self._turns))


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Parse the first TLS message of a client. OpenSSL handles a malformed message and responds with an alert.

    @return: C{None} if more data is needed.
    """
    try:
        return read_client_hello(data)
    except MalformedHello:
        return UNREADABLE
