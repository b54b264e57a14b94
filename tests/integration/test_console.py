"""The web console in Chromium, and the attacks on it that fail."""

from __future__ import annotations

import atexit
import http.client
import json
import subprocess
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import attrs

from egress.cli.admin_client import AdminApi
from egress.config.admin_endpoint import AdminEndpoint
from egress.console.endpoint import HISTORY
from egress.console.registry import all_pages
from egress.model.decision import ClientIdentity
from egress.model.record import ExchangeRecord
from egress.store.sqlite import open_store
from tests.integration import console_images
from tests.integration.base import DENY_CLOSED, ONE_PROCESS, IntegrationTestCase, Proxy, run_egress
from tests.integration.console_browser import PHONE, ConsoleChromium
from tests.integration.processes import free_port
from tests.observability.records import ALLOWED

ADMIN = "hunter2-of-the-admin"
VIEWER = "hunter2-of-the-viewer"
WINDOW = {"width": 1280, "height": 800}


@cache
def chromium() -> ConsoleChromium:
    """Start one browser for all tests."""
    browser = ConsoleChromium()
    atexit.register(browser.close)
    return browser


def old_record(name: str, seconds: float, **fields: Any) -> ExchangeRecord:
    """Return a record of a request that began some seconds ago."""
    now = time.time() - seconds
    values: dict[str, Any] = {
        "time": now,
        "request_id": name,
        "client": ClientIdentity("192.0.2.7", 40000, "ci"),
        "stage": "request",
        "method": "POST",
        "url": "https://api.example/v1/items?page=2",
        "verdict": "deny",
        "outcome": "denied",
        "reason": "this path is closed",
        "decided_by": "policy policy.toml",
        "rule_id": "closed",
        "decision_seconds": 0.0002,
        "status": 403,
        "bytes_sent": 0,
        "bytes_received": 0,
        "duration": 0.012,
        "address": None,
        "upstream": None,
        "observed": None,
        "source": None,
        "phases": [("request", now), ("decision", now + 0.002)],
        "request_headers": (("Accept", "application/json"), ("Authorization", "Bearer REDACTED")),
        "response_headers": None,
        "trace": None,
    }
    return attrs.evolve(ALLOWED, **{**values, **fields})


class ConsoleTestCase(IntegrationTestCase):
    """Base: a proxy with a console, and a store with two old records."""

    def prepare(self, policy: str) -> None:
        """Write the files of a proxy, and set its options."""
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.store = self.directory / "audit.db"
        self.policy = self.write("policy.toml", policy)
        self.options = (
            *("--policy", str(self.policy), "--admin", f"tcp:{self.port}"),
            *("--admin-token-file", str(self.write("admin-token", ADMIN))),
            *("--admin-viewer-token-file", str(self.write("viewer-token", VIEWER))),
            *("--audit-store", f"sqlite:{self.store}"),
        )

    def start(self, *options: str) -> Proxy:
        self.prepare(DENY_CLOSED)
        return self.start_proxy(*self.options, *options)

    def insert(self, *records: ExchangeRecord) -> None:
        store = open_store(self.store)
        store.append(records)
        store.close()

    def code(self) -> str:
        """Return a code that signs a browser in."""
        api = AdminApi(AdminEndpoint.parse(self.origin), ADMIN)
        path: str = api.call("POST", "/console-sessions", {"role": "admin"})["path"]
        return path.partition("code=")[2]


