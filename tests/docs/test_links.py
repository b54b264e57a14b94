"""Links between pages work on GitHub as well as in Sphinx: relative paths of files, no roles."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
KINDS = ("tutorials", "how-to", "reference", "explanation")
SUBDIRECTORIES = ("explanation/decisions/index", "reference/api/index")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)\s]*)?\)")
ROLE = re.compile(r"\{(?:doc|ref)\}`")


class LinkTests(SynchronousTestCase):
    """Each link of each page; Sphinx checks the anchors."""

    def test_targets(self) -> None:
        found = 0
        for page in PAGES:
            for link in LINK.findall(page.read_text("utf-8")):
                with self.subTest(page=page.name, link=link):
                    found += 1
                    self.assertTrue((page.parent / link).is_file())
        self.assertGreater(found, 50)

    def test_no_roles(self) -> None:
        """GitHub renders no roles of Sphinx."""
        self.assertEqual([page.name for page in PAGES if ROLE.search(page.read_text("utf-8"))], [])


class LayoutTests(SynchronousTestCase):
    """Pages are ordered by what a reader wants of them (https://diataxis.fr)."""

    def test_every_page_in_the_index(self) -> None:
        """Each page is in the part of the index that its directory names."""
        entries = re.findall(r"^([a-z-]+/[a-z0-9/-]+)$", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE)
        pages = [page.relative_to(DOCS).with_suffix("") for kind in KINDS for page in (DOCS / kind).glob("*.md")]
        self.assertEqual(sorted(entries), sorted([*map(str, pages), *SUBDIRECTORIES]))
        kinds = [entry.partition("/")[0] for entry in entries]
        self.assertEqual(kinds, sorted(kinds, key=KINDS.index))
