"""The routes of the pages, as an application of klein."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from egress.console.page import ROOT, Page
from egress.console.sources import ConsoleSources

if TYPE_CHECKING:
    from klein import Klein


def application(
    pages: Sequence[Page],
    sources: ConsoleSources,
    respond: Callable[..., Deferred[object]],
    failed: Callable[[Request, Failure], bytes],
) -> Klein:
    """Make the application.

    @param pages: the pages.
    @param sources: the data of the pages.
    @param respond: responds to a request for a route of a page.
    @param failed: responds to a request without a route, or whose route failed.
    """
    # klein loads the reactor: an application that embeds the proxy chooses it first.
    from klein import Klein  # noqa: PLC0415 - see above

    application = Klein()
    for page in pages:
        for route in page.routes(sources):
            endpoint = f"{route.method} {route.path}"

            handle: Any = partial(respond, route, page)
            handle.__name__ = endpoint
            application.route(
                ROOT + route.path, methods=[route.method], endpoint=endpoint, strict_slashes=True, merge_slashes=False
            )(handle)
    application.handle_errors(Exception)(failed)  # type: ignore[arg-type]
    return application
