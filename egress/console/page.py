"""The vocabulary of pages: routes, the visits that they respond to, and their results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from egress.console.paths import ROOT as ROOT
from egress.console.sessions import Session
from egress.model.change import Actor

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from egress.console.sources import ConsoleSources


class Refused(Exception):
    """A request that the visitor can repair; the page shows the text.

    @ivar status: the status of the response.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@attrs.frozen(kw_only=True)
class Visit:
    """A request that the site has checked.

    @ivar session: the session of the visitor.
    @ivar path: the path of the request.
    @ivar query: the values of each parameter of the URL.
    @ivar form: the values of each field of the form.
    @ivar arguments: the parts of the path that the route names.
    @ivar actor: who makes the changes of this visit.
    @ivar continues: returns whether the session continues, and uses it; for streams.
    """

    session: Session
    path: str = ROOT
    query: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    form: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    actor: Actor = attrs.field(default=Actor(role="viewer", place="console"))
    continues: Callable[[], bool] = lambda: True

    @property
    def may_change(self) -> bool:
        """Whether the visitor may change anything; a page shows buttons only then."""
        return self.session.may_change

    def parameter(self, name: str, default: str = "") -> str:
        """Return the last value of a parameter of the URL."""
        return self.query[name][-1] if self.query.get(name) else default

    def field(self, name: str, default: str = "") -> str:
        """Return the last value of a field of the form."""
        return self.form[name][-1] if self.form.get(name) else default


@attrs.frozen
class Html:
    """A page from a template.

    @ivar template: the name of the template.
    @ivar values: the variables of the template.
    @ivar status: the status of the response.
    """

    template: str
    values: Mapping[str, Any] = attrs.field(factory=dict)
    status: HTTPStatus = HTTPStatus.OK


@attrs.frozen
class Redirect:
    """A redirection after a form, so that a reload of the page does not send the form again.

    @ivar path: a path of the console.
    """

    path: str


@attrs.frozen
class Download:
    """Content that is not a page.

    @ivar content: the content.
    @ivar media_type: its media type.
    @ivar filename: the name of the file that the browser saves; C{None}: the browser shows the content.
    """

    content: bytes
    media_type: str
    filename: str | None = None


class EventSink(Protocol):
    """The receiver of the events of a stream."""

    @property
    def is_writable(self) -> bool:
        """Whether the browser has received the earlier events."""

    def send(self, event: str, data: str) -> None:
        """Send one event."""

    def end(self) -> None:
        """End the stream."""


@attrs.frozen
class EventStream:
    """A stream of server-sent events.

    @ivar begin: called when the stream begins; returns a function that is called when it has ended.
    """

    begin: Callable[[EventSink], Callable[[], None]]


Result = Html | Redirect | Download | EventStream
Respond = Callable[[Visit], "Result | Deferred[Result] | Awaitable[Result]"]


@attrs.frozen
class Route:
    """A method and a path, with the function that responds.

    @ivar method: C{GET} or C{POST}.
    @ivar path: a path below L{ROOT}, as in C{/requests/<id>}; the syntax of C{werkzeug.routing}.
    @ivar respond: makes the result.
    @ivar changes: whether a C{POST} changes anything, which a viewer may not do.
    """

    method: str
    path: str
    respond: Respond
    changes: bool = True


@attrs.frozen(kw_only=True)
class Page:
    """One part of the console.

    @ivar name: the path of the page below L{ROOT}, without the slash.
    @ivar title: the title, in the navigation and in the window.
    @ivar order: the position in the navigation; C{None}: the navigation does not have the page.
    @ivar routes: makes the routes; a console calls it once.
    @ivar count: returns the number next to the entry in the navigation, such as that of pending approvals.
    @ivar examples: paths below L{ROOT} that browser tests check; C{/NAME} if it is empty.
    """

    name: str
    title: str
    order: int | None = None
    routes: Callable[[ConsoleSources], Sequence[Route]]
    count: Callable[[ConsoleSources], Deferred[int]] | None = None
    examples: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path of the page."""
        return f"{ROOT}/{self.name}"
