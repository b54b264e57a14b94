"""The HTTP client for one target: sends a message once, by treq over the agent of the project."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from egress import __version__
from egress.authz.remote.client import CreateEndpoint
from egress.authz.remote.messages import BytesProducer
from egress.authz.remote.treq_client import TreqClient
from egress.model.authority import UpstreamProxy
from egress.model.webhook import WebhookTarget, signature
from egress.notify.backoff import parse_retry_after
from egress.notify.delivery import ATTEMPT_SECONDS, Parcel, Response
from egress.transport.reactor import IEgressReactor
from egress.upstream.resolved_endpoint import ResolvedEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.python.failure import Failure

    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.upstream.resolver import Resolver


@attrs.frozen(kw_only=True)
class WebhookRoute:
    """How targets are connected to.

    @ivar trust: the trust store for C{https} targets.
    @ivar resolver: resolves the names of targets.
    @ivar behind_upstream: creates an endpoint through an upstream proxy.
    @ivar upstream: the upstream proxy; C{None}: directly.
    """

    trust: ReloadableTrust
    resolver: Resolver
    behind_upstream: CreateEndpoint
    upstream: UpstreamProxy | None = None


class Webhook:
    """Sends messages to one target.

    The operator chooses the target: the address guard does not apply to it.  Redirects are not followed.

    @param reactor: provides TCP and time.
    @param target: the target.
    @param route: how it is connected to.
    @param secrets: sign the messages; empty: they are not signed.
    @param wall_clock: returns seconds since the epoch.
    @ivar secrets: the secrets, which can be replaced.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        target: WebhookTarget,
        route: WebhookRoute,
        *,
        secrets: tuple[bytes, ...],
        wall_clock: Callable[[], float],
    ) -> None:
        authority = target.origin.authority
        endpoint: IStreamClientEndpoint
        if route.upstream is None:
            endpoint = ResolvedEndpoint(reactor, route.resolver, authority, ATTEMPT_SECONDS)
        else:
            endpoint = route.behind_upstream(route.upstream, authority)
        self._client = TreqClient(reactor, endpoint, target.origin, route.trust, timeout=ATTEMPT_SECONDS)
        self._target = target
        self.secrets = secrets
        self._wall_clock = wall_clock

    def send(self, parcel: Parcel) -> Deferred[Response]:
        """Send a message once (L{egress.notify.delivery.Send})."""
        now = self._wall_clock()
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "User-Agent": f"egressproxy/{__version__}",
            # The Standard Webhooks specification, version 1.
            "webhook-id": parcel.message_id,
            "webhook-timestamp": str(int(now)),
        }
        if self.secrets:
            headers["webhook-signature"] = signature(self.secrets, parcel.message_id, int(now), parcel.body)
        sent: Deferred[Any] = self._client.http.post(
            self._target.url,
            headers=headers,
            data=BytesProducer(parcel.body),
            allow_redirects=False,
            unbuffered=True,
        )
        return sent.addCallback(self._received)

    def check(self) -> Deferred[None]:
        """Connect to the target, without a message; with TLS, this verifies its certificate."""
        return self._client.probe()

    def _received(self, response: Any) -> Response:
        values = response.headers.getRawHeaders("retry-after", [None])
        return Response(response.code, parse_retry_after(values[0], self._wall_clock()))

    def explain(self, failure: Failure) -> str:
        """Describe why there was no response.  The URL is a secret, so it is not part of the description."""
        return self._client.describe(failure)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
