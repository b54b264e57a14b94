"""Tests for L{egress.authz.pending_approval}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.authz import pending_approval as module
from egress.authz.pending_approval import PendingApproval, WaitingRequest
from egress.model.approval import GrantScope
from egress.model.decision import Decision, Verdict
from tests.authz.fakes import REQUEST


def pending(**changes: Any) -> PendingApproval:
    request = attrs.evolve(REQUEST, path="/?token=hunter2", **changes)
    return PendingApproval(
        approval_id="a", grant_id="g", scope=GrantScope.of(request, "r"), request=request, since=1.0, until=2.0
    )


class PendingApprovalTests(SynchronousTestCase):
    """What a list has for one pending approval."""

    def test_tokens(self) -> None:
        """Each one has its own, also for the same request."""
        self.assertNotEqual(pending().token, pending().token)

    def test_shown(self) -> None:
        one, nothing = pending(), attrs.make_class("Timer", [])()
        decision = Decision(Verdict.ASK, "look at this", "policy x", "r")
        one.waiting += [WaitingRequest(decision, Deferred(), nothing) for _ in range(2)]
        found = one.shown(lambda url: url.replace("hunter2", "REDACTED"))
        self.assertEqual((found["id"], found["count"], found["since"], found["until"]), ("a", 2, 1.0, 2.0))
        self.assertEqual((found["url"], found["ruleId"]), ("http://a.test/?token=REDACTED", "r"))
        self.assertEqual((found["reason"], found["decidedBy"]), ("look at this", "policy x"))
        self.assertNotIn("preview", found)

    def test_preview(self) -> None:
        """It is made once."""
        one = pending(body=b"the content", content_length=11)
        preview, length = one.preview
        self.assertEqual(preview["content"]["text"], "the content")
        self.assertEqual(length, len(json.dumps(preview)))
        self.patch(module, "preview_of", self.fail)
        self.assertIs(one.preview[0], preview)
