"""Makes C{twistd} know C{egressproxy}."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

egressproxy = ServiceMaker(  # type: ignore[no-untyped-call]
    "egressproxy",
    "egress.tap",
    "An egress proxy that puts every request to an authorizer.",
    "egressproxy",
)
