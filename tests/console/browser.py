"""A browser of the console, in memory: requests as a browser sends them, without sockets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import unescape
from html.parser import HTMLParser
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from egress.admin.api import admin_site
from egress.admin.policies import LocalPolicies
from egress.config.model import ProxyConfig
from egress.console.page import Page
from egress.console.reads import StoreReads
from egress.console.rendering import Renderer
from egress.console.sessions import Sessions
from egress.console.site import ConsoleResource
from egress.console.sources import ConsoleSources
from egress.model.change import Change

HOST = "localhost:9099"
COOKIE = "egress_session_9099"
ORIGIN = f"http://{HOST}"
ADMIN = "hunter2-admin"
VIEWER = "hunter2-viewer"
NOW = 1_800_000_000.0


@cache
def renderer() -> Renderer:
    """Return the renderer of all consoles in this process."""
    return Renderer()


class FakeStore:
    """An audit store with the records of a test, the newest first."""

    def __init__(self, records: Sequence[Mapping[str, Any]] = ()) -> None:
        self.records = records
        self.searches: list[Any] = []
        self.error: Exception | None = None

    def search(self, given: Any, limit: int | None, oldest_first: bool = False) -> Any:
        self.searches.append((given, limit))
        if self.error is not None:
            raise self.error
        return iter(self.records[:limit])

    def last_seq(self) -> int:
        return len(self.records)

    def written_after(self, given: Any, seq: int) -> Any:
        return len(self.records), [*reversed(self.records)][seq:]

    def close(self) -> None:
        """Do nothing."""


def record(**values: Any) -> dict[str, Any]:
    """Return a record as the store returns it."""
    return {
        "time": "2027-01-15T08:00:00.000Z",
        "requestId": "abc123",
        "client": "10.0.0.1:40000",
        "identity": None,
        "stage": "request",
        "method": "GET",
        "url": "https://api.example/v1?key=[redacted]",
        "verdict": "deny",
        "outcome": "denied",
        "reason": "the path is closed",
        "observed": None,
        "decidedBy": "policy",
        "ruleId": "no-admin",
        "source": None,
        "decisionMs": 0.2,
        "address": None,
        "upstream": None,
        "status": 403,
        "bytesSent": 0,
        "bytesReceived": 120,
        "durationMs": 1.5,
        **values,
    }


class FakeBackend:
    """A backend that records its calls; C{results} are its responses, by the name of the method."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.results: dict[str, Any] = {"listed": {"pending": [], "grants": []}}
        self.changes: list[Change] = []

    def record(self, change: Change) -> None:
        self.changes.append(change)

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        def call(*arguments: Any) -> Deferred[Any]:
            self.calls.append((name, *arguments))
            result = self.results[name]
            return result if isinstance(result, Deferred) else succeed(result)

        return call


def in_thread(call: Callable[[], Any]) -> Deferred[Any]:
    """Run a call immediately, in place of a thread."""
    return maybeDeferred(call)


@attrs.frozen
class Response:
    """One response.

    @ivar status: the status.
    @ivar fields: its fields: lower-case names, with the values of each.
    @ivar body: the content.
    """

    status: int
    fields: Mapping[str, Sequence[str]]
    body: str

    @property
    def text(self) -> str:
        """The text of a page, without markup."""
        return page_text(self.body)

    def field(self, name: str) -> str | None:
        """Return the only value of a field."""
        values = self.fields.get(name, ())
        assert len(values) < 2, values
        return values[0] if values else None


