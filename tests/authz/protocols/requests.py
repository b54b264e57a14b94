"""An authorization request, and the decoding of responses to it."""

from __future__ import annotations

import json
from typing import Any

import attrs

from egress.authz.protocols.base import AuthzResponse, Codec
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage

REQUEST = DecisionRequest(
    request_id="id-1",
    stage=Stage.REQUEST,
    method="POST",
    origin=Origin("https", Authority("example.com", 8443)),
    path="/a/b?c=d",
    headers=((b"Accept", b"a/b"),),
    client=ClientIdentity("192.0.2.1", 1234),
)


def changed(**changes: Any) -> DecisionRequest:
    """Return the request with changes."""
    return attrs.evolve(REQUEST, **changes)


def decode_json(codec: Codec, answer: Any, status: int = 200, **changes: Any) -> Decision:
    """Decode a response to the request.

    @param answer: the JSON document, or the bytes of the content.
    """
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return codec.decode(AuthzResponse(status, (), content), changed(**changes))
