"""The images of the web console in the documentation, which L{tests.integration.test_console} takes, and their data.

After a change of the pages, run this test with C{EGRESS_CONSOLE_IMAGES=1}: then it also writes the images to
C{docs/images}.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import TestCase

import attrs

from egress.model.decision import ClientIdentity
from egress.model.record import ExchangeRecord
from egress.observability.history import History, Reading
from tests.integration.console_browser import ConsoleChromium
from tests.observability.records import ALLOWED

ROOT: Final = Path(__file__).parent.parent.parent
IMAGES: Final = ROOT / "docs" / "images"
MAX_BYTES: Final = 160_000
"""The maximum size of an image."""

WINDOW: Final = {"width": 1200, "height": 720}
"""The size of the window."""

DETAIL: Final = "5f1d7c02a6e84b3f9d20c7aa"
"""The request whose page is an image."""

POLICY: Final = """version = 1

[[rules]]
id = "no-deletes"
action = "deny"
reason = "nothing is deleted from here"
hosts = ["api.example.com"]
methods = ["DELETE"]

[[rules]]
id = "packages"
action = "allow"
hosts = ["registry.npmjs.org", "pypi.org", "files.pythonhosted.org"]
methods = ["GET", "HEAD"]

[[rules]]
id = "api"
action = "allow"
hosts = ["api.example.com"]

