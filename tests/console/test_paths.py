"""Tests for L{egress.console.paths}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.paths import request_path, with_query


class PathTests(SynchronousTestCase):
    """Values of others cannot change a path."""

    def test_paths(self) -> None:
        self.assertEqual(request_path("a/../b?c"), "/console/requests/a%2F..%2Fb%3Fc")
        self.assertEqual(with_query("/a", q="x&y=#", before=""), "/a?q=x%26y%3D%23")
        self.assertEqual(with_query("/a", q=""), "/a")
