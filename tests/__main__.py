"""The tests, run by trial: C{python -m tests [-j N] [--unit|--integration|--workers|--traffic] [NAME ...]}.

It is C{trial NAME ...}, with all tests as the default.

  - C{--unit} selects the tests that open no socket, C{--integration} the others, C{--workers} the integration tests to
    which several workers can make a difference, and C{--traffic} those that send messages of all kinds through a proxy.
    Those of C{--workers} run last, with two workers behind each C{twistd}.
  - With C{-j N}, N processes run the tests, after those that measure time.
  - C{--durations N} prints the N slowest modules and tests at the end.
  - Under C{EGRESS_NO_SKIP=1} a skipped test fails the run.
  - C{passed failed skipped} are appended to the file that C{EGRESS_TEST_RESULTS} names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import TestSuite

from twisted.trial.reporter import TextReporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests import durations
from tests.forks import Result, counts_of, result_of, run_in_forks

ROOT = Path(__file__).parent.parent
INTEGRATION = "integration"
# Names the number of workers behind each proxy of a test.
WORKERS = "EGRESS_TEST_WORKERS"


def unit_names() -> list[str]:
    """Return every test package and module except the integration tests."""
    here = ROOT / "tests"
    packages = [path.parent.name for path in here.glob("*/__init__.py") if path.parent.name != INTEGRATION]
    modules = [path.stem for path in here.glob("test_*.py")]
    return [f"tests.{name}" for name in sorted(packages + modules)]


# In a worker, deciding, relaying, resolving and connecting are the same as in a single process.  Tests
# that need one process or no proxy, and tests that set the number of workers, are therefore excluded.
# What remains is what several processes do together: they start, stop, reload and restart, share the listeners, the CA,
# the audit log, its store, the policy and the metrics, and each counts its own failed passwords.
ALIKE = frozenset(
    {
        *("adapters", "approvals", "authorization", "egressauthz", "explain", "learning", "parity", "policy"),
        *("dns_order", "dns_servers", "origin_faults", "origin_terms", "origin_tls", "upstream", "upstream_tls"),
        *("bulk", "client_certificates", "streaming", "tunnels"),
        *(
            "http2",
            "http2_bulk",
            "http2_listener",
            "http2_origins",
            "messages",
            "notifications",
            "scorecard",
            "socks",
            "splice",
            "terms",
            "tutorial",
        ),
        "upgrades",
        *(
            "body_memory",
            "fairness",
            "first_denial",
            "limits",
            "run",
            "run_clients",
            "shared_work",
            "soak",
            "stored_grants",
            "workers",
        ),
        *("browsers", "completion", "doctor", "existing_settings", "grpc", "init", "isolate", "isolate_sandbox"),
        *(
            "activation",
            "autobahn",
            "audit_spool",
            "browser_http2",
            "budgets",
            "cluster",
            "console",
            "container",
            "content",
            "fleet",
            "full_disk",
            "github_action",
            "helm_chart",
            "loaded",
            "node_example",
            "one_ca",
            "pod_lifecycle",
            "postgresql",
            "postgresql_chain",
            "postgresql_partitions",
            "prometheus",
            "proxy_protocol",
            "replicas",
            "sentinels",
            "shared_approvals",
            "systemd",
            "trust",
            "undici",
        ),
    }
)

# What a proxy does with messages, for the compiled build: each of its compiled modules runs in some of them.
TRAFFIC = (
    *("authorization", "connection_auth", "content", "grpc", "http2", "http2_listener", "http2_origins", "limits"),
    *("messages", "origin_faults", "origin_terms", "origin_tls", "scorecard", "socks", "splice.EpollTests"),
    *("start.BuildTests", "streaming", "terms", "tunnels", "upgrades", "upstream"),
)

# They measure times, or what happens in a time, and need both cores, so they run separately.
MEASURING = tuple(f"tests.{INTEGRATION}.test_{name}" for name in ("budgets", "fairness", "fleet", "soak"))


def integration_names() -> list[str]:
    """Return the integration tests."""
    return [f"tests.{INTEGRATION}"]


def workers_names() -> list[str]:
    """Return the integration tests that are relevant to several workers behind each C{twistd}."""
    modules = sorted(path.stem for path in (ROOT / "tests" / INTEGRATION).glob("test_*.py"))
    return [f"tests.{INTEGRATION}.{name}" for name in modules if name.removeprefix("test_") not in ALIKE]


def traffic_names() -> list[str]:
    """Return the integration tests that send messages of all kinds."""
    return [f"tests.{INTEGRATION}.test_{name}" for name in TRAFFIC]


GROUPS = {"unit": unit_names, "integration": integration_names, "workers": workers_names, "traffic": traffic_names}


def modules_of(name: str) -> list[str]:
    """Return the names of the test modules in a package; other names remain as they are."""
    directory = ROOT.joinpath(*name.split("."))
    if not (directory / "__init__.py").exists():
        return [name]
    found = [f"{name}.{path.stem}" for path in sorted(directory.glob("test_*.py"))]
    for path in sorted(directory.glob("*/__init__.py")):
        found += modules_of(f"{name}.{path.parent.name}")
    return found


def is_measuring(name: str) -> bool:
    """Return whether a test, class or module measures time."""
    return f"{name}.".startswith(tuple(f"{module}." for module in MEASURING))


def run_here(names: Sequence[str]) -> Result:
    """Run tests in this process."""
    suite: TestSuite = TestLoader().loadByNames(list(names), recurse=True)
    reporter: Any = TrialRunner(TextReporter, workingDirectory="_trial_temp").run(suite)
    return result_of(counts_of(reporter), successful=reporter.wasSuccessful())


def run_measured(names: Sequence[str], processes: int, number: int) -> int:
    """Run tests, record their durations, and print the longest ones.

    @return: the exit status.
    """
    # Not a TemporaryDirectory: see run_in_forks.
    directory = Path(tempfile.mkdtemp())
    file = directory / "durations"
    file.touch()
    os.environ[durations.VARIABLE] = str(file)
    durations.record()
    try:
        status = run(names, processes)
        print(f"\n{durations.report(file, number)}", flush=True)
    finally:
        del os.environ[durations.VARIABLE]
        shutil.rmtree(directory)
    return status


def run(names: Sequence[str], processes: int) -> int:
    """Run tests, and report their number.

    @param names: of packages, modules, classes and methods.
    @return: the exit status.
    """
    # Each once.
    modules = list(dict.fromkeys(module for name in names for module in modules_of(name)))
    others = [name for name in modules if not is_measuring(name)]
    status = 0
    if processes == 1 or not others:
        result = run_here(modules)
    else:
        if measuring := [name for name in modules if is_measuring(name)]:
            # In a separate process: a reactor runs once.
            status = subprocess.run([sys.executable, "-m", "tests", *measuring], check=False).returncode
        result = run_in_forks(processes, others)
    report = os.environ.get("EGRESS_TEST_RESULTS")
    if report:
        with open(report, "a", encoding="ascii") as file:
            file.write(f"{result.passed} {result.failed} {result.skipped}\n")
    if result.skipped and os.environ.get("EGRESS_NO_SKIP") == "1":
        print(f"\n{result.skipped} tests were skipped, and EGRESS_NO_SKIP is set: the run has failed")
        return 1
    return status or result.status or (0 if result.passed else 1)


def main(arguments: list[str]) -> int:
    """Run the tests.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m tests", description="Run the tests.")
    parser.add_argument("-j", dest="processes", type=int, default=1, metavar="N", help="the number of processes")
    for group in GROUPS:
        parser.add_argument(f"--{group}", dest="groups", action="append_const", const=group, default=[])
    parser.add_argument("--durations", type=int, metavar="N", help="print the N slowest modules and tests")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a package, module, class or method")
    options = parser.parse_args(arguments)
    # Test modules read the variable, so that this takes other processes.
    workers = [] if WORKERS in os.environ else [group for group in options.groups if group == "workers"]
    groups = [group for group in options.groups if group not in workers]
    names = options.names + [name for group in groups for name in GROUPS[group]()]
    status = 0
    if names or not workers:
        status = run_as(options, names or ["tests"])
    if workers:
        again = ["-j", str(options.processes), "--workers"]
        again += [] if options.durations is None else ["--durations", str(options.durations)]
        variables = {**os.environ, WORKERS: "2"}
        status |= subprocess.run([sys.executable, "-m", "tests", *again], env=variables, check=False).returncode
    return status


def run_as(options: argparse.Namespace, names: Sequence[str]) -> int:
    """Run tests as the options say.

    @return: the exit status.
    """
    if options.durations is not None:
        return run_measured(names, options.processes, options.durations)
    return run(names, options.processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
