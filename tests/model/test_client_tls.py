"""Tests for L{egress.model.client_tls}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.client_tls import ClientTls, LeafKey


class VocabularyTests(SynchronousTestCase):
    """The values that options and logs use."""

    def test_options(self) -> None:
        self.assertEqual([each.value for each in ClientTls], ["modern", "compatible"])

    def test_keys(self) -> None:
        """The cheapest key type comes first."""
        self.assertEqual(list(LeafKey), [LeafKey.P256, LeafKey.P384, LeafKey.RSA])
