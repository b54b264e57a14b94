"""The pages of the console."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from egress.console import pages
from egress.console.page import Page


def all_pages() -> tuple[Page, ...]:
    """Load the pages, in the order of the navigation."""
    names = sorted(module.name for module in iter_modules(pages.__path__))
    found: list[Page] = [import_module(f"{pages.__name__}.{name}").PAGE for name in names]
    return tuple(sorted(found, key=lambda page: (page.order is None, page.order or 0, page.name)))
