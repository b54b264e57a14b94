"""Tests for L{egress.runtime.rlimits}."""

from __future__ import annotations

import resource
from unittest import mock

from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.proxy.factory import max_lingering
from egress.runtime.rlimits import clamp_to, raise_limit, soft_limit


class RaiseTests(SynchronousTestCase):
    """The soft limit is raised to the hard limit."""

    def raised(self, limits: tuple[int, int], reactor: object = None, error: Exception | None = None) -> object:
        with (
            mock.patch.object(resource, "getrlimit", return_value=limits),
            mock.patch.object(resource, "setrlimit", side_effect=error) as set_limit,
        ):
            raise_limit(reactor)
        return set_limit.call_args and set_limit.call_args.args

    def test_raised(self) -> None:
        self.assertEqual(self.raised((1024, 524288)), (resource.RLIMIT_NOFILE, (524288, 524288)))

    def test_already_raised(self) -> None:
        self.assertIsNone(self.raised((4096, 4096)))

    def test_not_for_select(self) -> None:
        """C{select(2)} supports no descriptor above 1023."""
        self.assertIsNone(self.raised((1024, 524288), SelectReactor.__new__(SelectReactor)))

    def test_rejected(self) -> None:
        self.assertIsNotNone(self.raised((1024, resource.RLIM_INFINITY), error=ValueError("above the limit")))

    def test_other_platforms(self) -> None:
        with mock.patch("egress.runtime.rlimits.resource", None):
            raise_limit(None)


class SoftLimitTests(SynchronousTestCase):
    """The limit that the system reports."""

    def test_number(self) -> None:
        with mock.patch.object(resource, "getrlimit", return_value=(4096, 8192)):
            self.assertEqual(soft_limit(), 4096)

    def test_no_limit(self) -> None:
        with mock.patch.object(resource, "getrlimit", return_value=(resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
            self.assertIsNone(soft_limit())


class ClampTests(SynchronousTestCase):
    """The connection limits fit the available descriptors."""

    def test_enough_descriptors(self) -> None:
        for descriptors in (None, 65536, 1048576):
            with self.subTest(descriptors):
                self.assertEqual(clamp_to(Limits(), descriptors), Limits())

    def test_fewer_descriptors(self) -> None:
        limits = clamp_to(Limits(), 8192)
        self.assertEqual((limits.connections, limits.connections_per_client, limits.pool_total), (3328, 832, 1024))

    def test_few_descriptors(self) -> None:
        limits = clamp_to(Limits(), 1024)
        self.assertEqual((limits.connections, limits.connections_per_client, limits.pool_total), (384, 96, 128))

    def test_one_client_cannot_use_all(self) -> None:
        """Both limits keep their proportion."""
        for descriptors in (64, 256, 1024, 8192, 20000):
            with self.subTest(descriptors):
                limits = clamp_to(Limits(), descriptors)
                self.assertLess(limits.connections_per_client, limits.connections)
                self.assertEqual(limits.connections_per_client, -(-limits.connections // 4))
        wanted = Limits(connections=1000, connections_per_client=1000)
        self.assertEqual(clamp_to(wanted, 1024).connections_per_client, 384, "who wants no such limit gets none")
        self.assertEqual(clamp_to(Limits(connections_per_client=1), 64).connections_per_client, 1)

    def test_never_above_the_configured_limits(self) -> None:
        wanted = Limits(connections=10, connections_per_client=5, pool_total=3)
        for descriptors in (64, 1024, 1048576):
            with self.subTest(descriptors):
                limits = clamp_to(wanted, descriptors)
                self.assertLessEqual(limits.connections, 10)
                self.assertLessEqual(limits.connections_per_client, 5)
                self.assertLessEqual(limits.pool_total, 3)

    def test_total_fits(self) -> None:
        """Two connections per client, idle and rejected connections leave descriptors for everything else."""
        for descriptors in (64, 256, 1024, 2048, 4096, 16384, 65536):
            with self.subTest(descriptors):
                limits = clamp_to(Limits(), descriptors)
                self.assertGreaterEqual(limits.connections, 1)
                used = 2 * limits.connections + limits.pool_total + max_lingering(limits)
                # The remaining descriptors are for logs, listeners and connections to the authorizer.
                self.assertGreaterEqual(descriptors - used, min(256, descriptors // 16))
