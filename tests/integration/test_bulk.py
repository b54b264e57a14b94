"""Large bodies through interception: they are streamed, and memory does not grow."""

from __future__ import annotations

import json

from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.peers import BIG

MAX_GROWTH_KIB = 32 * 1024


class BulkTests(IntegrationTestCase):
    """2 GiB in each direction."""

    forked = False

    def peak(self, proxy: Proxy) -> int:
        """Return the peak resident set size of the proxy, in KiB."""
        return proxy.memory("VmHWM") // 1024

    def warmed_up(self) -> tuple[Proxy, int]:
        """Return a proxy that has handled every kind of request once, and its peak by then."""
        proxy = self.start_proxy(*self.allow_all())
        self.fetch(proxy, self.origins.https_url("/files/hello.txt"))
        self.fetch(proxy, self.origins.https_url("/sink"), "-d", "content")
        return proxy, self.peak(proxy)

    def test_download(self) -> None:
        proxy, before = self.warmed_up()
        url = self.origins.https_url("/files/big")
        done = self.curl(proxy, "-o", "/dev/null", "-w", "%{size_download}", url, seconds=300)
        self.assertEqual(done.stdout, str(BIG), done.stderr)
        self.assertLess(self.peak(proxy) - before, MAX_GROWTH_KIB)

    def test_upload(self) -> None:
        proxy, before = self.warmed_up()
        upload = str(self.origins.directory / "www" / "files" / "big")
        done = self.curl(proxy, "-T", upload, self.origins.https_url("/sink"), seconds=300)
        self.assertEqual(json.loads(done.stdout)["bytes"], BIG, done.stderr)
        self.assertLess(self.peak(proxy) - before, MAX_GROWTH_KIB)
