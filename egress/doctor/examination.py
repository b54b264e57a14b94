"""The examination of a setup: all checks, with at most two programs at the same time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Generator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from socket import gethostname
from typing import Any, Final

import attrs
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults, inlineCallbacks, succeed
from twisted.python.failure import Failure

from egress.checks import judgements, machine, network
from egress.checks.contact import Contact, accepts, proxy_contact
from egress.checks.finding import NOT_INSTALLED, Finding, Status, skipped
from egress.checks.setup import Setup, shown_proxy
from egress.client_settings.browser import FLAGS_VARIABLE
from egress.config.model import ProxyConfig
from egress.doctor.environment import judge_environment
from egress.doctor.names import DOCKER, NAMES
from egress.doctor.processes import Processes
from egress.doctor.runtime_judgement import judge_attempt
from egress.doctor.runtimes import RUNTIMES, Place, Runtime, command_of, variables_of
from egress.runtime.role import DRY_RUN
from egress.runtime.threads import Threads
from egress.service import EgressProxyService
from egress.shared.ca_views import CaView
from egress.tls.ca_source import ca_source

CONCURRENT: Final = 2
"""How many programs run at the same time."""

_CONTACTS: Final = 6
_DIRECT_SECONDS: Final = 2.0
_DOCKER_SECONDS: Final = 5.0
_FILES: Final = Path(__file__).parent / "programs"


@attrs.frozen(kw_only=True)
class Subject:
    """The subject of an examination.

    @ivar proxy: the URL of the proxy; it may contain credentials.
    @ivar own: whether the diagnosis started the proxy.
    @ivar environ: the environment of the programs.
    @ivar config: the configuration of the proxy, as far as it is known.
    @ivar direct: the host and the port for the check of direct egress.
    """

    proxy: str = attrs.field(repr=False)
    own: bool
    environ: Mapping[str, str] = attrs.field(repr=False)
    config: ProxyConfig
    direct: tuple[str, int]


class Examination:
    """All checks of one subject.

    @param reactor: the reactor of the process.
    @param subject: the proxy and the environment.
    @param advance: is called after each check.
    """

    def __init__(self, reactor: Any, subject: Subject, advance: Callable[[], object] = lambda: None) -> None:
        self._advance = advance
        self._reactor = reactor
        self._of = subject
        self._processes = Processes()
        self._programs = Threads(reactor, "programs", CONCURRENT)
        self._contacts = Threads(reactor, "contacts", _CONTACTS)
        self._contact = Contact()
        self._setup = Setup(proxy=shown_proxy(subject.proxy), own=subject.own, environ=subject.environ)

    @inlineCallbacks
    def run(self, names: Collection[str]) -> Generator[Deferred[Any], Any, list[Finding]]:
        """Make checks.

        @param names: the names of the checks.
        @return: fires with the findings in the order of L{NAMES}.
        """
        try:
            of = self._of
            self._contact = yield self._contacts(lambda: proxy_contact(of.proxy, network.SECONDS))
            ca, bundle = machine.ca_files(of.config, self._contact.leaf)
            https = self._contact.tunnel_status in (None, 200)
            self._setup = attrs.evolve(
                self._setup, ca=ca, bundle=bundle, ca_options=machine.ca_options(of.config), https=https
            )
            checks = [self._checked(name, check) for name, check in self._checks().items() if name in names]
            found = yield gatherResults(checks, consumeErrors=True)
            findings = [finding for part in found for finding in part]
            return sorted(findings, key=lambda finding: NAMES.index(finding.name))
        except FirstError as error:
            # It was cancelled: all other errors are findings.
            error.subFailure.raiseException()
        finally:
            self._processes.stop()
            self._programs.stop()
            self._contacts.stop()

    def _checked(self, name: str, check: Callable[[], Any]) -> Deferred[list[Finding]]:
        """Make one check; an exception is a finding, too."""
        try:
            result = check()
        except Exception as error:  # noqa: BLE001
            result = judgements.failed(name, error)
        if not isinstance(result, Deferred):
            result = succeed(result)

        def failed(failure: Failure) -> Finding | Failure:
            if failure.check(CancelledError):  # type: ignore[no-untyped-call]
                return failure
            return judgements.failed(name, failure.value)

        def ended(findings: Any) -> list[Finding]:
            self._advance()
            return findings if isinstance(findings, list) else [findings]

        return result.addErrback(failed).addCallback(ended)

    def _checks(self) -> dict[str, Callable[[], Any]]:
        of, config = self._of, self._of.config
        checks: dict[str, Callable[[], Any]] = {
            "proxy": lambda: judgements.judge_proxy(self._contact, self._setup.proxy, own=of.own),
            "environment": lambda: judge_environment(self._setup, machine.readable),
            "ca": self._ca,
            "clock": self._clock,
            "dns": lambda: network.check_dns(self._reactor, config, self._contacts),
            "authorizer": lambda: network.check_authorizer(self._reactor, config, self._dry_run),
            "upstream": lambda: network.check_upstream(config, self._contacts).addCallback(lambda pair: pair[0]),
            "direct": self._direct,
            "descriptors": lambda: judgements.judge_descriptors(
                machine.possible_connections(config.limits), config.limits.connections
            ),
            "versions": lambda: judgements.judge_versions(*machine.versions()),
        }
        for runtime in RUNTIMES:
            checks[runtime.name] = lambda each=runtime: self._runtime(each)  # type: ignore[misc]
        checks[DOCKER] = self._docker
        return checks

    # -- the machine

    def _dry_run(self, config: ProxyConfig) -> EgressProxyService:
        return EgressProxyService(self._reactor, config, role=DRY_RUN)

    @inlineCallbacks
    def _ca(self) -> Generator[Deferred[Any], Any, list[Finding]]:
        config, now = self._of.config, datetime.now(timezone.utc)
        finding = judgements.judge_ca(machine.ca_facts(config, now, self._contact.leaf), now)
        if config.shared.location is None or finding.status is not Status.OK:
            return [finding]
        own = CaView.of_files(machine.certificates(ca_source(config)), now, gethostname())
        return [finding, (yield network.check_other_cas(self._reactor, config, own))]

    @inlineCallbacks
    def _clock(self) -> Generator[Deferred[Any], Any, Finding]:
        config = self._of.config
        ahead: dict[str, float | None] = {} if self._of.own else {"the proxy": self._contact.ahead}
        ahead.update((yield network.clock_of_authorizer(config, self._contacts)))
        _, upstreams = yield network.check_upstream(config, self._contacts)
        ahead.update(upstreams)
        known = {source: seconds for source, seconds in ahead.items() if seconds is not None}
        return judgements.judge_clock(known, _validity(self._contact.leaf), datetime.now(timezone.utc))

    def _direct(self) -> Deferred[Finding]:
        host, port = self._of.direct
        opened = self._contacts(lambda: accepts(host, port, _DIRECT_SECONDS))
        return opened.addCallback(lambda open_: judgements.judge_direct(f"{host}:{port}", open_))

    # -- the runtimes

    def _find(self, names: Collection[str]) -> str | None:
        path = self._of.environ.get("PATH", os.defpath)
        return next((found for name in names if (found := shutil.which(name, path=path)) is not None), None)

    def _runtime(self, runtime: Runtime) -> Finding | Deferred[Finding]:
        program = self._find(runtime.programs)
        if program is None:
            return skipped(runtime.name, NOT_INSTALLED)
        return self._programs(lambda: self._attempt(runtime, program))

    def _attempt(self, runtime: Runtime, program: str) -> Finding:
        with tempfile.TemporaryDirectory(prefix="egress-doctor-", ignore_cleanup_errors=True) as scratch:
            place = Place(
                program=program,
                url=self._setup.url,
                files=_FILES,
                scratch=Path(scratch),
                root=os.geteuid() == 0,
                browser_flags=self._browser_flags(),
            )
            environ = {**self._of.environ, **variables_of(runtime, place)}
            command = command_of(runtime, place)
            attempt = self._processes.attempt(command, environ, Path(scratch), runtime.seconds)
        return judge_attempt(runtime, attempt, self._setup)

    def _browser_flags(self) -> tuple[str, ...]:
        return tuple(self._of.environ.get(FLAGS_VARIABLE, "").split()) if self._of.own else ()

    def _docker(self) -> Finding | Deferred[Finding]:
        program = self._find(("docker",))
        if program is None:
            return skipped(DOCKER, NOT_INSTALLED)
        return self._programs(lambda: self._docker_info(program))

    def _docker_info(self, program: str) -> Finding:
        of, command = self._of, [program, "info", "--format", "{{json .HTTPSProxy}}"]
        attempt = self._processes.attempt(command, of.environ, Path.cwd(), _DOCKER_SECONDS)
        config = machine.docker_config(of.environ)
        return judgements.judge_docker(attempt.status, attempt.output, config, self._setup.proxy, own=of.own)


def _validity(leaf: x509.Certificate | None) -> tuple[datetime, datetime] | None:
    return None if leaf is None else (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
