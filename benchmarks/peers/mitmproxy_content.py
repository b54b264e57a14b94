"""A second addon for mitmproxy, which decides on the content of requests; only the scorecard uses it.

It reads the content with mitmproxy's own decoders and parsers, and denies requests whose content they reject.
"""

from __future__ import annotations

import re

from mitmproxy import http

# As the authorizer of the scorecard, which also recognizes names of arrays.
_ADMIN = re.compile(r"\s*admin\s*(\[.*)?", re.IGNORECASE)


class ByContent:
    """Denies a JSON member C{environment} that begins with C{prod}, and a form field C{admin}."""

    def request(self, flow: http.HTTPFlow) -> None:
        """Deny the request on an exception, because mitmproxy would forward it."""
        if flow.response is not None:
            return
        try:
            denied = _is_denied(flow.request)
        except Exception:  # noqa: BLE001
            denied = True
        if denied:
            flow.response = http.Response.make(403, b"denied\n", {"Content-Type": "text/plain"})


def _is_denied(request: http.Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return str(request.json()["environment"]).startswith("prod")
    request.get_content(strict=True)
    names = [name.decode("latin-1") for name in request.multipart_form] or list(request.urlencoded_form)
    return not names or any(_ADMIN.fullmatch(name) for name in names)


addons = [ByContent()]
