"""Tests for L{egress.console.sign_in}."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.console.sign_in import next_path
from tests.console.browser import ADMIN, COOKIE, HOST, VIEWER, ConsoleBrowser

SIGN_IN = "/console/sign-in"


class SignInTests(SynchronousTestCase):
    """People sign in with a token or a link."""

    def setUp(self) -> None:
        self.browser = ConsoleBrowser()

    def link(self, role: str = "admin", browser: ConsoleBrowser | None = None, status: int = 200) -> Any:
        body = json.dumps({"role": role}).encode()
        fields = [("Content-Type", "application/json"), ("Authorization", f"Bearer {ADMIN}")]
        response = (browser or self.browser).request("POST", "/console-sessions", body, fields=fields)
        self.assertEqual(response.status, status)
        return json.loads(response.body)

    def test_token(self) -> None:
        for token, words in ((ADMIN, ""), (f" {VIEWER}\n", "Viewer")):
            browser = ConsoleBrowser()
            self.assertIn("Sign in", browser.get(SIGN_IN).text)
            response = browser.sign_in(token)
            self.assertEqual((response.status, response.field("location")), (303, "/console/live"))
            self.assertIn("HttpOnly; SameSite=Strict", response.field("set-cookie") or "")
            self.assertIn(words, browser.get("/console/live").text)

    def test_link_from_another_site(self) -> None:
        """The browser sends no cookie with it, so a page of the console loads the page again."""
        foreign = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "document")]
        self.browser.sign_in(ADMIN)
        for path, refresh in (
            ("/console/live%3Fq%3D1", "0; url=/console/live?q=1"),
            ("//evil.example/", None),
            ("", None),
        ):
            response = self.browser.get(f"{SIGN_IN}?next={path}", fields=foreign)
            self.assertEqual((response.status, response.field("refresh")), (200, refresh))
        response = self.browser.get(f"{SIGN_IN}?next=/console/live", fields=[("Sec-Fetch-Site", "same-origin")])
        self.assertEqual(response.field("refresh"), None)

    def test_wrong_token(self) -> None:
        """The response to a wrong token is late, and shows a reason; the browser is not signed in."""
        for token in ("", ADMIN[:-1], ADMIN + "x", "é\x00"):
            transport = self.post(token)
            self.assertEqual(transport.value(), b"")
            self.browser.clock.advance(1)
            response = self.browser.received(transport)
            self.assertEqual((response.status, self.browser.cookies), (403, {}))
            self.assertIn("not the token of this proxy", response.text)
            if token:
                self.assertNotIn(token, response.body)

    def post(self, token: str = "", client: str = "127.0.0.1", **form: str) -> Any:
        """Send the form, without waiting for the response."""
        body = urlencode({"token": token, **form})
        head = f"POST {SIGN_IN} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\n"
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.browser.send((head + body).encode(), client)

    def test_many_wrong_tokens(self) -> None:
        for _ in range(4):
            self.post("wrong")
        response = self.browser.received(self.post(ADMIN))
        self.assertEqual((response.status, response.field("retry-after")), (429, "1"))
        self.assertEqual(self.browser.received(self.post(ADMIN, "127.0.0.2")).status, 303)
        self.browser.clock.advance(1)
        self.assertEqual(self.browser.received(self.post(ADMIN)).status, 303)

    def test_client_that_went_away(self) -> None:
        transport = self.post("wrong")
        transport.loseConnection()
        self.browser.clock.advance(60)
        self.assertEqual(transport.value(), b"")

    def test_link(self) -> None:
        for role in ("admin", "viewer"):
            found = self.link(role)
            self.assertEqual((found["role"], found["expiresIn"]), (role, 60))
            page = self.browser.get(found["path"])
            self.assertEqual(self.browser.cookies, {})
            code = found["path"].partition("code=")[2]
            self.assertIn(f'name="code" value="{code}"', page.body)
            self.assertEqual(self.browser.post(SIGN_IN, {"code": code}).status, 303)
            self.assertEqual(self.browser.get("/console/live").status, 200)
            self.browser.cookies.clear()

    def test_used_link(self) -> None:
        form = {"code": self.link()["path"].partition("code=")[2]}
        self.assertEqual(self.browser.post(SIGN_IN, form).status, 303)
        transport = self.post(**form)
        self.browser.clock.advance(1)
        response = self.browser.received(transport)
        self.assertEqual(response.status, 403)
        self.assertIn("Run egress console again", response.text)

    def test_links_need_the_admin_token(self) -> None:
        for token in (VIEWER, "x"):
            fields = [("Content-Type", "application/json"), ("Authorization", f"Bearer {token}")]
            response = self.browser.request("POST", "/console-sessions", b"{}", fields=fields)
            self.assertEqual(response.status, 401)
        self.assertIn('"viewer"', self.link("root", status=400)["error"])

    def test_links_over_a_socket(self) -> None:
        """Without a token, the mode of the socket restricts who can make a link; a browser still needs one."""
        browser = ConsoleBrowser(config=ProxyConfig(admin="unix:/run/admin.sock"))
        self.assertEqual(browser.get("/console/live").status, 303)
        self.assertNotIn('name="token"', browser.get(SIGN_IN).body)
        code = self.link(browser=browser)["path"].partition("code=")[2]
        self.assertEqual(browser.post(SIGN_IN, {"code": code}).status, 303)
        self.assertEqual(browser.get("/console/live").status, 200)

    def test_fixation(self) -> None:
        """A sign-in begins a session of its own, and ends the one that the browser had."""
        self.browser.sign_in()
        before = dict(self.browser.cookies)
        for planted in (before, {COOKIE: "planted"}):
            self.browser.cookies = dict(planted)
            self.browser.sign_in()
            self.assertNotEqual(self.browser.cookies, planted)
        self.assertEqual(self.browser.get("/console/live", cookies=before).status, 303)

    def test_sign_out(self) -> None:
        self.browser.sign_in()
        before = dict(self.browser.cookies)
        self.assertEqual(self.browser.get("/console/sign-out").status, 404)
        self.assertEqual(self.browser.post("/console/sign-out", {"csrf": "x"}).status, 403)
        response = self.browser.post("/console/sign-out")
        self.assertEqual((response.field("location"), self.browser.cookies), (SIGN_IN, {}))
        self.assertEqual(self.browser.get("/console/live", cookies=before).status, 303)

    def test_https(self) -> None:
        """Behind a reverse proxy with TLS, the cookie is only for https."""
        fields = [("Origin", f"https://{HOST}")]
        response = self.browser.post(SIGN_IN, {"token": ADMIN}, fields=fields)
        self.assertIn("__Host-egress_session_9099=", response.field("set-cookie") or "")
        self.assertIn("; Secure", response.field("set-cookie") or "")
        self.assertEqual(self.browser.get("/console/live").status, 200)

    def test_next(self) -> None:
        response = self.browser.get("/console/requests/x")
        page = self.browser.get(response.field("location") or "")
        self.assertIn('name="next" value="/console/requests/x"', page.body)
        response = self.browser.post(SIGN_IN, {"token": ADMIN, "next": "/console/requests/x"})
        self.assertEqual(response.field("location"), "/console/requests/x")

    def test_no_open_redirects(self) -> None:
        for path in (
            *("http://evil.test/", "//evil.test/", "/\\evil.test", "/console", "/other", "/console/\r\nX: y"),
            *("/console\\@evil.test", "javascript:alert(1)", "/console/sign-in", "/console/é", ""),
        ):
            with self.subTest(path):
                self.assertEqual(next_path(path), "")
                response = self.browser.post(SIGN_IN, {"token": ADMIN, "next": path})
                self.assertEqual(response.field("location"), "/console/live")
