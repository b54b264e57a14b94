"""Tests for L{egress.runtime.role}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.role import DRY_RUN, WHOLE, Role


class RoleTests(SynchronousTestCase):
    """L{Role}."""

    def test_roles(self) -> None:
        """A worker without endpoints is a worker, too."""
        for role, is_worker, is_whole in (
            (WHOLE, False, True),
            (DRY_RUN, False, False),
            (Role(()), True, False),
            (Role((), serves_sandbox=True), False, True),
        ):
            with self.subTest(role):
                self.assertEqual((role.is_worker, role.is_whole), (is_worker, is_whole))
