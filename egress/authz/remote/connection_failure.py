"""The description of a call that has no response."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout

from egress.model.errors import EgressError, NameNotResolved

if TYPE_CHECKING:
    from twisted.python.failure import Failure


def describe_failure(
    failure: Failure, seconds: float, explain_tls: Callable[[Failure], EgressError] | None = None
) -> str:
    """Describe why there was no response, without the URL.

    @param failure: the failure of the call.
    @param seconds: the timeout of the call.
    @param explain_tls: explains an error of TLS, if the server uses it.
    """
    error = failure.value
    if isinstance(error, DeadlinePassed):
        return f"no response within {seconds:g} s"
    if isinstance(error, (ConnectTimeout, ConnectingCancelledError)):
        return f"no connection within {seconds:g} s"
    if isinstance(error, ConnectRefused):
        return "the connection was refused"
    if isinstance(error, NameNotResolved):
        return "the host name does not resolve"
    if isinstance(error, (SSL.Error, ConnectionClosed)) and explain_tls is not None:
        return f"TLS error: {explain_tls(failure).reason}"
    if isinstance(error, ConnectionClosed):
        return "the connection closed before the response was complete"
    if isinstance(error, ConnectError):
        return "the host cannot be reached"
    if isinstance(error, EgressError):
        return error.reason
    return type(error).__name__
