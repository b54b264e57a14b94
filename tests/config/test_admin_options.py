"""Tests for L{egress.config.admin_options}."""

from __future__ import annotations

from egress.config.admin_options import ADMIN_OPTIONS, admin
from egress.config.options import OPTIONS
from tests.config.test_parsers import ValueTests


class AdminOptionsTests(ValueTests):
    """The option for the endpoint."""

    def test_admin(self) -> None:
        found = admin("unix:a.sock", self.place)
        self.assertEqual((found.path, found.endpoint.rpartition(":")[2]), (f"{self.directory}/a.sock", "mode=600"))
        self.assertEqual(admin("tcp:9099", self.place).port, 9099)
        remedies = {
            "unix:missing/a.sock": "the directory of the socket does not exist",
            "tcp:1:interface=0.0.0.0": "must be a loopback address",
        }
        self.refuse(admin, remedies)

    def test_in_the_table(self) -> None:
        self.assertLessEqual(set(ADMIN_OPTIONS), set(OPTIONS))
