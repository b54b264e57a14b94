"""Tests for L{egress.config.authz_options}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.authz_options import AUTHZ_OPTIONS
from egress.config.options import OPTIONS


class AuthzOptionsTests(SynchronousTestCase):
    """The options for the authorizers."""

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(AUTHZ_OPTIONS), set(OPTIONS))

    def test_one_group(self) -> None:
        self.assertEqual({option.group for option in AUTHZ_OPTIONS}, {"Authorization"})
