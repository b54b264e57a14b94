"""The programs of a soak test: the proxy and its dependencies, with their faults."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import sys
import time
from pathlib import Path

from benchmarks.soak.client import Where
from benchmarks.soak.fairness import Probe
from benchmarks.soak.faults import ATTACKERS, AUTHORIZER, Fault
from benchmarks.soak.journal import OVER, Mood, id_in, read_journal
from benchmarks.soak.judge import Asked, Question, Record, Sample, Seen
from tests.certificates import TestCA
from tests.integration.base import Proxy
from tests.integration.processes import ROOT, Process, environment, free_port

PROBE = "probe"

HOSTS = {"http": "127.0.0.1", "https": "127.0.0.2", "tunnel": "127.0.0.3"}

# Short faults, so that a run contains many of them, and each is shorter than the timeout of the clients.
TIMEOUTS = {
    "--authz-timeout": "2s",
    "--connect-timeout": "3s",
    "--response-timeout": "5s",
    "--head-timeout": "10s",
    "--idle-timeout": "15s",
    "--tunnel-timeout": "15s",
}


class Program:
    """A program that can be killed and restarted."""

    def __init__(self, directory: Path, name: str, module: str, address: tuple[str, int], *more: str) -> None:
        self._directory = directory
        self._name = name
        self._address = address
        host = [] if name == AUTHORIZER else [address[0]]
        self.journal = directory / f"{name}.jsonl"
        self._mood = Mood(directory / f"{name}.mood")
        files = [str(self.journal), str(directory / f"{name}.mood")]
        self._arguments = [sys.executable, "-m", f"benchmarks.soak.{module}", *host, str(address[1]), *files, *more]
        self._process = self._started()

    def _started(self) -> Process:
        env = environment(PYTHONPATH=str(ROOT))
        process = Process(self._arguments, self._directory, self._name, env)
        process.wait_for_port(self._address[1], self._address[0])
        return process

    def suffer(self, fault: Fault) -> None:
        """Inject a fault, and repair it."""
        popen = self._process.popen
        if fault.kind == "kill":
            popen.kill()
            popen.wait()
            self._process.stop()
        elif fault.kind == "stop":
            popen.send_signal(signal.SIGSTOP)
        else:
            self._mood.set(fault.kind)
        time.sleep(fault.lasts)
        if fault.kind == "kill":
            self._process = self._started()
        elif fault.kind == "stop":
            popen.send_signal(signal.SIGCONT)
        else:
            self._mood.set("")

    def finish(self) -> None:
        """Let it finish."""
        self._mood.set(OVER)
        self._process.popen.wait(60)

    def stop(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.popen.send_signal(signal.SIGCONT)
        self._process.stop()

    def said(self) -> str:
        """Return its output."""
        return self._process.output()


class Stage:
    """All programs, in one directory."""

    def __init__(self, directory: Path, workers: int) -> None:
        ca = TestCA("Soak")
        certificate, key = ca.issue(HOSTS["https"]).write(directory, "origin")
        trusted = ca.write(directory, "origins-ca")
        at = {name: (host, free_port(host)) for name, host in HOSTS.items()}
        dns = free_port()
        authorizer = ("127.0.0.1", free_port())
        self.programs = {AUTHORIZER: Program(directory, AUTHORIZER, "authorizer", authorizer)}
        for name, address in at.items():
            files = (str(certificate), str(key)) if name == "https" else ()
            self.programs[name] = Program(directory, name, "origin", address, *files)
        self.proxy = Proxy(
            directory,
            *("--ssl-extra-ca-certs", str(trusted)),
            *("--allow-address", "127.0.0.0/8"),
            *("--dns-server", f"127.0.0.1:{dns}"),
            *("--authz-url", f"http://127.0.0.1:{authorizer[1]}"),
            *("--passthrough", HOSTS["tunnel"]),
            *("--workers", str(workers)),
            *(word for option in TIMEOUTS.items() for word in option),
        )
        # These are clients of the proxy, and separate programs so that only the proxy delays them.
        talks = (str(self.proxy.port), "{}:{}".format(*at["http"]))
        for name, more in ((ATTACKERS, (*talks, str(dns))), (PROBE, talks)):
            self.programs[name] = Program(directory, name, name, ("127.0.0.1", free_port()), *more)
        context = ssl.create_default_context(cafile=str(self.proxy.ca))
        self.where = Where(self.proxy.port, at["http"], at["https"], at["tunnel"], context)
        # The current processes only: the memory of a dead worker does not count.
        self._pids = self.proxy.pids
        self._clients = directory / "clients.jsonl"

    def sample(self) -> Sample:
        """Sample the proxy."""
        found = [_looked_at(pid) for pid in self._pids]
        return Sample(time.monotonic(), sum(rss for rss, _ in found), sum(files for _, files in found))

    @property
    def clients(self) -> Path:
        """The journal of the clients."""
        return self._clients

    def asked(self) -> list[Asked]:
        """Return the observations of the clients."""
        return [
            Asked(one["id"], one["kind"], one["method"], one["sent"], one["outcome"], one["detail"])
            for journal in (self._clients, self.programs[ATTACKERS].journal, self.programs[PROBE].journal)
            for one in read_journal(journal)
        ]

    def probes(self) -> list[Probe]:
        """Return the requests of the measuring client."""
        lines = read_journal(self.programs[PROBE].journal)
        return [Probe(one["id"], one["began"], one["took"], one["outcome"], one["detail"]) for one in lines]

    def questions(self) -> list[Question]:
        """Return the observations of the authorization service."""
        lines = read_journal(self.programs[AUTHORIZER].journal)
        return [Question(one["at"], one["request"], one["id"], one["verdict"]) for one in lines]

    def seen(self) -> list[Seen]:
        """Return the observations of the origins."""
        lines = [line for name in HOSTS for line in read_journal(self.programs[name].journal)]
        # Inside a tunnel, one client sends several messages, which share one decision.
        return [Seen(one["at"], one["id"], one["method"]) for one in lines]

    def records(self) -> list[Record]:
        """Return the audit records."""
        return [
            Record(
                one["requestId"],
                (one["identity"] or "") if one["stage"] == "tunnel" else id_in(one["url"]),
                one["verdict"],
                one["outcome"],
            )
            for one in self.proxy.records()
        ]

    def stop_programs(self) -> None:
        """Kill the dependencies of the proxy, and with them its connections to them."""
        for program in self.programs.values():
            program.stop()

    def stop(self) -> list[str]:
        """Stop all programs.

        @return: the failures in the log of the proxy, and in the programs of the test.
        """
        status = self.proxy.process.stop(60)
        wrong = [] if status in (-15, 143) else [f"the proxy ended with status {status}"]
        if "Traceback" in self.proxy.process.output():
            wrong.append("the log of the proxy has a traceback")
        self.stop_programs()
        for name, program in self.programs.items():
            if re.search(r"^\w*Error", program.said(), re.MULTILINE):
                wrong.append(f"the program {name} of the soak test failed: {program.said()[-500:]}")
        return wrong


def _looked_at(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    return int(status[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))
