"""Tests for L{benchmarks.idle_tls} and L{benchmarks.idle_origin}."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.idle_origin import TooFewDescriptors, raise_limit
from benchmarks.idle_tls import descriptors_for
from egress.config.model import Limits
from egress.runtime.rlimits import clamp_to


class DescriptorTests(SynchronousTestCase):
    """The limit of open descriptors."""

    def limit(self, soft: int, hard: int, *, privileged: bool = False) -> None:
        """Replace the limit of this process."""
        self.limits = (soft, hard)

        def set_limits(_: int, limits: tuple[int, int]) -> None:
            if limits[1] > self.limits[1] and not privileged:
                raise ValueError("not allowed to raise maximum limit")
            self.limits = limits

        self.patch(resource, "getrlimit", lambda _: self.limits)
        self.patch(resource, "setrlimit", set_limits)

    def test_soft_limit(self) -> None:
        for needed in (0, 4096):
            self.limit(1024, 4096)
            raise_limit(needed)
            self.assertEqual(self.limits, (4096, 4096))

    def test_hard_limit(self) -> None:
        self.limit(1024, 4096, privileged=True)
        raise_limit(5000)
        self.assertEqual(self.limits, (5000, 5000))

    def test_no_hard_limit(self) -> None:
        self.limit(1024, resource.RLIM_INFINITY)
        raise_limit(5000)
        self.assertEqual(self.limits, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def test_without_privileges(self) -> None:
        self.limit(1024, 4096)
        error = self.assertRaises(TooFewDescriptors, raise_limit, 5000)
        self.assertIn("5000 descriptors, but the hard limit is 4096", str(error))
        self.assertEqual(self.limits, (1024, 4096))

    def test_descriptors_of_a_proxy(self) -> None:
        for connections in (1, 100, 9232, 10_100):
            needed = descriptors_for(connections)
            self.assertEqual(clamp_to(Limits(), needed).connections, connections)
            if connections > 1:
                self.assertLess(clamp_to(Limits(), needed - 1).connections, connections)
        self.assertRaises(TooFewDescriptors, descriptors_for, Limits().connections + 1)
