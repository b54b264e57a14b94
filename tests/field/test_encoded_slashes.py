"""Scoped npm packages, C{/@scope%2fname}, and compressed content: a denial names the ambiguity.

npm encodes the slash in the name of a scoped package, and proxies reject it without a reason (openkaiden/kaiden#2394,
npm/npm#16380).  Filters that cannot read compressed content allow it (chaitin/SafeLine#1222), or reject it.
"""

from __future__ import annotations

import gzip

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.replay import Change, replay
from egress.policy.learn.suggest import Suggestion
from egress.policy.learn.writer import write_policy
from egress.policy.parse.load import parse_policy
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse, request

REGISTRY = "https://registry.npmjs.org"
NPM = """version = 1
[[rules]]
name = "npm"
action = "allow"
hosts = ["registry.npmjs.org"]
methods = ["GET"]
paths = ["/@scope/*", "/left-pad"]
"""
DEPLOY = """version = 1
[[rules]]
name = "no-production"
action = "deny"
reason = "production is deployed by hand"
json = { environment = "prod*" }
[[rules]]
name = "deploy"
action = "allow"
"""


class EncodedSlashTests(SynchronousTestCase):
    """The reason for an operator, and the suggested rules."""

    def test_the_reason(self) -> None:
        decision = parse(NPM).decide(request("GET", f"{REGISTRY}/@scope%2fname"))
        self.assertFalse(decision.allowed)
        self.assertEqual(
            decision.reason,
            "no rule allows GET https://registry.npmjs.org; its path contains %2F, which servers read in different "
            "ways, so the rule npm does not allow it",
        )

    def test_both_interpretations_allow_it(self) -> None:
        policy = parse(NPM.replace('"/@scope/*"', '"/@scope/*", "/@scope%2F*"'))
        for path, allowed in (("@scope%2fname", True), ("@scope/name", True), ("@other%2fname", False)):
            self.assertIs(policy.decide(request("GET", f"{REGISTRY}/{path}")).allowed, allowed, path)

    def test_suggest_and_replay(self) -> None:
        """The suggested rule matches the recorded requests, and not every path."""
        urls = (f"{REGISTRY}/@scope%2fname", f"{REGISTRY}/@scope%2Fother", f"{REGISTRY}/left-pad")
        lines = read(*(audit_line("GET", url) for url in urls))
        suggestion = Suggestion()
        for line in lines:
            suggestion.add(line)
        text = write_policy(suggestion, 12)
        policy = parse_policy(text, "suggested", "suggested")
        self.assertIn('"/@scope%2Fname"', text)
        for url in urls:
            self.assertTrue(policy.decide(request("GET", url)).allowed, url)
        for path in ("@other%2fname", "@scope%2fthird", "admin", "@scope"):
            self.assertFalse(policy.decide(request("GET", f"{REGISTRY}/{path}")).allowed, path)
        changes = {result.change for result in replay(policy, lines).results}
        self.assertTrue(changes)
        self.assertLessEqual(changes, {Change.SAME, Change.OTHER_RULE})

    def test_compressed_content(self) -> None:
        """Compressed content is decoded; an unknown coding is a reason to deny."""
        policy = parse(DEPLOY)
        kind = ("Content-Type", "application/json")
        body = gzip.compress(b'{"environment": "production"}')
        gzipped = [kind, ("Content-Encoding", "gzip")]
        found = policy.decide(request("POST", "https://deploy.test/", headers=gzipped, body=body))
        self.assertEqual((found.rule_id, found.reason), ("no-production", "production is deployed by hand"))
        unknown = [kind, ("Content-Encoding", "compress")]
        decision = policy.decide(request("POST", "https://deploy.test/", headers=unknown, body_withheld=True))
        self.assertEqual(decision.rule_id, "no-production")
        reason = "production is deployed by hand; its Content-Encoding is not a list of up to 3 of the codings gzip, "
        reason += "deflate, br and zstd (send it without Content-Encoding), so the rule no-production denies it"
        self.assertEqual(decision.reason, reason)
