"""A decision service for tests: the server half of one API, which decides by rules.

Its arguments are a port, the API as C{--authz-api} has it, a policy, and the seconds for which answers may be reused.
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
    """Serve until the end."""
    rules = parse_policy(Path(policy).read_text("utf-8"), policy, "policy decider")

    def decide(request: DecisionRequest) -> Decision:
        return attrs.evolve(rules.decide(request), ttl=float(ttl) or None)

    site: Any = Site(DeciderResource(DECIDERS[AuthzApi(api)](decide)))

    reactor.listenTCP(int(port), site, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
