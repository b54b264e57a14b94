"""The images of the web console exist, are small, and are in the documentation."""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.console_images import IMAGES, IMAGES_OF_PAGES, MAX_BYTES, ROOT


class ConsoleImagesTests(SynchronousTestCase):
    """Run C{python -m tests.docs.console_images} to write them again."""

    def test_images(self) -> None:
        page = (ROOT / "docs" / "how-to" / "console.md").read_text(encoding="utf-8")
        for image in IMAGES_OF_PAGES:
            with self.subTest(image.name):
                content = (IMAGES / image.name).read_bytes()
                self.assertLessEqual(len(content), MAX_BYTES)
                self.assertEqual(content[:8], b"\x89PNG\r\n\x1a\n")
                self.assertEqual(struct.unpack(">II", content[16:24]), (1200, 720))
                self.assertRegex(page, rf"!\[[^]]+\]\(\.\./images/{image.name}\)")

    def test_no_others(self) -> None:
        """No image remains that nothing writes."""
        found = {path.name for path in IMAGES.glob("console-*.png")}
        self.assertEqual(found, {image.name for image in IMAGES_OF_PAGES})
