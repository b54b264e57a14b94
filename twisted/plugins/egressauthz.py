"""Makes C{twistd} know C{egressauthz}."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

egressauthz = ServiceMaker(  # type: ignore[no-untyped-call]
    "egressauthz",
    "egress.authz_service.tap",
    "An authorization service: POST /validate, answered by a policy.",
    "egressauthz",
)