class BrowserTests(ConsoleTestCase):
    """The pages in a real browser."""

    def test_live(self) -> None:
        """Sign in by the link of C{egress console}, see a denial within a second, and open it; with two workers."""
        proxy = self.start("--workers", "2")
        self.insert(old_record("hour-old", 3700), old_record("older", 7300, url="https://other.example/"))
        token = str(self.directory / "admin-token")
        done = run_egress("console", "--admin", self.origin, "--token-file", token)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW)
        browser.page("goto", done.stdout.splitlines()[0])
        # The script of the page sends the form.
        browser.page("waitForURL", f"{self.origin}/console/live")
        browser.wait_for("text=https://api.example/v1/items?page=2")
        browser.until("document.getElementById('state').textContent === 'Live'")

        # The delay of three denials: from the time of the record until the row is in the page.
        browser.page(
            "evaluate",
            "new MutationObserver((changes) => { for (const { addedNodes } of changes) for (const row of addedNodes)"
            " if (row.dataset) row.dataset.delay = Date.now() - Date.parse(row.querySelector('time').dateTime); })"
            ".observe(document.getElementById('rows'), { childList: true })",
        )
        delays = []
        for number in range(3):
            self.assert_problem(proxy, self.origins.https_url(f"/closed/{number}"), 403, "authz")
            row = f"#rows tr:has-text('/closed/{number}')"
            browser.wait_for(row)
            delays.append(float(browser.page("getAttribute", row, "data-delay")))
        self.assertLess(min(delays), 1000, delays)

        browser.page("click", "#rows a:has-text('/closed/1')")
        browser.page("waitForURL", f"{self.origin}/console/requests/*")
        text = browser.text()
        for part in ("deny", "this path is closed", "Wait for the decision", "closed", "127.0.0.1"):
            self.assertIn(part, text)

        # Find the old record while typing.
        browser.goto("/console/live")
        browser.page("fill", "#filter", "host:api.example until:1h verdict:deny")
        browser.until("document.querySelectorAll('#rows tr').length === 1")
        self.assertIn("https://api.example/v1/items?page=2", browser.text("#rows"))
        self.assertIn("q=host", browser.page("url"))
        browser.page("fill", "#filter", "verdct:deny")
        browser.wait_for("#filter[aria-invalid=true]")
        self.assertIn("Character 1: there is no field verdct: did you mean verdict?", browser.text("#filter-error"))
        # The rows of the last complete filter remain.
        self.assertIn("https://api.example/v1/items?page=2", browser.text("#rows"))
        browser.page("fill", "#filter", "host:nothing.example")
        browser.wait_for("text=No decision matches this filter")
        browser.page("fill", "#filter", "")
        browser.wait_for("#rows tr:nth-child(4)")

        # Pause and resume.
        browser.page("click", "#pause")
        self.fetch(proxy, self.origins.https_url("/json"))
        browser.until("document.getElementById('state').textContent === 'Paused, 1 new'")
        self.assertNotIn("/json", browser.text("#rows"))
        browser.page("click", "text=Resume")
        browser.wait_for("#rows tr:has-text('/json')")
        self.assertEqual(browser.problems(), [])

    def test_burst(self) -> None:
        """The page has at most 200 rows, and says how many more there were."""
        self.start(*ONE_PROCESS)
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW)
        browser.sign_in(VIEWER)
        browser.until("document.getElementById('state').textContent === 'Live'")
        for number in range(4):
            self.insert(*(old_record(f"burst-{number}-{each}", 0) for each in range(900)))
        browser.until("/^Live, [0-9\\u202f]+ more$/.test(document.getElementById('state').textContent)")
        browser.until("document.querySelector('#rows tr').dataset.id.startsWith('burst-3-')")
        self.assertLessEqual(int(browser.page("evaluate", "document.querySelectorAll('#rows tr').length")), 200)
        self.assertEqual(browser.problems(), [])

    def test_every_page(self) -> None:
        """axe-core finds nothing, in light and dark, and on a phone; nothing fails in the console of the browser.

        The images of the documentation show the same pages.
        """
        proxy = self.start_with_examples()
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW)
        found: dict[str, list[str]] = {}
        browser.goto("/console/sign-in")
        self.audit(browser, "/console/sign-in", found)
        browser.sign_in(ADMIN)
        upload = self.upload(proxy)
        browser.goto("/console/approvals")
        browser.wait_for("article.approval")
        paths = [f"/console{path}" for page in all_pages() for path in (page.examples or (f"/{page.name}",))]
        images = {image.path: image for image in console_images.IMAGES_OF_PAGES}
        for path in (*paths, f"/console/requests/{console_images.DETAIL}", "/console/nothing"):
            status = browser.goto(path)
            self.assertIn(status, (200, 404), path)
            self.assertEqual(status == 404, path == "/console/nothing", path)
            problems = [each for each in browser.problems() if "404 (Not Found)" not in each]
            found.update({path: problems} if problems else {})
            self.audit(browser, path, found)
            if path in images:
                image = images.pop(path)
                console_images.take(browser, image, self.directory)
                console_images.assert_image(self, self.directory / image.name)
        self.assertEqual((found, images), ({}, {}))
        upload.kill()

    def start_with_examples(self) -> Proxy:
        """Start a proxy with a policy, records, and numbers of the last hour."""
        ca = self.directory / "ca"
        ca.mkdir(mode=0o700)
        (ca / HISTORY).write_text(json.dumps(console_images.history(time.time()).to_json()), "ascii")
        self.prepare(console_images.POLICY)
        proxy = Proxy(self.directory, *self.options, *ONE_PROCESS)
        self.addCleanup(self.stop_cleanly, proxy.process)
        now = time.time()
        old = (old_record("example", 3700), old_record("forwarded", 3600, verdict="allow", outcome="forwarded"))
        self.insert(*old, console_images.detail(now - 60), *console_images.records(now))
        return proxy

    def upload(self, proxy: Proxy) -> subprocess.Popen[bytes]:
        """Send a request that waits for an approval."""
        command = [
            *("curl", "-sS", "--max-time", "120", "--noproxy", "", "-x", proxy.url, "--cacert", str(proxy.ca)),
            *("-H", "Content-Type: application/json", "-H", "Authorization: Bearer hunter2"),
            *("--data", console_images.UPLOAD["content"], console_images.UPLOAD["url"]),
        ]
        found = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(found.wait)
        self.addCleanup(found.kill)
        return found

    def audit(self, browser: ConsoleChromium, path: str, found: dict[str, list[str]]) -> None:
        """Audit the current page in each appearance."""
        for scheme, size in (("light", WINDOW), ("dark", WINDOW), ("light", PHONE)):
            browser.page("emulateMedia", {"colorScheme": scheme})
            browser.page("setViewportSize", size)
            problems = browser.audit()
            if problems:
                found[f"{path} {scheme} {size['width']}"] = problems
        browser.page("emulateMedia", {"colorScheme": "light"})
        browser.page("setViewportSize", WINDOW)

    def test_without_script(self) -> None:
        """Sign in, filter, page, and sign out without script; the keyboard reaches the content first."""
        self.start(*ONE_PROCESS)
        self.insert(*(old_record(f"r{each}", 60 + each) for each in range(120)))
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW, javaScriptEnabled=False)
        browser.sign_in(ADMIN)
        browser.press("Tab")
        browser.press("Enter")
        self.assertTrue(str(browser.page("url")).endswith("#main"))
        browser.page("fill", "#filter", "client:ci")
        browser.page("click", "main form button")
        browser.page("click", "text=Older decisions")
        browser.wait_for("text=Newest decisions")
        self.assertIn("before=", browser.page("url"))
        browser.page("click", "text=Sign out")
        browser.page("waitForURL", f"{self.origin}/console/sign-in")
        browser.goto("/console/live")
        self.assertIn("Sign in", browser.text())


