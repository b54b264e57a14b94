"""An authorization service for tests: the server side of one API, which decides by rules.

Its arguments are a port, the API as in C{--authz-api}, a policy, and the time to live of its responses in seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.web.server import Site

from egress.config.model import AuthzApi
from egress.model.decision import Decision, DecisionRequest
from egress.policy.parse.load import parse_policy
from tests.authz.deciders import DECIDERS, DeciderResource


def main(port: str, api: str, policy: str, ttl: str) -> None:
    """Serve until the process is stopped."""
    rules = parse_policy(Path(policy).read_text("utf-8"), policy, "policy decider")

    def decide(request: DecisionRequest) -> Decision:
        return attrs.evolve(rules.decide(request), ttl=float(ttl) or None)

    site: Any = Site(DeciderResource(DECIDERS[AuthzApi(api)](decide)))

    reactor.listenTCP(int(port), site, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
