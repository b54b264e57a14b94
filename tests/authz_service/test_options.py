"""Tests for L{egress.authz_service.options}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.config.options import BY_NAME


class TableTests(SynchronousTestCase):
    """The options of the service."""

    def test_fields(self) -> None:
        """Each option sets one field, and each field has its option."""
        fields = [field for option in AUTHZ_SERVICE_OPTIONS for field in option.fields]
        self.assertEqual(
            sorted(fields), sorted([*(field.name for field in attrs.fields(AuthzServiceConfig)), "config"])
        )

    def test_variables(self) -> None:
        """No variable is one of the proxy, which may run on the same machine."""
        names = {variable.name for option in AUTHZ_SERVICE_OPTIONS for variable in option.environment}
        self.assertEqual({name for name in names if not name.startswith("EGRESSAUTHZ_")}, set())
        self.assertIn("EGRESSAUTHZ_TOKEN", names)

    def test_shared(self) -> None:
        """An option with the name of an option of the proxy is parsed in the same way."""
        shared = [option for option in AUTHZ_SERVICE_OPTIONS if option.name in BY_NAME]
        self.assertGreater(len(shared), 10)
        for option in shared:
            self.assertIs(option.parse, BY_NAME[option.name].parse)