class Evil(BaseHTTPRequestHandler):
    """A page on another port of this machine, to which the browser sends the cookies of the console."""

    target = ""

    def do_GET(self) -> None:
        body = f"""<!doctype html><title>evil</title>
<a href="{self.target}/console/requests/linked?from=chat">a link in a message</a>
<form method="post" action="{self.target}/console/sign-out"><input name="csrf" value="x"></form>
<iframe src="{self.target}/console/live"></iframe>
<script>
globalThis.done = (async () => {{
  const results = [];
  for (const [path, init] of [
    ["/console/live", {{}}],
    ["/console/sign-out", {{ method: "POST", body: new URLSearchParams({{ csrf: "x" }}) }}],
    ["/approvals", {{}}],
    ["/console-sessions", {{ method: "POST", body: "{{}}", headers: {{ "Content-Type": "application/json" }} }}],
  ]) for (const mode of ["cors", "no-cors"]) {{
    try {{
      const response = await fetch("{self.target}" + path, {{ ...init, mode, credentials: "include" }});
      results.push([path, mode, response.type, await response.text()]);
    }} catch (error) {{ results.push([path, mode, "failed", ""]); }}
  }}
  return results;
}})();
</script>""".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class AttackTests(ConsoleTestCase):
    """Pages of other origins, forged hosts, viewers, and forms without a token change nothing."""

    def other_origin(self) -> int:
        """Serve the page of another origin; return its port."""
        Evil.target = self.origin
        server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    def test_link_from_another_site(self) -> None:
        """A link in a notification opens its page: in a browser that is signed in, and after a sign-in."""
        self.start(*ONE_PROCESS)
        self.insert(old_record("linked", 60))
        message = f"http://localhost:{self.other_origin()}/"
        linked = f"{self.origin}/console/requests/linked?from=chat"
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW)
        browser.page("goto", message)
        browser.page("click", "text=a link in a message")
        browser.page("fill", "#token", VIEWER)
        browser.page("click", "main button")
        browser.page("waitForURL", linked)
        browser.page("goto", message)
        browser.page("click", "text=a link in a message")
        browser.page("waitForURL", linked)
        self.assertIn("https://api.example/v1/items?page=2", browser.text())

    def test_other_origin(self) -> None:
        self.start(*ONE_PROCESS)
        evil = f"http://127.0.0.1:{self.other_origin()}/"
        browser = chromium()
        browser.open(self.origin, viewport=WINDOW)
        browser.sign_in(ADMIN)
        browser.page("goto", evil)
        for path, mode, kind, text in browser.page("evaluate", "globalThis.done"):
            with self.subTest((path, mode)):
                self.assertIn(kind, ("failed", "opaque"))
                self.assertEqual(text, "")
        self.assertEqual(browser.page("evaluate", "document.querySelector('iframe').contentDocument"), None)
        browser.page("evaluate", "document.forms[0].submit()")
        browser.wait_for("text=Only a page of the console can send this form.")
        self.assertEqual(browser.goto("/console/live"), 200)
        self.assertIn("Live decisions", browser.text())

    def request(
        self, method: str, path: str, form: dict[str, str] | None = None, **fields: str
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body = None if form is None else urlencode(form)
        kind = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request(
                method, path, body, {**kind, **{name.replace("_", "-"): v for name, v in fields.items()}}
            )
            response = connection.getresponse()
            return (
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read().decode(),
            )
        finally:
            connection.close()

    def session(self, token: str) -> tuple[str, str]:
        """Sign in; return the cookie, and the token of forms."""
        status, fields, _ = self.request("POST", "/console/sign-in", {"token": token}, Origin=self.origin)
        self.assertEqual(status, 303)
        cookie = fields["set-cookie"].partition(";")[0]
        page = self.request("GET", "/console/live", Cookie=cookie)[2]
        return cookie, page.partition('name="csrf" value="')[2].partition('"')[0]

    def test_requests(self) -> None:
        """Each request lacks one thing, and is rejected; with all of them, it is not."""
        self.start(*ONE_PROCESS)
        cookie, csrf = self.session(ADMIN)
        viewer, viewer_csrf = self.session(VIEWER)
        # Every form of the console that changes something: a path of each page with a route for POST.
        path = "/console/approvals/none"
        right = {"Cookie": cookie, "Origin": self.origin}
        form = {"csrf": csrf, "answer": "once"}
        for status, words, given, fields in (
            (421, "host name", form, {**right, "Host": "evil.example"}),
            (421, "host name", form, {**right, "Host": f"127.0.0.1.evil.example:{self.port}"}),
            (403, "Only a page of the console", form, {"Cookie": cookie}),
            (403, "Only a page of the console", form, {**right, "Origin": "http://evil.example"}),
            (403, "Only a page of the console", form, {**right, "Origin": "null"}),
            (403, "Only a page of the console", form, {**right, "Sec_Fetch_Site": "same-site"}),
            (403, "not from this session", {**form, "csrf": ""}, right),
            (403, "not from this session", {**form, "csrf": viewer_csrf}, right),
            (403, "viewer", {**form, "csrf": viewer_csrf}, {**right, "Cookie": viewer}),
            (401, "session has ended", form, {"Origin": self.origin}),
            (401, "session has ended", form, {**right, "Cookie": "egress_session=planted"}),
            (413, "longer than", {**form, "body": "x" * 300_000}, right),
        ):
            with self.subTest((status, words, tuple(fields))):
                found, headers, page = self.request("POST", path, given, **fields)
                self.assertEqual(found, status, page)
                self.assertIn(words, page)
                self.assertIn("default-src 'none'", headers["content-security-policy"])
        self.assertNotIn(self.request("POST", path, form, **right)[0], (401, 403, 404, 413, 421))
        self.assertEqual(self.request("POST", "/console/sign-out", {"csrf": csrf}, **right)[0], 303)
        self.assertEqual(self.request("GET", "/console/live", Cookie=cookie)[0], 303)

    def test_code_is_used_once(self) -> None:
        self.start(*ONE_PROCESS)
        form = {"code": self.code()}
        self.assertEqual(self.request("POST", "/console/sign-in", form, Origin=self.origin)[0], 303)
        self.assertEqual(self.request("POST", "/console/sign-in", form, Origin=self.origin)[0], 403)
