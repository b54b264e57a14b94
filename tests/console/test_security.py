"""Tests for L{egress.console.security}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console import security


class OriginTests(SynchronousTestCase):
    """Which requests a page of the console sends."""

    def test_changes(self) -> None:
        host = b"localhost:9099"
        own = b"http://localhost:9099"
        for origins, sites, expected in (
            ([own], [b"same-origin"], True),
            ([own], [], True),
            ([b"https://LOCALHOST:9099"], [], True),
            ([], [b"same-origin"], False),
            ([], [], False),
            ([b"null"], [b"same-origin"], False),
            ([own], [b"same-site"], False),
            ([own], [b"none"], False),
            ([own], [b"same-origin", b"same-origin"], False),
            ([own, own], [], False),
            ([b"http://localhost:9098"], [], False),
            ([b"http://localhost"], [], False),
            ([b"http://evil.test"], [b"cross-site"], False),
            ([b"ftp://localhost:9099"], [], False),
            ([own + b".evil.test"], [], False),
            ([b"\xff"], [], False),
        ):
            with self.subTest((origins, sites)):
                self.assertIs(security.is_own_origin(host, origins, sites), expected)

    def test_reads(self) -> None:
        for sites, destinations, expected in (
            ([], [], False),
            ([b"none"], [b"document"], False),
            ([b"same-origin"], [b"empty"], False),
            ([b"cross-site"], [b"document"], False),
            ([b"cross-site"], [b"image"], True),
            ([b"same-site"], [b"empty"], True),
            ([b"cross-site"], [b"iframe"], True),
            ([b"cross-site"], [], True),
        ):
            with self.subTest((sites, destinations)):
                self.assertIs(security.is_foreign_read(sites, destinations), expected)

    def test_form(self) -> None:
        for given, expected in (
            (["abc"], True),
            ([], False),
            (["abd"], False),
            (["abc", "abc"], False),
            (["é"], False),
        ):
            with self.subTest(given):
                self.assertIs(security.is_own_form("abc", given), expected)


class CookieTests(SynchronousTestCase):
    """The cookie of a session."""

    def test_set(self) -> None:
        """Consoles on several ports of a host have cookies of their own."""
        for host, name in (
            (b"localhost", "egress_session"),
            (b"localhost:9099", "egress_session_9099"),
            (b"[::1]", "egress_session"),
            (b"[::1]:9099", "egress_session_9099"),
        ):
            with self.subTest(host):
                attributes = "Path=/; HttpOnly; SameSite=Strict"
                self.assertEqual(security.set_cookie(host, "abc", secure=False), f"{name}=abc; {attributes}")
                self.assertEqual(
                    security.set_cookie(host, "abc", secure=True), f"__Host-{name}=abc; Secure; {attributes}"
                )
        self.assertIn("Max-Age=0", security.set_cookie(b"localhost", "", secure=False))

    def test_get(self) -> None:
        values = [b"a=1; egress_session=x;egress_session=y", b"__Host-egress_session=z", b"egress_session=", b"\xff"]
        self.assertEqual(security.session_ids(b"localhost", [*values, b"egress_session_1=p"]), ["x", "y", "z"])
        self.assertEqual(security.session_ids(b"localhost:1", [*values, b"egress_session_1=p"]), ["p"])

    def test_policy(self) -> None:
        """No inline code, and nothing from another host."""
        self.assertNotIn("unsafe", security.POLICY)
        self.assertNotIn("http", security.POLICY)
        self.assertIn("default-src 'none'", security.POLICY)
        self.assertIn("frame-ancestors 'none'", security.POLICY)
