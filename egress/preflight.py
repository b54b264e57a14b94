"""The check of a configuration: what a start would find, without its effects, and whether the services can be reached.

No port is bound, no CA and no log is created, no command of a secret is run, and no authorization request is sent.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Any, Final, NoReturn

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from egress.authz.chain import shadow_service
from egress.authz.distribution.client import PolicyClient
from egress.authz.distribution.poller import describe_fault
from egress.authz.remote.client import remote_authorizer
from egress.checks.contact import upstream_contact
from egress.checks.finding import Status
from egress.checks.network import compare_with_others
from egress.config.model import STDOUT, ConfigError, ProxyConfig
from egress.config.token_files import read_token
from egress.inputs import ca_option
from egress.model.authority import UpstreamProxy
from egress.model.errors import AuthorizerUnavailable, ClientAuthUnavailable
from egress.notify.setup import webhook_of
from egress.notify.webhook import WebhookRoute
from egress.resources import POLICY, LoadedResources, PoliciesInUse, distributed_policies, load_resources
from egress.runtime.role import DRY_RUN
from egress.runtime.threads import Threads
from egress.service import EgressProxyService
from egress.shared.ca_views import CaView
from egress.shared.client import SharedClient
from egress.start_warnings import start_warnings
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.location import missing_tables, spool_directory, sqlite_file
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CaError, time_left
from egress.tls.reloadable_trust import ReloadableTrust
from egress.upstream.resolver import resolver_for

_SECONDS: Final = 3.0


class Level(enum.Enum):
    """The importance of a finding.

    @cvar OK: there is nothing to change.
    @cvar WARNING: the proxy starts, but cannot do all that the configuration intends.
    @cvar ERROR: the proxy cannot start, or cannot forward requests.
    """

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@attrs.frozen
class Finding:
    """A result of the check.

    @ivar level: its importance.
    @ivar option: the option to change.
    @ivar text: the result, and the fix.
    """

    level: Level
    option: str
    text: str

    def spelled(self, spell: Callable[[str], str]) -> Finding:
        """Return the finding with the name of its option as the user gave it."""
        return attrs.evolve(self, option=spell(self.option))

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.level.value:<8} {self.option}: {self.text}"

    def as_json(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {"level": self.level.value, "option": self.option, "text": self.text}

    @classmethod
    def of(cls, error: ConfigError) -> Finding:
        """Make the finding for an error that prevents a start."""
        value = f"{error.value!r}: " if error.value else ""
        return cls(Level.ERROR, error.option, f"{value}{' '.join(error.remedy.split())}")


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the status to exit with: 1 for an error."""
    return int(any(finding.level is Level.ERROR for finding in findings))


@inlineCallbacks
def check_configuration(reactor: Any, config: ProxyConfig) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Check a configuration.

    @param reactor: the reactor, which runs.
    @param config: the configuration, whose values are valid.
    @return: fires with the findings.
    """
    findings = [*_ca(config), *_logs(config)]
    try:
        resources = load_resources(config, embedded=config.authz_url is None)
        # The check does not wait as long as a request would.
        quick = attrs.evolve(config, authz_timeout=min(config.authz_timeout, _SECONDS))
        proxy = EgressProxyService(reactor, quick, role=DRY_RUN)
    except ConfigError as error:
        return [*findings, Finding.of(error)]
    findings += [Finding(Level.WARNING, each.option, each.text) for each in start_warnings(config, resources, reactor)]
    listeners = ", ".join(listener.endpoint for listener in config.listen)
    findings.append(Finding(Level.OK, "--listen", f"{listeners}; no port was bound"))
    try:
        findings.append((yield _authorizer(reactor, config, proxy)))
        findings += yield _issuers(proxy)
    finally:
        yield proxy.stopService()
    findings += yield _policies(reactor, config, resources)
    findings += yield _shadow(reactor, config, resources)
    findings += yield _shared(reactor, config, resources)
    findings += yield _webhooks(reactor, config, ReloadableTrust(resources.notify_trust))
    for upstream in dict.fromkeys((config.upstream_http, config.upstream_https)):
        if upstream is not None:
            check = _chain if upstream.via is not None or upstream.is_socks else _upstream
            findings.append((yield check(reactor, upstream)))
    return findings


def _ca(config: ProxyConfig) -> Iterator[Finding]:
    source, now = ca_source(config), datetime.now(timezone.utc)
    option = "--ca-dir" if config.ca_cert is None else "--ca-cert"
    if config.ca_cert is None and not any(path.exists() for path in source.paths):
        place = _existing(config.ca_dir)
        if os.access(place, os.W_OK | os.X_OK):
            yield Finding(Level.OK, option, f"there is no CA in {config.ca_dir}; the first start generates it")
        else:
            yield Finding(Level.ERROR, option, f"{place} is not writable: make it writable, or set another directory")
        return
    try:
        authority = source.load(now)
    except CaError as error:
        yield Finding(Level.ERROR, ca_option(config, error), error.reason)
        return
    left = time_left(authority.not_after, now)
    if authority.ends_soon(now):
        yield Finding(Level.WARNING, option, f"{source.certificate_path} ends {left}: replace it")
    else:
        yield Finding(Level.OK, option, f"{source.certificate_path} ends {left}")


def _logs(config: ProxyConfig) -> Iterator[Finding]:
    file = None if config.audit_store is None else sqlite_file(config.audit_store)
    if config.audit_store is not None and file is None:
        yield _server(config)
        place = _existing(spool_directory(config))
        if not os.access(place, os.W_OK | os.X_OK):
            yield Finding(Level.ERROR, "--ca-dir", f"the spool of --audit-store needs it: make {place} writable")
    store = None if file is None else str(file)
    logs = (("--audit-log", config.audit_log), ("--audit-store", store), ("--shadow-log", config.shadow_log))
    for option, name in logs:
        if name is None or name == STDOUT:
            continue
        path = Path(name)
        place = path if path.exists() else path.parent
        if option == "--audit-store" and not config.audit_store_required:
            # The start creates its directory, as that of the CA.
            place = _existing(place)
        if os.access(place, os.W_OK):
            yield Finding(Level.OK, option, f"{path} is writable")
        elif option == "--audit-store" and not config.audit_store_required:
            yield Finding(Level.WARNING, option, f"{path} cannot be written: make {place} writable, or set none")
        else:
            yield Finding(Level.ERROR, option, f"{path} cannot be written: make {place} writable, or set another file")


def _server(config: ProxyConfig) -> Finding:
    """Connect to the server of the audit store; no table is created."""
    started = time.monotonic()
    assert config.audit_store is not None
    try:
        missing = missing_tables(config)
    except StoreUnreachable as error:
        return Finding(Level.WARNING, "--audit-store", f"{error}; until it can be reached, records wait in the spool")
    except StoreError as error:
        return Finding(Level.ERROR, "--audit-store", str(error))
    elapsed = (time.monotonic() - started) * 1000
    tables = "; the first start creates or updates its tables" if missing else ""
    return Finding(Level.OK, "--audit-store", f"{config.audit_store} accepts connections ({elapsed:.0f} ms){tables}")


def _existing(path: Path) -> Path:
    """Return the path or the nearest of its parents that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


