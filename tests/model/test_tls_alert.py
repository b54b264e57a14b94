"""Tests for L{egress.model.tls_alert}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.tls_alert import (
    CLOSED_IN_HANDSHAKE,
    alert_in,
    distrust_in,
    hint_at_certificate,
    reason_in,
    refuses_protocols,
)


class AlertTests(SynchronousTestCase):
    """The alerts in the error queue of OpenSSL."""

    def test_alerts(self) -> None:
        for reason, name in (
            ("tlsv1 alert unknown ca", "unknown_ca"),
            ("tls alert unknown ca", "unknown_ca"),
            ("sslv3 alert certificate unknown", "certificate_unknown"),
            ("ssl/tls alert bad certificate", "bad_certificate"),
            ("tlsv13 alert certificate required", "certificate_required"),
            ("tlsv1 alert no application protocol", "no_application_protocol"),
            ("tlsv1 alert user cancelled", "user_canceled"),
            ("no shared cipher", None),
            ("", None),
        ):
            self.assertEqual(alert_in(Exception([("SSL routines", "", reason)])), name)

    def test_last_error(self) -> None:
        error = Exception([("a", "b", "first"), ("SSL routines", "ssl3_read_bytes", "tlsv1 alert access denied")])
        self.assertEqual((reason_in(error), alert_in(error)), ("tlsv1 alert access denied", "access_denied"))

    def test_other_errors(self) -> None:
        for error in (Exception(), Exception([]), Exception("tls alert unknown ca"), Exception(-1, "Unexpected EOF")):
            self.assertIsNone(reason_in(error))
            self.assertIsNone(alert_in(error))

    def test_protocols(self) -> None:
        """Old versions of OpenSSL have no text for the alert."""
        for reason, refused in (
            ("tlsv1 alert no application protocol", True),
            ("", True),
            ("tlsv1 alert unknown ca", False),
        ):
            self.assertIs(refuses_protocols(Exception([("SSL routines", "", reason)])), refused)
        self.assertFalse(refuses_protocols(Exception()))

    def test_distrust(self) -> None:
        for reason, expected in (
            ("the client aborted the TLS handshake with the alert unknown_ca; check x", "alert unknown_ca"),
            ("it ended the connection with the alert bad_certificate", "alert bad_certificate"),
            ("the client aborted the TLS handshake with the alert protocol_version", None),
            (CLOSED_IN_HANDSHAKE, None),
            ("no shared cipher", None),
        ):
            self.assertEqual(distrust_in(reason), expected)

    def test_hints(self) -> None:
        """Alerts of an origin about the client certificate have a remedy."""
        for alert in ("certificate_required", "bad_certificate", "unknown_ca", "certificate_expired"):
            self.assertIn("--origin-tls", hint_at_certificate(alert))
        for alert in ("handshake_failure", "protocol_version", "internal_error"):
            self.assertEqual(hint_at_certificate(alert), "")
