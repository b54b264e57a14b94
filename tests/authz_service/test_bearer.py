"""Tests for L{egress.authz_service.bearer}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.bearer import Bearer


class BearerTests(SynchronousTestCase):
    """One token, sent once."""

    def test_admits(self) -> None:
        bearer = Bearer("s3cret")
        for shown, expected in (
            ([b"Bearer s3cret"], True),
            ([b"bearer  s3cret "], True),
            ([], False),
            ([b""], False),
            ([b"Bearer"], False),
            ([b"Bearer "], False),
            ([b"Bearer s3cre"], False),
            ([b"Bearer s3cret2"], False),
            ([b"Basic s3cret"], False),
            ([b"s3cret"], False),
            ([b"Bearer s3cret", b"Bearer s3cret"], False),
            ([b"Bearer \xff"], False),
        ):
            with self.subTest(shown):
                self.assertIs(bearer.admits(shown), expected)

    def test_repr_contains_no_token(self) -> None:
        self.assertNotIn("s3cret", repr(Bearer("s3cret")))
