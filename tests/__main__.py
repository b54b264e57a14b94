"""The tests, run by trial's own runner: C{python -m tests [--unit|--workers] [NAME ...]}.

It is C{trial NAME ...}, with all tests for a default (C{--unit}: all that open no socket; C{--workers}: those to which
several workers may make a difference), and with two things for a run that nobody watches.  Under C{EGRESS_NO_SKIP=1} a
skipped test fails the run, and C{passed failed skipped} are appended to the file that C{EGRESS_TEST_RESULTS} names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.reporter import TextReporter
from twisted.trial.runner import TestLoader, TrialRunner

INTEGRATION = "integration"


def unit_names() -> list[str]:
    """Every test package and module but the integration tests."""
    here = Path(__file__).parent
    packages = [path.parent.name for path in here.glob("*/__init__.py") if path.parent.name != INTEGRATION]
    modules = [path.stem for path in here.glob("test_*.py")]
    return [f"tests.{name}" for name in sorted(packages + modules)]


# Who decides, what it says, what commands make of it and how an origin is reached is the same in each worker; where it
# is not, a test of these starts workers itself.
ALIKE = frozenset(
    {
        *("adapters", "approvals", "authorization", "egressauthz", "explain", "learning", "origin_faults"),
        *("origin_terms", "origin_tls", "parity", "policy", "tutorial"),
    }
)


def workers_names() -> list[str]:
    """The integration tests that are worth a run with several workers behind each C{twistd}."""
    modules = sorted(path.stem for path in (Path(__file__).parent / INTEGRATION).glob("test_*.py"))
    return [f"tests.{INTEGRATION}.{name}" for name in modules if name.removeprefix("test_") not in ALIKE]


def main(arguments: list[str]) -> int:
    """Run the tests.

    @return: the exit status.
    """
    groups = {"--unit": unit_names, "--workers": workers_names}
    names = [name for argument in arguments for name in (groups[argument]() if argument in groups else [argument])]
    suite = TestLoader().loadByNames(names or ["tests"], recurse=True)
    result = TrialRunner(TextReporter, workingDirectory="_trial_temp").run(suite)
    passed = result.successes + len(result.expectedFailures)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skips)
    report = os.environ.get("EGRESS_TEST_RESULTS")
    if report:
        with open(report, "a", encoding="ascii") as file:
            file.write(f"{passed} {failed} {skipped}\n")
    if skipped and os.environ.get("EGRESS_NO_SKIP") == "1":
        print(f"\n{skipped} tests were skipped, and EGRESS_NO_SKIP is set: the run has failed")
        return 1
    return 0 if result.wasSuccessful() and passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
