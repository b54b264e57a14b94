"""The judgements about the proxy and the machine, from facts that other modules collect."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import attrs

from egress.checks.contact import Contact
from egress.checks.finding import Finding, Fix, error, fault, ok, skipped, warning
from egress.checks.setup import with_credentials
from egress.model.authority import UpstreamProxy
from egress.model.decision import Decision
from egress.shared.ca_views import CaView, describe, mismatches
from egress.tls.issuer import time_left

OTHER_CA: Final = Fix("egress doctor --ca-dir DIRECTORY, with the CA of this proxy")
"""The CA on this machine is not the CA of the proxy."""

SET_CLOCK: Final = Fix("timedatectl set-ntp true")
"""The clock is wrong."""

# A TLS client rejects a certificate that is not valid yet; certificates are backdated by less than most clocks differ.
_MAX_SKEW: Final = 60.0
_FEW_CONNECTIONS: Final = 1024
_FILES: Final = 65536
_SLOW: Final = 0.5
# For tests of network devices (RFC 2544, RFC 5180): no host of the internet has one of them.
_PLACEHOLDERS: Final = {4: ip_network("198.18.0.0/15"), 6: ip_network("2001:2::/48")}
_OLD_OPENSSL: Final = (3, 0)


def judge_proxy(contact: Contact, proxy: str, *, own: bool) -> Finding:
    """Judge the response to a request for the proxy's own address."""
    name = "proxy"
    if contact.error is not None:
        fix = Fix("egressproxy") if not own else Fix("egress run -- COMMAND")
        return fault(name, f"{proxy} does not respond: {contact.error}", fix)
    if contact.egressproxy and contact.status == 407:
        return fault(name, "requires credentials", Fix(f"egress doctor --proxy {with_credentials(proxy)}"))
    if not contact.egressproxy:
        why = f"{proxy} is not egressproxy: it responds with status {contact.status}"
        return fault(name, why, Fix("egress doctor --own"))
    if contact.status != 200:
        return fault(name, f"responds with status {contact.status}", Fix(f"curl -v -x {proxy} http://example.com/"))
    if contact.tunnel_error is not None:
        # Most likely, its CA has expired.
        return fault(
            name, f"cannot intercept TLS: {contact.tunnel_error}; its log has the reason", Fix("egress ca show")
        )
    if contact.tunnel_status not in (None, 200):
        why = f"rejects https to its own address with status {contact.tunnel_status}, so http was requested"
        return skipped(name, f"{why}; name constraints can exclude the address")
    return ok(name, f"{proxy} responds")


@attrs.frozen(kw_only=True)
class CaFacts:
    """The facts about the CA.

    @ivar problem: why it cannot be read: the file, the fault, and the fix.
    @ivar missing: whether there is no CA.
    @ivar begin: the beginning of its validity.
    @ivar end: the end of its validity.
    @ivar ends_soon: whether it is in the last part of its validity.
    @ivar exposed: a file with its key that other users can read.
    @ivar signed: whether it signed the certificate of the proxy; C{None} if that is unknown.
    """

    problem: str | None = None
    missing: bool = False
    begin: datetime | None = None
    end: datetime | None = None
    ends_soon: bool = False
    exposed: Path | None = None
    signed: bool | None = None


def judge_ca(facts: CaFacts, now: datetime) -> Finding:
    """Judge the CA of the proxy."""
    name = "ca"
    if facts.missing:
        return skipped(name, "there is no CA on this machine (--ca-dir)")
    if facts.problem is not None:
        what, _, remedy = facts.problem.rpartition("; ")
        return fault(name, what or remedy, Fix(remedy))
    if facts.exposed is not None:
        why = f"other users can read its key, {facts.exposed}"
        return fault(name, why, Fix(f"chmod 600 {facts.exposed}", ("chmod", "600", str(facts.exposed))))
    assert facts.begin is not None and facts.end is not None  # it was read
    if now < facts.begin:
        return fault(name, f"is not valid before {facts.begin:%Y-%m-%d %H:%M} UTC", SET_CLOCK)
    left = time_left(facts.end, now)
    if now >= facts.end:
        return fault(name, f"its certificate ended on {left}", Fix("egress ca rotate"))
    if facts.signed is False:
        why = "did not sign the certificate of this proxy, so it is the CA of another proxy"
        return warning(name, why, OTHER_CA)
    if facts.ends_soon:
        return warning(name, f"its certificate ends on {left}", Fix("egress ca rotate"))
    return ok(name, f"is valid until {left}")