@inlineCallbacks
def _authorizer(reactor: Any, config: ProxyConfig, proxy: EgressProxyService) -> Generator[Deferred[Any], Any, Finding]:
    option = "--policy" if config.authz_url is None else "--authz-url"
    started = reactor.seconds()
    try:
        yield proxy.authorizer.check_ready()
    except AuthorizerUnavailable as error:
        return Finding(Level.ERROR, option, f"{error.reason}; until then, requests get 503")
    if config.authz_url is None:
        return Finding(Level.OK, option, f"{proxy.authorizer_name} decides")
    elapsed = (reactor.seconds() - started) * 1000
    return Finding(Level.OK, option, f"{proxy.authorizer_name} accepts connections ({elapsed:.0f} ms)")


@inlineCallbacks
def _issuers(proxy: EgressProxyService) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Download the keys of the issuers of tokens, if there are any."""
    check = proxy.checks.get("client-auth")
    if check is None:
        return []
    try:
        yield check()
    except ClientAuthUnavailable as error:
        return [Finding(Level.ERROR, "--client-auth", f"{error.reason}; until then, clients get 503")]
    return [Finding(Level.OK, "--client-auth", "the keys of the issuer of tokens can be downloaded")]


@inlineCallbacks
def _shadow(
    reactor: Any, config: ProxyConfig, resources: LoadedResources
) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Connect to the shadow authorization service, unless it is contacted through the upstream proxy."""
    service = shadow_service(config)
    if service is None or service.upstream is not None:
        return []
    quick = attrs.evolve(service, timeout=min(service.timeout, _SECONDS))
    authorizer = remote_authorizer(reactor, quick, ReloadableTrust(resources.authz_trust), _no_upstream)
    started = reactor.seconds()
    try:
        yield authorizer.check_ready()
    except AuthorizerUnavailable as error:
        text = f"the shadow is not ready: {error.reason}; until it is, nothing is compared"
        return [Finding(Level.WARNING, "--shadow-authz-url", text)]
    finally:
        yield authorizer.close()
    elapsed = (reactor.seconds() - started) * 1000
    return [Finding(Level.OK, "--shadow-authz-url", f"{service.name} accepts connections ({elapsed:.0f} ms)")]