[[rules]]
id = "large-uploads"
action = "ask"
reason = "each upload requires an approval"
hosts = ["storage.example.com"]
"""


@attrs.frozen
class Image:
    """One image.

    @ivar name: the file in C{docs/images}.
    @ivar path: the path of the page.
    @ivar dark: whether the browser prefers dark colors.
    """

    name: str
    path: str
    dark: bool = False


IMAGES_OF_PAGES: Final = (
    Image("console-live.png", "/console/live"),
    Image("console-request.png", f"/console/requests/{DETAIL}", dark=True),
    Image("console-approvals.png", "/console/approvals"),
    Image("console-destinations.png", "/console/destinations"),
    Image("console-policy.png", "/console/policy"),
    Image("console-health.png", "/console/health", dark=True),
)

UPLOAD: Final = {
    "url": "https://storage.example.com/exports/orders.json",
    "content": '{"customer": "ACME", "orders": 118, "token": "hunter2", "note": "Please keep until Friday."}',
}
"""The request that waits for an approval."""

# The client, the method, the URL, the verdict, the rule, the reason, the status and the milliseconds.
_TRAFFIC: Final[tuple[tuple[str, str, str, str, str, str, int, float], ...]] = (
    ("ci", "GET", "https://registry.npmjs.org/express", "allow", "packages", "", 200, 41.2),
    ("agent", "DELETE", "https://api.example.com/v1/users/42", "deny", "no-deletes", "", 403, 0.4),
    ("agent", "GET", "https://api.example.com/v1/users?page=2", "allow", "api", "", 200, 86.0),
    ("ci", "GET", "https://files.pythonhosted.org/packages/attrs-25.3.0.whl", "allow", "packages", "", 200, 138.0),
    ("agent", "POST", "https://telemetry.vendor.example/collect", "deny", "default", "", 403, 0.3),
    ("ci", "GET", "https://pypi.org/simple/twisted/", "allow", "packages", "", 200, 29.4),
    ("agent", "GET", "https://api.example.com/v1/users/42", "allow", "api", "", 200, 71.3),
    ("agent", "GET", "https://paste.example.net/raw/8f3a", "deny", "default", "", 403, 0.3),
    ("ci", "GET", "https://registry.npmjs.org/newman", "allow", "packages", "", 200, 38.8),
    ("agent", "PUT", "https://storage.example.com/exports/report.csv", "allow", "large-uploads", "", 201, 8420.0),
    ("agent", "GET", "https://api.example.com/v1/orders?since=2026-11-01", "allow", "api", "", 502, 3011.0),
)
_REASONS: Final = {"no-deletes": "nothing is deleted from here", "default": "no rule allows this request"}


def records(now: float) -> Iterator[ExchangeRecord]:
    """Return the records that the images show, the oldest first."""
    rows = [_TRAFFIC[number % len(_TRAFFIC)] for number in range(33)]
    for number, (client, method, url, verdict, rule, _, status, duration) in enumerate(rows):
        began = now - (len(rows) - number) * 1.37
        yield _record(
            f"{number:024x}",
            began,
            client=ClientIdentity("10.20.0.7" if client == "ci" else "10.20.0.12", 41000 + number, client),
            method=method,
            url=url,
            verdict=verdict,
            outcome="denied" if verdict == "deny" else "forwarded",
            reason=_REASONS.get(rule, f"allowed by the rule {rule}"),
            rule_id=rule,
            status=status,
            duration=duration / 1000,
        )


def _record(name: str, began: float, **fields: Any) -> ExchangeRecord:
    values: dict[str, Any] = {
        "time": began,
        "request_id": name,
        "stage": "request",
        "decided_by": "policy policy.toml",
        "decision_seconds": 0.0002,
        "bytes_sent": 0,
        "bytes_received": 18_240,
        "address": None,
        "upstream": None,
        "observed": None,
        "source": None,
        "phases": (),
        "request_headers": None,
        "response_headers": None,
    }
    return attrs.evolve(ALLOWED, **{**values, **fields})


def detail(now: float) -> ExchangeRecord:
    """Return the record of the page of one request."""
    ends = (0.0, 0.0003, 0.0006, 0.0124, 0.0287, 0.0651, 0.0655, 0.2411)
    names = ("request", "decision", "dns", "connect", "tls", "send", "wait", "receive")
    return _record(
        DETAIL,
        now,
        client=ClientIdentity("10.20.0.12", 41234, "agent"),
        method="GET",
        url="https://api.example.com/v1/users?page=2&key=REDACTED",
        verdict="allow",
        outcome="forwarded",
        reason="allowed by the rule api",
        rule_id="api",
        status=200,
        duration=0.2689,
        address="203.0.113.10",
        phases=[(name, now + each) for name, each in zip(names, ends, strict=True)],
        request_headers=(
            ("Accept", "application/json"),
            ("Authorization", "Bearer REDACTED"),
            ("User-Agent", "agent/1.4"),
        ),
        response_headers=(("Content-Type", "application/json"), ("Cache-Control", "no-store")),
    )


def history(now: float) -> History:
    """Return the last hour of the metrics, with twenty minutes in which more is denied."""
    found = History()
    counters: Counter[str] = Counter()
    for minute in range(60):
        requests = 90 + round(40 * math.sin(minute / 7)) + minute * 7 % 13
        denied = requests // (4 if 30 < minute < 50 else 25)
        counters.update({"verdict.allow": requests - denied, "verdict.deny": denied, "cpu_seconds": requests // 50})
        counters.update({"sent": 900 * requests, "received": 21_000 * requests})
        for bound, share in (("0.0005", 0.9), ("0.001", 0.98), ("0.0025", 0.996), ("+Inf", 1.0)):
            counters[f"decision_within.{bound}"] += round(requests * share)
        gauges = {"connections": 14.0 + requests // 9, "memory": 84e6 + minute * 2e4}
        found.add(Reading(dict(counters), gauges), now - 60 * (60 - minute))
    return found


def take(browser: ConsoleChromium, image: Image, directory: Path) -> None:
    """Save the current page as an image, and in the documentation if C{EGRESS_CONSOLE_IMAGES} is set."""
    browser.page("emulateMedia", {"colorScheme": "dark" if image.dark else "light"})
    browser.page("setViewportSize", WINDOW)
    browser.screenshot(directory / image.name)
    if os.environ.get("EGRESS_CONSOLE_IMAGES"):
        shutil.copyfile(directory / image.name, IMAGES / image.name)


def assert_image(test: TestCase, path: Path) -> None:
    """Check that a file is an image with the dimensions of the window."""
    content = path.read_bytes()
    test.assertEqual(content[:8], b"\x89PNG\r\n\x1a\n")
    test.assertEqual(struct.unpack(">II", content[16:24]), (WINDOW["width"], WINDOW["height"]))