def judge_other_cas(own: CaView | None, others: Sequence[CaView] | str) -> Finding:
    """Judge the CAs of the replicas that share state.

    @param own: the CA on this machine; C{None}: its root is not known.
    @param others: the CAs in use, or the reason why they are not known.
    """
    name = "ca"
    if isinstance(others, str):
        return skipped(name, f"the CAs of other replicas are not known: {others}")
    if own is None:
        return skipped(name, "the root is not known, so it is not compared with other replicas (--ca-root)")
    found = mismatches(own, others)
    if found:
        return warning(name, describe(found), Fix("egress ca show, on each replica; give all of them one root"))
    return ok(name, "agrees with the other replicas" if others else "no other replica is running")


def judge_clock(ahead: Mapping[str, float], leaf: tuple[datetime, datetime] | None, now: datetime) -> Finding:
    """Judge the clock of this machine.

    @param ahead: by how many seconds other clocks are ahead.
    @param leaf: the validity of the certificate that the proxy presents.
    @param now: the time of this machine.
    """
    name = "clock"
    for source, seconds in ahead.items():
        if abs(seconds) > _MAX_SKEW:
            direction = "behind" if seconds > 0 else "ahead of"
            why = f"the clock of this machine is {_duration(abs(seconds))} {direction} the clock of {source}"
            return fault(name, why, SET_CLOCK)
    if leaf is not None and not leaf[0] <= now < leaf[1]:
        why = f"the certificate of the proxy is valid from {leaf[0]:%Y-%m-%d %H:%M} to {leaf[1]:%Y-%m-%d %H:%M} UTC"
        return fault(name, f"{why}, and not now, {now:%Y-%m-%d %H:%M} UTC", SET_CLOCK)
    if not ahead:
        return skipped(name, "there is no other clock to compare with")
    return ok(name, f"agrees with the clock of {' and of '.join(ahead)}")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} seconds"


def judge_authorizer(
    name_of_authorizer: str, result: Decision | str, seconds: float, timeout: float, fix: Fix
) -> Finding:
    """Judge the authorizer.

    @param name_of_authorizer: its name.
    @param result: its decision, or the reason why there is none.
    @param seconds: the duration of the decision.
    @param timeout: the timeout of an authorization request.
    @param fix: the fix if there is no decision.
    """
    name = "authorizer"
    if isinstance(result, str):
        return fault(name, f"{name_of_authorizer}: {result}", fix)
    took = f"{name_of_authorizer} decided in {seconds * 1000:.0f} ms"
    if seconds > timeout * _SLOW:
        longer = Fix(f"--authz-timeout {math.ceil(seconds / _SLOW)}s")
        return warning(name, f"{took}, and --authz-timeout is {timeout:g} s", longer)
    return ok(name, took)


def judge_upstream(contacts: Mapping[UpstreamProxy, Contact]) -> Finding:
    """Judge the upstream proxies."""
    name = "upstream"
    for upstream, contact in contacts.items():
        if contact.error is not None:
            fix = Fix("correct --upstream-proxy, HTTPS_PROXY or HTTP_PROXY of the proxy, or start the upstream proxy")
            return fault(name, f"{upstream} does not respond: {contact.error}", fix)
        if contact.status == 407:
            why = f"{upstream} rejects the credentials, or requires credentials (407)"
            return fault(name, why, Fix(f"--upstream-proxy {_with_credentials(upstream)}"))
    if not contacts:
        return skipped(name, "no upstream proxy is configured")
    return ok(name, f"{', '.join(map(str, contacts))} responds")


def _with_credentials(upstream: UpstreamProxy) -> str:
    """A value of C{--upstream-proxy} with credentials for the proxy, and for the one before it if it has some."""
    first, via = f"{upstream.scheme}://NAME:PASSWORD@{upstream.authority}", upstream.via
    if via is None:
        return first
    return f"'{first} via {via.scheme}://{'' if via.authorization is None else 'NAME:PASSWORD@'}{via.authority}'"


