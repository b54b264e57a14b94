"""Tests for L{egress.cli.user_name}."""

from __future__ import annotations

import getpass

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.user_name import user_name


class UserNameTests(SynchronousTestCase):
    """The name for the audit log."""

    def test_name(self) -> None:
        self.patch(getpass, "getuser", lambda: "bob")
        self.assertEqual(user_name(), "bob")
