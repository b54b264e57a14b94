"""The Setup page: the settings of clients, the CA, and checks of the proxy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, Final

from cryptography import x509

from egress.checks.machine import ca_options
from egress.checks.setup import trust_options
from egress.console.page import Download, Html, Page, Redirect, Refused, Route, Visit
from egress.console.setup_view import (
    RUNTIMES,
    CheckRun,
    SetupForm,
    ca_rows,
    der_of,
    files_script,
    settings_of,
    trust_commands,
)
from egress.console.sources import ConsoleSources
from egress.runtime.startup import TcpListener, tcp_listeners
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CaError, pem_of

_DEFAULT: Final = "http://127.0.0.1:8080"
_PARAMETERS: Final = ("proxy", "directory", "format")
_DER: Final = "application/x-x509-ca-cert"


class SetupPage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources
        self._last: CheckRun | None = None

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            Route("GET", "/setup", self._show),
            Route("GET", "/setup/ca.pem", self._pem),
            Route("GET", "/setup/ca.der", self._der),
            Route("POST", "/setup/checks", self._check),
        )

    def _trusted(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates that clients must trust; the one that signs now is the first one."""
        return ca_source(self._sources.config).certificates().trusted(datetime.now(timezone.utc))

    async def _show(self, visit: Visit) -> Html:
        config = self._sources.config
        listener = await self._listener()
        default = _DEFAULT if listener is None else listener.url
        form = SetupForm.parse("/console/setup", {name: visit.parameter(name) for name in _PARAMETERS}, default)
        requires_auth = listener is not None and config.requires_auth_at(listener.listener)
        values: dict[str, Any] = {
            "form": form,
            "requires_auth": requires_auth,
            "is_loopback": listener is not None and listener.is_loopback and form.proxy == default,
            "settings": "" if form.errors else settings_of(form, requires_auth=requires_auth),
            "ca_error": "",
            "ca": [],
            "script": "",
            "runtimes": RUNTIMES,
            "commands": trust_commands(trust_options(ca_options(config))),
            "last": self._last,
            "has_checks": self._sources.server_checks is not None,
        }
        try:
            certificates = self._trusted()
        except CaError as error:
            values["ca_error"] = str(error)
        else:
            current = self._sources.authority().certificate
            values["ca"] = ca_rows(current, certificates, datetime.now(timezone.utc))
            values["script"] = "" if form.errors else files_script(form, certificates)
        return Html("setup.html", values)

    async def _listener(self) -> TcpListener | None:
        """Return the first listener of a client that knows that there is a proxy."""
        addresses = await self._sources.listening()
        found = tcp_listeners(addresses, self._sources.config.listen)
        return next((each for each in found if not each.listener.transparent), None)

    def _pem(self, visit: Visit) -> Download:
        return Download(pem_of(*self._readable()), "application/x-pem-file", "ca.pem")

    def _der(self, visit: Visit) -> Download:
        return Download(der_of(self._readable()[0]), _DER, "ca.der")

    def _readable(self) -> tuple[x509.Certificate, ...]:
        try:
            return self._trusted()
        except CaError as error:
            raise Refused(HTTPStatus.CONFLICT, f"The CA cannot be read: {error}") from error

    async def _check(self, visit: Visit) -> Redirect:
        checks = self._sources.server_checks
        if checks is None:
            raise Refused(HTTPStatus.CONFLICT, "This proxy has no checks.")
        findings = await checks.run()
        self._last = CheckRun.of(findings, self._sources.wall_clock())
        return Redirect("/console/setup#checks")


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return SetupPage(sources).routes()


PAGE = Page(
    name="setup",
    title="Setup",
    order=70,
    routes=_routes,
    examples=("/setup", "/setup?format=json&proxy=http%3A%2F%2Fproxy.example%3A8080", "/setup?proxy=x"),
)