def judge_dns(result: Sequence[str] | str | None, host: str) -> Finding:
    """Judge the DNS servers by a lookup of a name that cannot exist.

    @param result: the addresses; the reason why the lookup failed; C{None}: the name does not exist.
    @param host: the name.
    """
    name = "dns"
    fix = Fix("correct /etc/resolv.conf, or set --dns-servers")
    if result is None:
        return ok(name, "the DNS servers respond")
    if isinstance(result, str):
        return fault(name, f"the DNS servers do not respond: {result}", fix)
    if all(ip_address(address) in _PLACEHOLDERS[ip_address(address).version] for address in result):
        return ok(name, "names have placeholder addresses, as in the sandbox of egress run --isolate")
    return warning(name, f"the DNS servers return {', '.join(result)} for {host}, a name that cannot exist", fix)


def judge_direct(address: str, open_: bool) -> Finding:
    """Judge whether programs can contact hosts without the proxy."""
    name = "direct"
    if not open_:
        return ok(name, f"{address} cannot be reached without the proxy")
    why = f"{address} can be reached without the proxy: a program that ignores its settings needs no decision"
    return warning(name, why, Fix("egress run --isolate -- COMMAND"))


def judge_descriptors(possible: int, wanted: int) -> Finding:
    """Judge the limit of open files, which limits the connections.

    @param possible: the number of connections that the limit of open files permits.
    @param wanted: the configured number.
    """
    name = "descriptors"
    if possible < min(_FEW_CONNECTIONS, wanted):
        why = f"the limit of open files permits only {possible} connections"
        return warning(name, why, Fix(f"ulimit -n {_FILES}"))
    return ok(name, f"permit {possible:,} connections")


def judge_versions(versions: Mapping[str, str], required: Iterable[str], openssl: str) -> Finding:
    """Judge the versions of the programs and libraries.

    @param versions: the installed version of each distribution.
    @param required: the requirements of this package (PEP 508), as C{name>=1.2; condition}.
    @param openssl: the version of OpenSSL, as in C{OpenSSL 3.0.2 15 Mar 2022}.
    """
    name = "versions"
    for requirement in required:
        parsed = re.match(r"([A-Za-z0-9._-]+)[^>;]*>=\s*([0-9.]+)", requirement)
        found = None if parsed is None else versions.get(parsed[1].lower())
        if parsed is not None and found is not None and _numbers(found) < _numbers(parsed[2]):
            why = f"{parsed[1]} {found} is older than {parsed[2]}, the oldest version that works"
            return fault(name, why, Fix(f"pip install '{parsed[1]}>={parsed[2]}'"))
    number = re.search(r"\d+(\.\d+)+", openssl)
    if number is not None and _numbers(number[0]) < _OLD_OPENSSL and openssl.startswith("OpenSSL"):
        return warning(name, f"{openssl} has no security fixes", Fix("pip install --upgrade cryptography"))
    shown = ", ".join(f"{each} {versions[each]}" for each in ("egressproxy", "python", "twisted") if each in versions)
    return ok(name, f"{shown}, {openssl}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def judge_docker(status: int | None, output: str, config: Mapping[str, object], proxy: str, *, own: bool) -> Finding:
    """Judge the Docker client and its daemon.

    @param status: the exit status of C{docker info}; C{None} if it did not end in time.
    @param output: its output: the proxy of the daemon in JSON.
    @param config: the configuration of the client.
    @param proxy: the URL of the proxy.
    @param own: whether the proxy ends with the diagnosis.
    """
    name = "docker"
    if own:
        return skipped(name, "the daemon needs a proxy that runs permanently")
    if status != 0:
        return skipped(name, "the daemon does not run, or this user may not use it")
    if not re.search(r'"\w+://', output):
        line = f'{{"proxies": {{"http-proxy": "{proxy}", "https-proxy": "{proxy}"}}}}'
        return warning(
            name, "the daemon pulls images without the proxy", Fix(f"add to /etc/docker/daemon.json: {line}")
        )
    if not config.get("proxies"):
        line = f'{{"proxies": {{"default": {{"httpProxy": "{proxy}", "httpsProxy": "{proxy}"}}}}}}'
        return warning(name, "containers have no proxy variables", Fix(f"add to ~/.docker/config.json: {line}"))
    return ok(name, "the daemon and its containers have a proxy")


def failed(name: str, reason: object) -> Finding:
    """Return the finding of a check that failed itself."""
    text = str(reason) or type(reason).__name__
    return error(name, f"could not be checked: {type(reason).__name__}: {text}")