class _Text(HTMLParser):
    """Collects the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def page_text(page: str) -> str:
    """Return the text of a page, with one space between words."""
    parser = _Text()
    parser.feed(page)
    return " ".join(" ".join(parser.pieces).split())


class ConsoleBrowser:
    """A browser with a console of its own, in memory.

    @ivar clock: the clock of the proxy.
    @ivar backend: the backend of the console.
    @ivar store: the audit store.
    @ivar sources: the sources of the console.
    @ivar cookies: the cookies, by name.
    """

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]] = (),
        *,
        config: ProxyConfig | None = None,
        pages: Sequence[Page] | None = None,
        has_store: bool = True,
        store: Any = None,
        **sources: Any,
    ) -> None:
        self.clock = Clock()
        self.backend: Any = FakeBackend()
        self.store: Any = FakeStore(records) if store is None else store
        reads = StoreReads(lambda: self.store, in_thread) if has_store else None
        self.config = config or ProxyConfig(admin="tcp:9099", admin_token=ADMIN, admin_viewer_token=VIEWER)
        values: dict[str, Any] = {
            "clock": self.clock,
            "wall_clock": lambda: NOW + self.clock.seconds(),
            "config": self.config,
            "backend": self.backend,
            "reads": reads,
            "live_reads": reads,
            "metrics": lambda: (b"", "text/plain"),
            "checks": lambda: succeed({"ca": "ok"}),
            "reload": lambda: succeed(None),
            "authority": lambda: None,
            "policies": LocalPolicies(lambda: None),
            "in_thread": in_thread,
        }
        self.sources = ConsoleSources(**{**values, **sources})
        self.sessions = Sessions(self.clock.seconds, self.config.admin_token, self.config.admin_viewer_token)
        # Each console would compile its templates again.
        with mock.patch("egress.console.site.Renderer", renderer):
            console = ConsoleResource(self.sources, self.sessions, self.config.admin_hosts, pages)
        self.site: Any = admin_site(self.clock, self.backend, self.config.admin_token, console)
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    # -- requests

    def send(self, request: bytes, client: str = "127.0.0.1") -> StringTransportWithDisconnection:
        """Send bytes on a connection of its own, and return its transport."""
        address = IPv4Address("TCP", client, 40000)
        transport = StringTransportWithDisconnection(peerAddress=address)
        channel = self.site.buildProtocol(address)
        transport.protocol = channel
        channel.makeConnection(transport)
        for start in range(0, len(request), 65536):
            channel.dataReceived(request[start : start + 65536])
            # Long heads are parsed in several turns.
            self.clock.pump([0.0] * 40)
        return transport

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        host: str | None = HOST,
        fields: Iterable[tuple[str, str]] = (),
        cookies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request, and return its response; without C{cookies}, with those of the browser."""
        jar = self.cookies if cookies is None else cookies
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [] if host is None else [f"Host: {host}"]
        lines += [f"Cookie: {'; '.join(f'{name}={value}' for name, value in jar.items())}"] if jar else []
        lines += [f"{name}: {value}" for name, value in fields]
        lines += [f"Content-Length: {len(body)}"] if body or method == "POST" else []
        transport = self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.received(transport)

    def received(self, transport: StringTransportWithDisconnection) -> Response:
        """Parse a response, and store its cookies."""
        head, _, body = transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            fields.setdefault(name.lower(), []).append(value)
        for cookie in fields.get("set-cookie", ()):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value:
                self.cookies[name] = value
        page = body.decode("utf-8")
        token = re.search(r'name="csrf" value="([^"]*)"', page)
        if token is not None:
            self.csrf = unescape(token[1])
        return Response(int(first.split(" ")[1]), fields, page)

    def get(self, path: str, **more: Any) -> Response:
        """Open a page."""
        return self.request("GET", path, **more)

    def post(self, path: str, form: Mapping[str, Any] | None = None, **more: Any) -> Response:
        """Send a form with the token of the session, as a page of the console does."""
        values = {"csrf": self.csrf, **(form or {})}
        fields = more.pop("fields", [("Origin", ORIGIN), ("Sec-Fetch-Site", "same-origin")])
        kind = more.pop("kind", "application/x-www-form-urlencoded")
        body = urlencode(values, doseq=True).encode()
        return self.request("POST", path, body, fields=[*fields, ("Content-Type", kind)], **more)

    def sign_in(self, token: str = ADMIN) -> Response:
        """Sign in, and load a page, so that the browser knows the token of forms."""
        response = self.post("/console/sign-in", {"token": token})
        if response.status == 303:
            self.get("/console/nothing-here")
        return response
