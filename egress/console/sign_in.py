"""Signing in to the console, and signing out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from twisted.logger import Logger
from twisted.web.server import Request

from egress.console import security
from egress.console.forms import parse_query
from egress.console.page import ROOT
from egress.console.responses import finish, is_lost, read_form, redirect, session_ids, values_of
from egress.console.sessions import CODE_SECONDS, SessionRole, Sessions
from egress.console.throttle import Throttle

_log = Logger()

SIGN_IN: Final = f"{ROOT}/sign-in"
"""The path of the page."""

START: Final = f"{ROOT}/live"
"""The page after a sign-in."""


class SignIn:
    """The page for signing in, and the forms that begin and end sessions.

    @param sessions: the sessions.
    @param throttle: delays failed sign-ins.
    @param page: sets the head of a page, and returns its content.
    """

    def __init__(
        self,
        sessions: Sessions,
        throttle: Throttle,
        page: Callable[[Request, HTTPStatus, str, Mapping[str, Any]], bytes],
    ) -> None:
        self._sessions = sessions
        self._throttle = throttle
        self._page = page

    def make_link(self, role: str) -> dict[str, Any]:
        """Make a path with which one browser can sign in, as C{admin} or C{viewer}."""
        code = self._sessions.make_code(SessionRole(role))
        return {"path": f"{SIGN_IN}?code={code}", "role": role, "expiresIn": CODE_SECONDS}

    def show(self, request: Request, status: HTTPStatus = HTTPStatus.OK, error: str = "") -> None:
        query = parse_query(request.uri)
        next_page = next_path((query.get("next") or [""])[-1])
        if next_page and security.is_foreign_link(values_of(request, "sec-fetch-site")):
            self._continue(request, next_page)
            return
        values = {
            "title": "Sign in",
            "error": error,
            "code": (query.get("code") or [""])[-1],
            "next": next_page,
            "has_tokens": self._sessions.has_tokens,
            "navigation": [],
            "role": None,
        }
        if not is_lost(request):
            finish(request, self._page(request, status, "sign_in.html", values))

    def _continue(self, request: Request, path: str) -> None:
        """Load a page again from a page of the console, so that the browser sends its cookie."""
        request.responseHeaders.setRawHeaders("Refresh", [f"0; url={path}"])
        values: dict[str, Any] = {"title": "Opening the page", "next": path, "navigation": [], "role": None}
        finish(request, self._page(request, HTTPStatus.OK, "continue.html", values))

    def sign_in(self, request: Request) -> None:
        """Respond to the form of the page."""
        form = read_form(request)
        client = getattr(request.client, "host", None) or ""
        code, token = (form.get(name, [""])[-1] for name in ("code", "token"))
        role = self._sessions.use_code(code) if code else None
        if role is None and not code:
            if self._throttle.is_limited(client):
                request.responseHeaders.setRawHeaders("Retry-After", ["1"])
                self.show(
                    request, HTTPStatus.TOO_MANY_REQUESTS, "Too many sign-ins failed. Wait a moment, and try again."
                )
                return
            role = self._sessions.role_of_token(token.strip())
        if role is None:
            text = (
                "This link was used, or has expired. Run egress console again."
                if code
                else "This is not the token of this proxy."
            )
            _log.warn("a sign-in to the console failed, from {client}", client=client or "the admin socket")
            self._throttle.failed(client, lambda: self.show(request, HTTPStatus.FORBIDDEN, text))
            return
        self._signed_in(request, role, next_path(form.get("next", [""])[-1]))

    def _signed_in(self, request: Request, role: SessionRole, path: str) -> None:
        # A session that someone else may know ends: the browser gets a new one.
        for identifier in session_ids(request):
            self._sessions.end(identifier)
        identifier, _ = self._sessions.begin(role)
        self._set_cookie(request, identifier)
        _log.info("a browser signed in to the console as {role}", role=role.value)
        finish(request, redirect(request, path or START))

    def sign_out(self, request: Request) -> None:
        """End the session of a browser."""
        for identifier in session_ids(request):
            self._sessions.end(identifier)
        self._set_cookie(request, "")
        finish(request, redirect(request, SIGN_IN))

    def _set_cookie(self, request: Request, identifier: str) -> None:
        secure = values_of(request, "origin")[0].lower().startswith(b"https:")
        request.responseHeaders.addRawHeader(
            "Set-Cookie", security.set_cookie(values_of(request, "host")[0], identifier, secure=secure)
        )


def next_path(path: str) -> str:
    """Return a path of the console to which a sign-in leads; empty for every other text."""
    is_own = path.startswith(f"{ROOT}/") and "\\" not in path and path.isascii() and path.isprintable()
    return path if is_own and not path.startswith(SIGN_IN) else ""
