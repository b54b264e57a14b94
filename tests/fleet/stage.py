"""The programs of a fleet: replicas, HAProxy, Redis, PostgreSQL, the authorization service, and the origin."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.soak.journal import Journal, read_journal
from tests.fleet.approver import Approver
from tests.fleet.balancer import configuration, sessions_in
from tests.fleet.load import Load, identity
from tests.fleet.observations import (
    AUTHORIZER,
    HAPROXY,
    POSTGRESQL,
    REDIS,
    Approval,
    Charged,
    Fault,
    Held,
    Question,
    Record,
    Revocation,
    Run,
    Seen,
    Sent,
    id_in,
)
from tests.fleet.replica import Replica
from tests.fleet.schedule import CLIENT, HOST, KILL, RELOAD, Step
from tests.fleet.spenders import LIMITS, POLICY, Spenders
from tests.integration.base import proxy_environment, run_egress
from tests.integration.postgresql import PASSWORD, server
from tests.integration.processes import Process, environment, free_port, program
from tests.integration.redis_server import RedisServer

NAMES = ("one", "two", "three", "four", "five")
TUNNELS = "127.0.0.3"
_ORIGIN = "127.0.0.2"
_CHARGED = "127.0.0.4"
# Seconds after which the replicas know their number.
_COUNTED = 3.0


class Program:
    """A program of this package that can be killed and started again."""

    def __init__(self, directory: Path, module: str, address: tuple[str, int], *arguments: str) -> None:
        self.journal = directory / f"{module}.jsonl"
        self._directory = directory
        self._module = module
        self._address = address
        host = [] if module == "authorizer" else [address[0]]
        command = [sys.executable, "-m", f"tests.fleet.{module}", *host, str(address[1]), str(self.journal)]
        self._command = [*command, *arguments]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.process = Process(self._command, self._directory, self._module, proxy_environment())
        self.process.wait_for_port(self._address[1], self._address[0])

    def kill(self) -> None:
        """Kill it."""
        self.process.popen.kill()
        self.process.popen.wait()


class Stage:
    """All programs, in one directory.

    A service decides for the replicas.  As an embedded policy cannot decide, too, each replica has a second proxy with
    budgets, which is killed with it.

    @param replicas: the number of replicas.
    @param ttl: the time to live of decisions on C{KEPT} paths, in seconds.
    @param redis: whether Redis still runs when all programs have started.
    @param budgets: whether the replicas have proxies with budgets.
    """

    def __init__(self, directory: Path, replicas: int, *, ttl: float, redis: bool, budgets: bool) -> None:
        self._directory = directory
        self._ttl = ttl
        self._names = NAMES[:replicas]
        self._with_redis = redis
        self._with_budgets = budgets
        self._faults: list[Fault] = []
        self._revocations: list[Revocation] = []
        self._cleanups: list[Callable[[], object]] = []
        self._haproxy_port, self._budgets_port = free_port(), free_port()
        self._origins = [(host, free_port(host)) for host in (_ORIGIN, TUNNELS, _CHARGED)]
        self._journals = [directory / host / "origin.jsonl" for host, _ in self._origins]
        self._redis_left: float | None = None
        self.replicas: dict[str, Replica] = {}
        self._budgets: dict[str, Replica] = {}

    def start(self) -> None:
        """Start all programs."""
        self._redis = RedisServer()
        self._cleanups.append(self._redis.remove)
        self._postgresql = server()
        self._cleanups.append(self._start_postgresql)
        self._env: dict[str, Any] = {
            "EGRESS_AUDIT_STORE": self._postgresql.url(self._postgresql.create_database()),
            "EGRESS_AUDIT_STORE_PASSWORD": PASSWORD,
        }
        authorizer = ("127.0.0.1", free_port())
        self._authorizer = Program(self._directory, "authorizer", authorizer, str(self._ttl))
        self._cleanups.append(self._authorizer.kill)
        for address in self._origins:
            origin = Program(self._directory / address[0], "origin", address)
            self._cleanups.append(origin.kill)
        policy = self._directory / "budgets.toml"
        policy.write_text(POLICY, "utf-8")
        options = self._options("0123456789abcdef", "--authz-url", f"http://127.0.0.1:{authorizer[1]}")
        for name in self._names:
            self.replicas[name] = Replica(self._directory, name, (*options, "--passthrough", TUNNELS), self._env)
        options = self._options("fedcba9876543210", "--policy", str(policy))
        for name in self._names if self._with_budgets else ():
            self._budgets[name] = Replica(self._directory, name, options, {}, folder=f"{name}-budgets")
        first, *others = self._proxies()
        # It generates the CA.
        first.start()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Replica.start, others))
        # Otherwise, HAProxy would use only a part of them for up to half a second.
        for replica in self._proxies():
            replica.wait_until_ok("its start")
        self._balance()
        if not self._with_redis:
            if self._with_budgets:
                time.sleep(_COUNTED)
            self._redis_left = time.monotonic()
            self._redis.kill()

    def _options(self, key: str, *options: str) -> tuple[str, ...]:
        """Return the options of proxies that have a key in common, and so their shared state."""
        file = self._directory / f"{key}.key"
        file.write_text(key * 4)
        shared = ("--shared", self._redis.location, "--shared-key-file", str(file))
        return (*options, *shared, "--allow-address", "127.0.0.0/8")

    def _proxies(self) -> list[Replica]:
        return [*self.replicas.values(), *self._budgets.values()]

    def _start_postgresql(self) -> None:
        if not self._postgresql.is_running:
            self._postgresql.start()

    def _balance(self) -> None:
        """Start HAProxy."""
        file = self._directory / "haproxy.cfg"
        servers, budgets = ([each.server for each in some.values()] for some in (self.replicas, self._budgets))
        text = configuration(str(self._directory), self._haproxy_port, servers, self._budgets_port, budgets)
        file.write_text(text, "utf-8")
        command = [program("haproxy"), "-W", "-f", str(file)]
        self._haproxy = Process(command, self._directory, HAPROXY, environment())
        self._cleanups.append(self._haproxy.stop)
        self._haproxy.wait_for_port(self._haproxy_port)
        self._haproxy.wait_for_port(self._budgets_port)

    def load(self, *, seed: int, clients: int, holders: int, think: float) -> Load:
        """Return clients."""
        journals = (Journal(self._directory / "sent.jsonl"), Journal(self._directory / "held.jsonl"))
        origin, tunnels, _ = (f"{host}:{port}" for host, port in self._origins)
        return Load(
            self._haproxy_port, origin, tunnels, journals, seed=seed, clients=clients, holders=holders, think=think
        )

    def spenders(self, seed: int) -> Spenders:
        """Return clients that exhaust budgets."""
        host, port = self._origins[-1]
        return Spenders(self._budgets_port, f"{host}:{port}", Journal(self._directory / "charged.jsonl"), seed)

    def approver(self, seed: int) -> Approver:
        """Return an approver of all replicas."""
        return Approver(list(self.replicas.values()), Journal(self._directory / "approvals.jsonl"), seed)

    # -- actions

    def act(self, step: Step) -> None:
        """Do what a step says, and repair it."""
        began = time.monotonic()
        if step.action == KILL:
            kill, start = self._programs(step.target)
            kill()
            away = time.monotonic()
            time.sleep(step.lasts)
            start()
            self._faults.append(Fault(step.target, began, away, time.monotonic()))
        elif step.action == RELOAD:
            self._haproxy.popen.send_signal(signal.SIGUSR2)
            self._faults.append(Fault(step.target, began, began, time.monotonic()))
        else:
            value = {CLIENT: identity(step.holder), HOST: TUNNELS}.get(step.kind, "")
            self.replicas[step.target].revoke(step.kind, value)
            self._revocations.append(Revocation(step.target, step.kind, value, began, time.monotonic()))

    def _programs(self, target: str) -> tuple[Callable[[], None], Callable[[], None]]:
        programs: dict[str, Any] = {
            REDIS: self._redis,
            POSTGRESQL: self._postgresql,
            AUTHORIZER: self._authorizer,
            **{name: _Group([each for each in self._proxies() if each.name == name]) for name in self._names},
        }
        return programs[target].kill, programs[target].start

    def start_redis(self) -> None:
        """Start Redis again, if it does not run."""
        assert self._redis_left is not None
        self._redis.start()
        self._faults.append(Fault(REDIS, self._redis_left, self._redis_left, time.monotonic()))
        self._redis_left = None

    def recover(self) -> list[str]:
        """Wait until all replicas work without restrictions.

        @return: the replicas that do not.
        """
        return [text for replica in self._proxies() for text in replica.wait_until_ok("the last fault")]

    # -- the end

    def stop(self) -> list[str]:
        """Stop the replicas and HAProxy, so that all of them have written their last words.

        @return: what is wrong.
        """
        with ThreadPoolExecutor() as threads:
            wrong = [text for found in threads.map(Replica.stop, self._proxies()) for text in found]
        # It writes the line of a session just after its end.
        self._haproxy.popen.send_signal(signal.SIGTERM)
        self._haproxy.popen.wait(30)
        return wrong

    def remove(self) -> None:
        """Stop all programs."""
        for replica in self._proxies():
            replica.stop()
        for cleanup in reversed(self._cleanups):
            cleanup()

    def observed(self) -> Run:
        """Return all observations."""
        return Run(
            ttl=self._ttl,
            tunnel_host=TUNNELS,
            replicas=list(self.replicas),
            sent=[Sent(**_without_at(line)) for line in read_journal(self._directory / "sent.jsonl")],
            held=[Held(**_without_at(line)) for line in read_journal(self._directory / "held.jsonl")],
            seen=[Seen(**line) for journal in self._journals[:-1] for line in read_journal(journal)],
            questions=[
                Question(each["at"], each["request"], each["id"], each["method"], each["path"], each["allowed"])
                for each in read_journal(self._authorizer.journal)
            ],
            records=[_record(name, line) for name, each in self.replicas.items() for line in each.audited()],
            stored=[_record("", line) for line in self._stored()],
            sessions=sessions_in(self._haproxy.output()),
            faults=self._faults,
            revocations=self._revocations,
            approvals=[
                Approval(each["id"], each["replica"], each["began"], each["confirmed"])
                for each in read_journal(self._directory / "approvals.jsonl")
            ],
            limits=LIMITS if self._with_budgets else (),
            charged=[Charged(**_without_at(line)) for line in read_journal(self._directory / "charged.jsonl")],
            charged_seen=[Seen(**line) for line in read_journal(self._journals[-1])],
            charged_records=[_record(name, line) for name, each in self._budgets.items() for line in each.audited()],
        )

    def _stored(self) -> list[dict[str, Any]]:
        """Return the records of requests and tunnels in the audit store."""
        done = run_egress("logs", "export", "jsonl", **self._env)
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [each for each in found if each["stage"] != "admin"]


class _Group:
    """The proxies of a replica."""

    def __init__(self, proxies: Sequence[Replica]) -> None:
        self._proxies = proxies

    def kill(self) -> None:
        """Kill them."""
        for proxy in self._proxies:
            proxy.kill()

    def start(self) -> None:
        """Start them."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Replica.start, self._proxies))


def _without_at(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "at"}


def _record(replica: str, line: dict[str, Any]) -> Record:
    return Record(
        replica,
        line["requestId"],
        id_in(line["url"]),
        line["client"].rpartition(":")[0],
        line["stage"],
        line["verdict"],
        line["outcome"],
    )
