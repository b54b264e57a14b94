"""Tests for L{egress.policy.learn.path_templates}."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.path_templates import is_plain, pattern_of, shape_of
from egress.policy.match.paths import compile_path, readings
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

DIGEST = "0123456789abcdef" * 4


class ShapeTests(SynchronousTestCase):
    """The parts of paths that vary between requests."""

    def test_table(self) -> None:
        for path, pattern in (
            ("/", "/"),
            ("/v1/items", "/v1/items"),
            ("/v1/items/", "/v1/items/"),
            ("/v1/items/17", "/v1/items/*"),
            ("/v1/items/17/parts/3", "/v1/items/*/parts/*"),
            ("/orders/0b6f9d6e-52cc-4a6f-9f0e-6a4bb1b1ab01", "/orders/*"),
            ("/days/2026-11-25", "/days/*"),
            ("/days/2026-11", "/days/*"),
            ("/at/2026-11-25T10:00:00Z", "/at/*"),
            ("/commits/3f2a9bc1", "/commits/*"),
            ("/commits/deadbeefdeadbeef", "/commits/*"),
            ("/customers/cus_9s6XKzkNRiz8i3", "/customers/cus_*"),
            ("/orders/order-10021", "/orders/order-*"),
            ("/files/17.json", "/files/*.json"),
            ("/t/dGhpcyBpcyBhIHRva2Vu1", "/t/*"),
            # Words, versions and names are unchanged.
            ("/repos/acme/my-very-long-repository-name", "/repos/acme/my-very-long-repository-name"),
            ("/simple/zope-interface/", "/simple/zope-interface/"),
            ("/python3/feedface", "/python3/feedface"),
            ("/get/requests-2.31.0.tar.gz", "/get/requests-2.31.0.tar.gz"),
            ("/utf8/sha256", "/utf8/sha256"),
            # A store that distributes its files by digest.
            (f"/packages/70/8e/{DIGEST[:60]}/requests-2.31.0-py3-none-any.whl", "/packages/*/*/*/*.whl"),
            (
                f"/packages/70/8e/{DIGEST[:60]}/requests-2.31.0-py3-none-any.whl.metadata",
                "/packages/*/*/*/*.whl.metadata",
            ),
            (f"/packages/70/8e/{DIGEST[:60]}/requests-2.31.0.tar.gz", "/packages/*/*/*/*.tar.gz"),
            (f"/{DIGEST}/README", "/*/*"),
            (f"/blobs/{DIGEST}", "/blobs/*"),
            (f"/blobs/{DIGEST}/", "/blobs/*/"),
            # Segments that a pattern cannot contain literally.
            ("/a%2Fb/c", "/a%2Fb/c"),
            ("/@scope%2Fname", "/@scope%2Fname"),
            ("/a%5Cb/c", "/*/c"),
            ("/a//b", "/a/*/b"),
            ("/a/../b", "/a/*/b"),
            ("/é/*", "/*/*"),
        ):
            self.assertEqual(pattern_of(shape_of(path)), pattern, path)

    def test_plain(self) -> None:
        self.assertTrue(is_plain("a-b_c.d~"))
        self.assertTrue(is_plain(""))
        for segment in (".", "..", "a b", "a%20", "*", "a?b", "a;b", "ä"):
            self.assertFalse(is_plain(segment), segment)

    @given(st.text(st.sampled_from("/a1f.-_*%2E;\\?#~é\ud800+ :"), max_size=20))
    def test_patterns_match(self, text: str) -> None:
        """Every pattern is valid in a policy, and matches the path from which it was created."""
        try:
            found = readings(f"/{text}", WorkBudget())
        except TooMuchWork:
            # A suggestion has no pattern for such a path, either.
            return
        for reading in found:
            if reading.startswith("/"):
                pattern = pattern_of(shape_of(reading))
                self.assertTrue(compile_path(pattern, broad=False).fullmatch(reading), (reading, pattern))

    def test_linear(self) -> None:
        """Long segments of any kind take linear time."""
        for text in ("a" * 16000, "1a" * 8000, "." * 16000, ".a" * 8000, "a-" * 8000, "2026-11-" * 2000):
            self.assertTrue(re.match("/", pattern_of(shape_of(f"/{text}"))))
