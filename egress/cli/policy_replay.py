"""C{egress policy replay}: replays recorded requests against another policy or an authorization service."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from twisted.internet.defer import Deferred, gatherResults

from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.remote.client import RemoteService, remote_authorizer
from egress.cli import audit_input as audit_files
from egress.cli.errors import Misused
from egress.cli.grpc_types import add_grpc_descriptors, with_grpc_types
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog
from egress.cli.progress import progress
from egress.cli.proxy_options import add_selected_options
from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision
from egress.model.errors import AuthorizerUnavailable
from egress.policy.learn.replay import Recorded, Recording, Replayed, Report, replay, replayed
from egress.policy.parse.load import PolicyError, load_policy
from egress.runtime.react import run
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError
from egress.tls.reloadable_trust import ReloadableTrust

# The proxy options that configure the authorization service; their environment variables apply here, too.
_OPTIONS: Final = ("authz-api", "authz-timeout", "authz-token-file", "authz-client-cert", "ssl-extra-ca-certs")
_FIELDS: Final = ("authz_url", "authz_api", "authz_timeout", "authz_token", "authz_client_cert", "extra_ca_certs")

_CONCURRENCY: Final = 16


def add_parser(actions: Any) -> None:
    """Add C{replay} to the actions."""
    parser = actions.add_parser(
        "replay",
        help="evaluate another policy or service on recorded requests",
        description="Evaluates each authorization request of an audit log again, and shows which decisions differ.",
        epilog=epilog(
            ("Test a changed policy on recorded requests", "egress policy replay audit.jsonl --policy changed.toml"),
            ("Query another service", "egress policy replay audit.jsonl --authz-url http://127.0.0.1:9191"),
            statuses={0: "no decision differs", 1: "a decision differs", 2: "a file cannot be read"},
        ),
    )
    decider = parser.add_mutually_exclusive_group(required=True)
    decider.add_argument("--policy", metavar="NEW", help="the policy to evaluate")
    decider.add_argument("--authz-url", metavar="URL", help="the authorization service to query")
    add_selected_options(parser, _OPTIONS)
    add_grpc_descriptors(parser)
    add_json(parser)
    audit_files.add_argument(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    if given.policy is not None:
        for name in _OPTIONS:
            if getattr(given, name.replace("-", "_")) is not None:
                raise Misused(f"--{name}: applies only to --authz-url; remove it")
        report = _ask_policy(Path(given.policy), given)
    else:
        report = _ask_service(_config(given, environ), given.audit)
    if given.json:
        write_json(out, report.as_json())
    else:
        out.writelines(f"{line}\n" for line in report.in_lines())
    return int(report.differs)


def _ask_policy(path: Path, given: argparse.Namespace) -> Report:
    try:
        rules = load_policy(path)
    except PolicyError as error:
        raise Misused(error.reason) from error
    return replay(with_grpc_types(rules, given), audit_files.read_audit(given.audit))


def _config(given: argparse.Namespace, environ: Mapping[str, str]) -> ProxyConfig:
    names = ("authz-url", *_OPTIONS)
    arguments = {name: [text] for name in names if (text := getattr(given, name.replace("-", "_"))) is not None}
    try:
        config = load_config(arguments, environ, only=_FIELDS)
    except ConfigError as error:
        raise Misused(str(error)) from error
    if config.authz_url is None:
        raise Misused("--authz-url none: specify a service, or a policy with --policy")
    return config


def _ask_service(config: ProxyConfig, audit: Sequence[str]) -> Report:
    recording = Recording()
    for line in audit_files.read_audit(audit):
        recording.add(line)
    try:
        trust = ReloadableTrust(OriginTrust(config.extra_ca_certs, config.authz_client_cert))
        service = RemoteService.of(config)
    except (TrustError, ConfigError) as error:
        raise Misused(str(error)) from error

    def ask(reactor: Any) -> Deferred[list[Replayed]]:
        authorizer = remote_authorizer(reactor, service, trust, _no_upstream)
        checked = FailClosedAuthorizer(reactor, authorizer, None)
        return authorize_all(checked, recording, _CONCURRENCY, authorizing.advance)

    with progress("authorizing", len(recording.counts)) as authorizing:
        results = run(ask)
    return Report(tuple(results), recording.undecided)


def _no_upstream(upstream: object, authority: object) -> NoReturn:
    raise AssertionError("a replay contacts the service directly")


def authorize_all(
    authorizer: IAuthorizer, recording: Recording, concurrency: int, advance: Callable[[], None] = lambda: None
) -> Deferred[list[Replayed]]:
    """Send all authorization requests, with limited concurrency.

    @param authorizer: the authorizer.
    @param recording: the recorded requests.
    @param concurrency: the concurrency limit.
    @param advance: is called after each result.
    @return: fires with the results, in the order of the recording.
    """
    waiting = enumerate(recording.counts.items())
    results: dict[int, Replayed] = {}

    async def work() -> None:
        # All coroutines take from one iterator.
        for index, (recorded, count) in waiting:
            results[index] = await _authorize(authorizer, recorded, count)
            advance()

    workers = [Deferred.fromCoroutine(work()) for _ in range(concurrency)]
    return gatherResults(workers, consumeErrors=True).addCallback(lambda _: [results[one] for one in sorted(results)])


async def _authorize(authorizer: IAuthorizer, recorded: Recorded, count: int) -> Replayed:
    decision: Decision | None = None
    reason = ""
    try:
        decision = await authorizer.decide(recorded.question())
    except AuthorizerUnavailable as error:
        reason = error.reason
    return replayed(recorded, count, decision, reason)
