"""The client of the admin API of a running proxy."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from egress.cli.errors import CommandFailed
from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.config.model import ConfigError
from egress.config.options import BY_NAME
from egress.config.parsers import BadValue, ParseContext, token, token_file

_SECONDS: Final = 130.0
_MAX_ANSWER: Final = 16 * 1024 * 1024
_ADMIN: Final = BY_NAME["admin"].variable.name
_TOKEN_FILE: Final = BY_NAME["admin-token-file"].variable.name
_TOKEN: Final = BY_NAME["admin-token-file"].variables[0].name


class AdminFailed(CommandFailed):
    """The proxy rejected an admin request or could not fulfil it.

    @ivar status: the status of its response.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """A connection over TCP or a UNIX socket."""

    def __init__(self, endpoint: AdminEndpoint) -> None:
        super().__init__(str(endpoint.address or "localhost"), endpoint.port or None, timeout=_SECONDS)
        self._path = endpoint.path

    def connect(self) -> None:
        """Connect."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminApi:
    """The admin API of one proxy.

    @param secret: the token, if the API requires one.
    @ivar endpoint: the endpoint of the API.
    """

    def __init__(self, endpoint: AdminEndpoint, secret: str | None) -> None:
        self.endpoint = endpoint
        self._secret = secret

    def call(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        """Send a request.

        @raise CommandFailed: when the proxy cannot be reached.
        @raise AdminFailed: for an error response.
        """
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._secret is not None:
            headers["Authorization"] = f"Bearer {self._secret}"
        body = None
        if document is not None:
            body = json.dumps(document).encode("ascii")
            headers["Content-Type"] = "application/json"
        connection = _Connection(self.endpoint)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read(_MAX_ANSWER))
        except TimeoutError as error:
            raise CommandFailed(f"{self.endpoint}: the proxy does not respond") from error
        except OSError as error:
            raise CommandFailed(f"{self.endpoint}: {error.strerror or error}; is the proxy running?") from error
        except (http.client.HTTPException, ValueError) as error:
            raise CommandFailed(f"{self.endpoint}: the server is not an egress proxy") from error
        finally:
            connection.close()
        if not isinstance(found, dict):
            raise CommandFailed(f"{self.endpoint}: the server is not an egress proxy")
        if answer.status != 200:
            raise AdminFailed(str(found.get("error", answer.reason)), answer.status)
        return found


def add_options(parser: argparse.ArgumentParser, default: Any = None, hint: str = f" [environment: {_ADMIN}]") -> None:
    """Add the options that name the endpoint of the API.

    @param parser: the parser of the command.
    @param default: the default of the options.
    @param hint: the end of the help text of C{--admin}.
    """
    group = parser.add_argument_group("running proxy")
    group.add_argument(
        "--admin",
        default=default,
        metavar="unix:PATH|URL",
        help=f"the admin API of the proxy, as in unix:/run/egress/admin.sock or http://127.0.0.1:9099{hint}",
    )
    group.add_argument(
        "--token-file",
        default=default,
        metavar="FILE",
        help=f"a file with the token, if the API requires one [environment: {_TOKEN_FILE}; the token itself: {_TOKEN}]",
    )


def admin_api(given: argparse.Namespace, environ: Mapping[str, str]) -> AdminApi:
    """Find the endpoint of the API.

    @raise ConfigError: naming the invalid value and the fix.
    @raise CommandFailed: if no endpoint is given.
    """
    place = ParseContext(Path.cwd())
    text = given.admin or environ.get(_ADMIN)
    if not text:
        raise CommandFailed(f"the admin API is not set: use --admin unix:PATH, or the variable {_ADMIN}")
    spelling = "--admin" if given.admin else _ADMIN
    try:
        endpoint = AdminEndpoint.parse(text, place.path)
    except (InvalidAdmin, BadValue) as error:
        raise ConfigError(spelling, text, error.remedy) from error
    return AdminApi(endpoint, _secret(given, environ, place))


def _secret(given: argparse.Namespace, environ: Mapping[str, str], place: ParseContext) -> str | None:
    for spelling, text, read in (
        ("--token-file", given.token_file, token_file),
        (_TOKEN_FILE, environ.get(_TOKEN_FILE), token_file),
        (_TOKEN, environ.get(_TOKEN), token),
    ):
        if text:
            try:
                return read(text, place)
            except BadValue as error:
                raise ConfigError(spelling, "" if read is token else text, error.remedy) from error
    return None
