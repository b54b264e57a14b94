"""Tests for L{benchmarks.http2}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.http2 import ROWS, responses_in

OUTPUT = """\
finished in 22.03ms, 9079.76 req/s, 1.05MB/s
requests: 200 total, 200 started, 200 done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 4 4xx, 0 5xx
"""


class ResponsesTests(SynchronousTestCase):
    """Only good responses count."""

    def test_responses(self) -> None:
        self.assertEqual(responses_in(OUTPUT.format(succeeded=200, good=196)), 196)
        self.assertEqual(responses_in(OUTPUT.format(succeeded=190, good=196)), 190)

    def test_an_error(self) -> None:
        self.assertIsNone(responses_in("could not connect to host"))


class RowTests(SynchronousTestCase):
    """The rows."""

    def test_the_first_row(self) -> None:
        """The others are compared with HTTP/1.1 through this proxy."""
        self.assertEqual((ROWS[0].peer.name, ROWS[0].version), ("egressproxy", "--h1"))
        self.assertEqual(len({row.title for row in ROWS}), len(ROWS))
