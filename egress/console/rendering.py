"""Pages from templates, which escape every value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined

from egress import __version__
from egress.console import formats
from egress.console.page import ROOT

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@attrs.frozen
class StaticFile:
    """A file whose path changes with its content, so that browsers may cache it.

    @ivar path: the path.
    @ivar content: the content.
    @ivar media_type: the media type.
    """

    path: str
    content: bytes
    media_type: str


def static_files() -> dict[str, StaticFile]:
    """Load the static files, by name."""
    found = {}
    for entry in files("egress.console").joinpath("static").iterdir():
        stem, dot, ending = entry.name.rpartition(".")
        media_type = _TYPES.get(dot + ending)
        if media_type is not None:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            found[entry.name] = StaticFile(f"{ROOT}/static/{stem}.{digest}.{ending}", content, media_type)
    return found


class Renderer:
    """Renders templates.  Each template is compiled once.

    @ivar static: the static files, by path.
    """

    def __init__(self) -> None:
        found = static_files()
        self.static = {file.path: file for file in found.values()}
        self._environment = Environment(
            loader=PackageLoader("egress.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.filters.update(
            number=formats.number,
            size=formats.size,
            ms=formats.milliseconds,
            seconds=formats.seconds,
            moment=formats.moment,
            clock_time=formats.clock_time,
            day=formats.day,
        )
        self._environment.globals.update(
            root=ROOT, version=__version__, static={name: file.path for name, file in found.items()}
        )

    def render(self, template: str, values: Mapping[str, Any]) -> bytes:
        """Render a page in UTF-8."""
        text = self._environment.get_template(template).render(values)
        # Lone surrogates, as in names of files, cannot be encoded.
        return text.encode("utf-8", "replace")
