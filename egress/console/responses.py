"""Parts of requests and responses that the site and the sign-in have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from egress.console import security
from egress.console.forms import MAX_FORM, InvalidForm, parse_form
from egress.console.page import Refused


def values_of(request: Request, name: str) -> Sequence[bytes]:
    """Return the values of a field of a request."""
    return request.requestHeaders.getRawHeaders(name.encode("ascii"), [])


def session_ids(request: Request) -> list[str]:
    """Return the ids of sessions that a browser sends."""
    return security.session_ids(b"".join(values_of(request, "host")), values_of(request, "cookie"))


def text_of(path: bytes) -> str:
    """Return a path of a request as text.

    @raise Refused: if it is not UTF-8 after decoding.
    """
    try:
        unquote_to_bytes(path).decode("utf-8")
        return path.decode("ascii")
    except UnicodeDecodeError as error:
        raise not_found() from error


def not_found() -> Refused:
    """Return the error of an unknown path."""
    return Refused(HTTPStatus.NOT_FOUND, "The console does not have this page.")


def read_form(request: Request) -> Mapping[str, Sequence[str]]:
    """Parse the form of a request.

    @raise Refused: if it is too long, or not a form.
    """
    if getattr(request, "oversize", False):
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The form is longer than {MAX_FORM} bytes.")
    content: Any = request.content
    try:
        return parse_form(values_of(request, "content-type"), content.read())
    except InvalidForm as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def is_lost(request: Request) -> bool:
    """Return whether the connection of a request is lost."""
    return request.channel is None


def redirect(request: Request, path: str) -> bytes:
    """Set the head of a redirection, and return its content."""
    request.responseHeaders.setRawHeaders("Location", [path])
    return prepare(request, HTTPStatus.SEE_OTHER, b"", "text/plain; charset=utf-8")


def prepare(request: Request, status: HTTPStatus, body: bytes, media_type: str, cache: str = "no-store") -> bytes:
    """Set the head of a response, and return its content."""
    prepared: Any = request
    prepared.setResponseCode(status.value, status.phrase.encode("ascii"))
    for name, value in (
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", cache),
    ):
        prepared.responseHeaders.setRawHeaders(name, [value])
    return body


def finish(request: Request, body: bytes) -> None:
    """Send the content of a response, whose head is set."""
    finished: Any = request
    # To HEAD, the first write sends only the head.
    finished.write(body)
    finished.finish()