@inlineCallbacks
def _shared(
    reactor: Any, config: ProxyConfig, resources: LoadedResources
) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Connect to the engine with shared state."""
    location = config.shared.location
    if location is None:
        return []
    client = SharedClient(
        reactor,
        location,
        password=config.shared.password,
        sentinel_password=config.shared.sentinel_password,
        timeout=config.shared.timeout,
        trust=ReloadableTrust(resources.authz_trust),
    )
    started = reactor.seconds()
    try:
        yield client.start()
        note = yield client.check()
        if note is not None:
            return [Finding(Level.WARNING, "--shared", note)]
        elapsed = (reactor.seconds() - started) * 1000
        found = [Finding(Level.OK, "--shared", f"{location} accepts commands ({elapsed:.0f} ms)")]
        # Another finding names the fault of a CA that cannot be read.
        with suppress(CaError):
            own = CaView.of_files(ca_source(config).certificates(), datetime.now(timezone.utc), gethostname())
            others = yield compare_with_others(client, config, own)
            if others.status is Status.WARNING:
                found.append(Finding(Level.WARNING, "--ca-dir" if config.ca_cert is None else "--ca-cert", others.text))
    finally:
        client.stop()
    return found


@inlineCallbacks
def _webhooks(
    reactor: Any, config: ProxyConfig, trust: ReloadableTrust
) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Connect to the receivers of notifications, unless they are contacted through the upstream proxy."""
    findings: list[Finding] = []
    resolver = resolver_for(reactor, config, Threads(reactor, "lookups", 1))
    route = WebhookRoute(trust=trust, resolver=resolver, behind_upstream=_no_upstream)
    for target in () if config.notify.via_upstream else config.notify.targets:
        option = "--notify-url" if target in config.notify.url else "--notify-url-file"
        webhook = webhook_of(reactor, config, target, route)
        started = reactor.seconds()
        try:
            yield webhook.check().addTimeout(_SECONDS, reactor)
        except Exception:  # noqa: BLE001 - each kind of failure is one finding
            reason = webhook.explain(Failure())  # type: ignore[no-untyped-call]
            text = f"{target} cannot be used: {reason}; until it can, no notification is delivered"
            findings.append(Finding(Level.WARNING, option, text))
        else:
            elapsed = (reactor.seconds() - started) * 1000
            text = f"{target} accepts connections ({elapsed:.0f} ms); to send a message: egress notify test"
            findings.append(Finding(Level.OK, option, text))
        finally:
            webhook.close()
    return findings


@inlineCallbacks
def _policies(
    reactor: Any, config: ProxyConfig, resources: LoadedResources
) -> Generator[Deferred[Any], Any, list[Finding]]:
    """Download the policies that have a URL, without storing them."""
    findings: list[Finding] = []
    trust = ReloadableTrust(resources.policy_trust)
    resolver = resolver_for(reactor, config, Threads(reactor, "lookups", 1))
    for policy in distributed_policies(config, PoliciesInUse(lambda: resources.rules, lambda: resources.shadow)):
        option = f"--{policy.label}" if policy.label == POLICY else "--shadow-policy"
        client = PolicyClient(reactor, policy.url, trust, resolver)
        try:
            token = None if config.policy_token_file is None else read_token(config.policy_token_file)
            download = yield client.fetch(None, token).addTimeout(_SECONDS, reactor)
            rules = policy.parse(download.content)
        except Exception:  # noqa: BLE001 - each kind of failure is one finding
            reason = describe_fault(Failure(), client, config.policy_token_file)  # type: ignore[no-untyped-call]
            stored = policy.rules()
            if stored is not None and stored.is_loaded:
                text = f"{policy.url} cannot be used: {reason}; until it can, the stored version decides"
                findings.append(Finding(Level.WARNING, option, text))
            else:
                text = f"{policy.url} cannot be used: {reason}; there is no stored version"
                findings.append(Finding(Level.ERROR, option, text))
        else:
            version = "" if rules.version is None else f"version {rules.version}, "
            findings.append(Finding(Level.OK, option, f"{policy.url}: {version}{len(rules.rules)} rules"))
        finally:
            client.close()
    return findings


def _no_upstream(upstream: object, authority: object) -> NoReturn:
    raise AssertionError("a service behind an upstream proxy is not contacted")


@inlineCallbacks
def _upstream(reactor: Any, upstream: UpstreamProxy) -> Generator[Deferred[Any], Any, Finding]:
    authority = upstream.authority
    endpoint = HostnameEndpoint(reactor, authority.host, authority.port, timeout=_SECONDS)
    started = reactor.seconds()
    try:
        connection = yield endpoint.connect(Factory.forProtocol(Protocol)).addTimeout(_SECONDS, reactor)
    except Exception as error:  # noqa: BLE001 - each kind of failure is one finding
        reason = str(error) or type(error).__name__
        return Finding(Level.ERROR, "--upstream-proxy", f"{upstream} cannot be reached: {reason.rstrip('.')}")
    connection.transport.abortConnection()
    elapsed = (reactor.seconds() - started) * 1000
    return Finding(Level.OK, "--upstream-proxy", f"{upstream} accepts connections ({elapsed:.0f} ms)")


@inlineCallbacks
def _chain(reactor: Any, upstream: UpstreamProxy) -> Generator[Deferred[Any], Any, Finding]:
    """Check a chain of upstream proxies, or one that speaks SOCKS5: it must accept the credentials."""
    started = reactor.seconds()
    contact = yield Threads(reactor, "contacts", 1)(partial(upstream_contact, upstream, _SECONDS))
    if contact.error is not None:
        return Finding(Level.ERROR, "--upstream-proxy", f"{upstream} cannot be used: {contact.error}")
    elapsed = (reactor.seconds() - started) * 1000
    return Finding(Level.OK, "--upstream-proxy", f"{upstream} responds ({elapsed:.0f} ms)")
