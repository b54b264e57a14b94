"""Tests for L{egress.authz.remote.connection_failure}."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.remote.connection_failure import describe_failure
from egress.model.errors import InvalidTarget, NameNotResolved, OriginTlsFailed


class DescriptionTests(SynchronousTestCase):
    """L{describe_failure}."""

    def test_failures(self) -> None:
        for error, expected in (
            (DeadlinePassed(), "no response within 3 s"),
            (ConnectTimeout(), "no connection within 3 s"),
            (ConnectRefused(), "the connection was refused"),
            (NameNotResolved("x"), "the host name does not resolve"),
            (ConnectionLost(), "the connection closed before the response was complete"),
            (ConnectError(), "the host cannot be reached"),
            (InvalidTarget("a reason"), "a reason"),
            (SSL.Error("x"), "Error"),
            (ValueError("x"), "ValueError"),
        ):
            with self.subTest(type(error).__name__):
                self.assertEqual(describe_failure(Failure(error), 3.0), expected)

    def test_tls(self) -> None:
        for error in (SSL.Error("x"), ConnectionLost()):
            described = describe_failure(Failure(error), 3.0, lambda failure: OriginTlsFailed("not trusted"))
            self.assertEqual(described, "TLS error: not trusted")
