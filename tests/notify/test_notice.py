"""Tests for L{egress.notify.notice}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.notify import NotifyEvent
from egress.notify.notice import Notice, denial_data, denial_key, host_of
from tests.observability.records import ALLOWED

DENIED = attrs.evolve(ALLOWED, verdict="deny", outcome="denied", url="https://u:hunter2@a.test:8443/x?token=hunter2")


class NoticeTests(SynchronousTestCase):
    """A notice is passed to another process as text."""

    def test_text(self) -> None:
        notice = Notice(NotifyEvent.AUDIT, "a \u20ac\nb", {"reason": None, "n": [1]}, 7)
        self.assertEqual(Notice.from_text(notice.to_text()), notice)


class DenialTests(SynchronousTestCase):
    """The facts about a denial."""

    def test_hosts(self) -> None:
        for url, expected in (
            ("https://a.test/x", "a.test"),
            ("http://u:p@a.test:8080?x", "a.test:8080"),
            ("https://a.test#f/@b.test", "a.test"),
            ("a.test:443", "a.test:443"),
            ("[::1]:443", "[::1]:443"),
            ("", ""),
        ):
            with self.subTest(url):
                self.assertEqual(host_of(url), expected)
        self.assertLess(len(host_of("https://" + "a" * 10_000)), 600)

    def test_key(self) -> None:
        self.assertEqual(denial_key(DENIED), (DENIED.rule_id, "a.test:8443", DENIED.client.address))

    def test_no_secrets(self) -> None:
        data = denial_data(DENIED)
        self.assertNotIn("hunter2", repr(data))
        self.assertEqual((data["requestId"], data["host"]), (DENIED.request_id, "a.test:8443"))

    def test_long_texts(self) -> None:
        long = "x" * 100_000
        client = attrs.evolve(DENIED.client, identity=long)
        record = attrs.evolve(
            DENIED, url=f"https://a.test/{long}", reason=long, method=long, rule_id=long, client=client
        )
        self.assertLess(len(repr(denial_data(record))), 6000)
