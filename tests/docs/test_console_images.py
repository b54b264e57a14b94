"""The images of the web console in the documentation are those that the browser tests take."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.console_images import IMAGES, IMAGES_OF_PAGES, MAX_BYTES, ROOT, assert_image

# Only the images of the console: the recording of a terminal has a command of its own.
_IMAGE = re.compile(r"!\[[^\]]+\]\(([^)]*images/(console-[^)/]+))\)")


class ConsoleImagesTests(SynchronousTestCase):
    """Run L{tests.integration.test_console} with C{EGRESS_CONSOLE_IMAGES=1} to write them again."""

    def test_images(self) -> None:
        """The documentation shows each image that the tests take, and no other one."""
        names = {image.name for image in IMAGES_OF_PAGES}
        shown = set()
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
            for path, name in _IMAGE.findall(page.read_text(encoding="utf-8")):
                self.assertEqual(Path(page.parent, path).resolve(), (IMAGES / name).resolve(), page)
                shown.add(name)
        self.assertEqual(shown, names)
        self.assertEqual({path.name for path in IMAGES.glob("console-*")}, names)

    def test_files(self) -> None:
        for image in IMAGES_OF_PAGES:
            with self.subTest(image.name):
                assert_image(self, IMAGES / image.name)
                self.assertLessEqual((IMAGES / image.name).stat().st_size, MAX_BYTES)
