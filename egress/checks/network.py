"""The checks of the network: the authorizer, DNS, upstream proxies, the clock, and direct egress."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.defer import TimeoutError as TookTooLong

from egress.checks.contact import Contact, server_contact, upstream_contact
from egress.checks.finding import Finding, Fix, skipped
from egress.checks.judgements import judge_authorizer, judge_dns, judge_other_cas, judge_upstream
from egress.config.model import ConfigError, ProxyConfig
from egress.config.reduced import without_shadow
from egress.interfaces import IAuthorizer
from egress.model.authority import PROXY_HOST, Authority, Origin, UpstreamProxy
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage
from egress.model.errors import EgressError, NameNotResolved
from egress.model.redact import redact_userinfo
from egress.runtime.threads import Offload
from egress.shared.ca_fingerprints import NAMESPACE, SharedViews
from egress.shared.ca_views import CaView
from egress.shared.client import SharedClient
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import UNUSABLE
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError
from egress.tls.reloadable_trust import ReloadableTrust
from egress.upstream.dns_client import DnsLookups
from egress.upstream.hosts_file import HostsFile

SECONDS: Final = 5.0
"""The timeout of one contact."""


class DryRun(Protocol):
    """A proxy that serves no client."""

    @property
    def authorizer(self) -> IAuthorizer:
        """The authorizer."""

    @property
    def authorizer_name(self) -> str:
        """The name of the authorizer."""

    def stopService(self) -> Deferred[None]:
        """Close its connections."""


_ORIGIN: Final = Origin("https", Authority(PROXY_HOST, 443))
_MARGIN: Final = 1.0


def _request(path: str) -> DecisionRequest:
    """Return an authorization request for the proxy's own address, which is never forwarded."""
    return DecisionRequest(
        request_id="egress-doctor",
        stage=Stage.REQUEST,
        method="GET",
        origin=_ORIGIN,
        path=path,
        headers=((b"Host", PROXY_HOST.encode("ascii")),),
        client=ClientIdentity("127.0.0.1", 0, "egress-doctor"),
        addresses_withheld=True,
    )


@inlineCallbacks
def check_authorizer(
    reactor: Any, config: ProxyConfig, dry_run: Callable[[ProxyConfig], DryRun]
) -> Generator[Deferred[Any], Any, Finding]:
    """Send two authorization requests with the components of a proxy.  The second one uses an open connection.

    A deny is a decision, too.

    @param reactor: the reactor.
    @param config: the configuration.
    @param dry_run: makes a proxy that serves no client.
    """
    # No approver sees the request, and no shadow authorizer gets it.
    config = attrs.evolve(without_shadow(config), admin=None, admin_token=None)
    if config.authz_url is None and config.policy is None:
        return skipped("authorizer", "no --authz-url and no --policy: the starter policy decides")
    try:
        proxy = dry_run(config)
    except ConfigError as error:
        return judge_authorizer("the authorizer", str(error), 0.0, config.authz_timeout, Fix("egress check"))
    result: Decision | str
    began = reactor.seconds()
    try:
        for path in ("/", "/egress-doctor"):
            began = reactor.seconds()
            result = yield proxy.authorizer.decide(_request(path)).addTimeout(config.authz_timeout + _MARGIN, reactor)
    except EgressError as error:
        result = error.reason
    except TookTooLong:
        result = f"no decision within {config.authz_timeout:g} s"
    seconds = reactor.seconds() - began
    yield proxy.stopService()
    url = "" if config.authz_url is None else redact_userinfo(config.authz_url)
    fix = Fix(f"start the authorization service at {url}, or correct --authz-url")
    return judge_authorizer(proxy.authorizer_name, result, seconds, config.authz_timeout, fix)


@inlineCallbacks
def check_other_cas(reactor: Any, config: ProxyConfig, own: CaView | None) -> Generator[Deferred[Any], Any, Finding]:
    """Compare the CA with the CAs of the replicas that share state.

    @param reactor: the reactor.
    @param config: the configuration, which has shared state.
    @param own: the CA on this machine; C{None}: its root is not known.
    """
    settings = config.shared
    assert settings.location is not None
    try:
        trust = OriginTrust(config.extra_ca_certs, config.authz_client_cert)
    except TrustError as error:
        return judge_other_cas(own, error.reason)
    client = SharedClient(
        reactor,
        settings.location,
        password=settings.password,
        sentinel_password=settings.sentinel_password,
        timeout=settings.timeout,
        trust=ReloadableTrust(trust),
    )
    try:
        yield client.start()
        finding: Finding = yield compare_with_others(client, config, own)
    finally:
        client.stop()
    return finding


@inlineCallbacks
def compare_with_others(
    client: SharedClient, config: ProxyConfig, own: CaView | None
) -> Generator[Deferred[Any], Any, Finding]:
    """Do the same with a client that has tried to connect."""
    assert config.shared.key is not None
    others: list[CaView] | str
    try:
        others = yield SharedViews(client, SharedKeys(config.shared.key, NAMESPACE), time.time).read()
    except UNUSABLE as error:
        others = f"{config.shared.location} cannot be used: {error}"
    return judge_other_cas(own, others)


@inlineCallbacks
def check_dns(reactor: Any, config: ProxyConfig, in_thread: Offload) -> Generator[Deferred[Any], Any, Finding]:
    """Look up a name that cannot exist, as the proxy does."""
    if config.upstream_https is not None and config.upstream_https.resolves_names and not config.dns_servers:
        return skipped("dns", "the upstream proxy resolves names")
    result: list[str] | str | None
    if config.dns_servers:
        look_up = DnsLookups(reactor, config.dns_servers, SECONDS, HostsFile.load())
        try:
            result = [str(address) for address in (yield look_up(PROXY_HOST).addTimeout(SECONDS + _MARGIN, reactor))]
        except NameNotResolved:
            result = None
        except EgressError as error:
            result = error.reason
        except TookTooLong:
            result = "no response in time"
    else:
        try:
            result = yield in_thread(_by_system).addTimeout(2 * SECONDS, reactor)
        except TookTooLong:
            result = "no response in time"
    return judge_dns(result or None, PROXY_HOST)


def _by_system() -> list[str] | str | None:
    try:
        found = socket.getaddrinfo(PROXY_HOST, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        # All other errors are responses: the name does not exist.
        return str(error.strerror).lower() if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def upstreams_of(config: ProxyConfig) -> list[UpstreamProxy]:
    """Return the upstream proxies, each once."""
    return [each for each in dict.fromkeys([config.upstream_https, config.upstream_http]) if each is not None]


@inlineCallbacks
def check_upstream(config: ProxyConfig, in_thread: Offload) -> Generator[Deferred[Any], Any, tuple[Finding, Any]]:
    """Contact the upstream proxies.

    @return: the finding, and by how many seconds each clock is ahead.
    """
    contacts: dict[UpstreamProxy, Contact] = {}
    for upstream in upstreams_of(config):
        contacts[upstream] = yield in_thread(partial(upstream_contact, upstream, SECONDS))
    ahead = {f"the upstream proxy {each}": contact.ahead for each, contact in contacts.items()}
    return judge_upstream(contacts), ahead


@inlineCallbacks
def clock_of_authorizer(
    config: ProxyConfig, in_thread: Offload
) -> Generator[Deferred[Any], Any, dict[str, float | None]]:
    """Compare the clock with the clock of the authorization service."""
    url = config.authz_url
    if url is None or config.authz_via_upstream:
        return {}
    contact = yield in_thread(lambda: server_contact(url, SECONDS))
    return {"the authorization service": contact.ahead}
