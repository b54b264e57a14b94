"""The heads of messages whose content is encoded again, so that its announced length no longer applies."""

from __future__ import annotations

import attrs

from egress.http.events import DELIMITED, BodyKind, ForwardedHead, ResponseHead
from egress.http.writers import with_framing


def delimited_request(head: ForwardedHead) -> ForwardedHead:
    """Remove the announced length of a request whose content is encoded again.

    With another length, an origin would take the next request on its connection for content, or content for a request.
    """
    if head.framing.kind is not BodyKind.LENGTH:
        return head
    fields = [field for field in head.fields if field[0].lower() != b"content-length"]
    return ForwardedHead(head.method, head.target, with_framing(fields, DELIMITED), DELIMITED)


def delimited(head: ResponseHead) -> ResponseHead:
    """Remove the announced length of a response: it may end before."""
    if head.framing.kind is not BodyKind.LENGTH:
        return head
    fields = tuple([field for field in head.headers if field[0].lower() != b"content-length"])
    return attrs.evolve(head, headers=fields, framing=DELIMITED)
