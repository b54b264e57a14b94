"""The error responses of the proxy: problem documents for programs and people (RFC 9457, RFC 9209)."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Final

import attrs

from egress.grpc.call import Kind
from egress.grpc.error_status import error_response as grpc_error_response
from egress.http.heads import MAX_ACCEPT
from egress.http.hop_by_hop import encode_fields
from egress.model.decision import Header
from egress.model.errors import (
    AuthorizerUnavailable,
    BudgetExhausted,
    ClientAuthBusy,
    ClientAuthRequired,
    ClientAuthUnavailable,
    ContentMemoryExhausted,
    Denied,
    EgressError,
    MaxForwardsReached,
    ProxyAddressed,
    ResolverBusy,
    TooManyLookups,
    UpstreamRefused,
    outcome_of,
)
from egress.model.outcome import Outcome
from egress.model.quote import printable

PROBLEM_JSON: Final = b"application/problem+json"
JSON: Final = b"application/json"
PLAIN_TEXT: Final = b"text/plain; charset=utf-8"

_TITLES: Final = {
    "deny": "Denied by the egress policy",
    "unavailable": "No authorization decision",
    "rejected": "The request was rejected",
    "failed": "The request could not be forwarded",
}

_RESPONSE_OF_PROXY: Final = "Response of the proxy"

# RFC 7617 section 2.1 and RFC 6750 section 3. Two separate fields, because many clients read one challenge per field.
_CHALLENGES: Final = (b'Basic realm="egressproxy", charset="UTF-8"', b'Bearer realm="egressproxy"')
_RETRY_AFTER: Final = b"1"
# The errors after which the same request can succeed soon.
_LATER: Final = (ClientAuthBusy, ClientAuthUnavailable, ContentMemoryExhausted, ResolverBusy, TooManyLookups)

# Clients limit the size of a head, some to 8 KiB; a reason may quote client input.
_MAX_DETAILS: Final = 400

# Many programs (git, npm, apt, "curl -f", pip) show their users only the status line.
_MAX_PHRASE: Final = 80
_NOT_IN_A_PHRASE: Final = re.compile(r"[^ -~]")
_GATEWAY_FAULTS: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


def prefers_text(accept: bytes | None) -> bool:
    """Whether a client prefers text to JSON (RFC 9110 section 12.5.1).

    Without preferences, and for C{*/*} or any JSON type, the response is JSON. For text or HTML, as in browsers, it is
    text.
    """
    if not accept:
        return False
    best = {"text": 0.0, "json": 0.0}
    # No real client sends a longer value, and each member takes time.
    for member in accept[:MAX_ACCEPT].decode("latin-1").lower().split(","):
        media_range, *parameters = (part.strip() for part in member.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if media_range in ("text/plain", "text/html", "text/*"):
            best["text"] = max(best["text"], quality)
        elif media_range == "application/*" or media_range.endswith(("/json", "+json")):
            best["json"] = max(best["json"], quality)
    return best["text"] > best["json"]


def _sf_string(text: str) -> bytes:
    """Encode a Structured Fields string (RFC 8941 section 3.3.3), which is printable ASCII, and truncate it."""
    if len(text) > _MAX_DETAILS:
        text = text[: _MAX_DETAILS - 3] + "..."
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    clean = "".join(char if " " <= char <= "~" else " " for char in ascii_text)
    return b'"' + clean.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'


def proxy_status(error: EgressError, outcome: Outcome) -> bytes:
    """The value of C{Proxy-Status} for an error (RFC 9209 section 2)."""
    if isinstance(error, ProxyAddressed):
        return b"egressproxy; details=%b" % _sf_string(error.reason)
    value = b"egressproxy; error=%b; details=%b" % (outcome.proxy_error.encode("ascii"), _sf_string(error.reason))
    if isinstance(error, UpstreamRefused) and error.status is not None:
        value += b"; received-status=%d" % error.status
    return value


def reason_phrase(error: EgressError, code: str, status: HTTPStatus) -> bytes:
    """The reason phrase of an error response (RFC 9112 section 4): printable ASCII, at most 80 characters.

    A denial names its rule, or the reason; 502, 503 and 504 name the cause. Other phrases are the registered ones.

    @param error: the error.
    @param code: the code of the error.
    @param status: the status code of the response.
    """
    cause = code.replace("-", " ")
    if status is HTTPStatus.FORBIDDEN:
        if isinstance(error, Denied):
            cause = "" if error.rule_id is None else f"rule {error.rule_id}"
        phrase = "Denied by egress policy"
    else:
        phrase = status.phrase
        if status not in _GATEWAY_FAULTS:
            cause = ""
    if cause:
        # Keep the closing bracket, however long the rule name is.
        max_cause = _MAX_PHRASE - len(phrase) - len(" ()")
        phrase += f" ({cause if len(cause) <= max_cause else cause[: max_cause - 3] + '...'})"
    return _NOT_IN_A_PHRASE.sub("?", phrase).encode("ascii")


def problem(error: EgressError, request_id: str) -> dict[str, object]:
    """The members of the problem document for an error.

    @param error: the error.
    @param request_id: becomes C{decisionId}, the key into the audit log.
    """
    outcome = outcome_of(error)
    members: dict[str, object] = {
        "type": f"urn:egressproxy:{outcome.code}",
        "title": _RESPONSE_OF_PROXY if isinstance(error, ProxyAddressed) else _TITLES[outcome.verdict],
        "status": outcome.status.value if outcome.status else 0,
        "detail": error.reason,
        "reason": error.reason,
        "stage": outcome.stage,
        "decisionId": request_id,
    }
    if isinstance(error, (Denied, BudgetExhausted)) and error.rule_id is not None:
        members["ruleId"] = error.rule_id
    if isinstance(error, BudgetExhausted) and error.budget is not None:
        members["budget"] = error.budget
    return members


def _as_text(members: dict[str, object]) -> str:
    rule = f"\nrule: {printable(str(members['ruleId']), ' ')}" if "ruleId" in members else ""
    return (
        f"egressproxy: {members['title']} ({members['status']})\n\n"
        f"{printable(str(members['reason']), ' ')}\n\n"
        f"stage: {members['stage']}\n"
        f"decision: {members['decisionId']}{rule}\n"
    )


@attrs.frozen
class ErrorResponse:
    """The response to a request that failed, independent of the HTTP version.

    @ivar status: the status code.
    @ivar phrase: the reason phrase.
    @ivar fields: the header fields, including the length of the content.
    @ivar content: the content.
    """

    status: int
    phrase: bytes
    fields: list[Header]
    content: bytes


def error_response(
    error: EgressError, request_id: str, *, accept: bytes | None, date: bytes, grpc: Kind | None = None
) -> ErrorResponse:
    """Return the response to a request that failed.

    @param error: the error.
    @param request_id: the id of the exchange.
    @param accept: the value of C{Accept} in the request; C{None} if there is none.
    @param date: the value of C{Date}.
    @param grpc: the kind of gRPC that the request uses. Its response has status 200 and a gRPC status.
    @raise ValueError: for an error without a response.
    """
    outcome = outcome_of(error)
    if outcome.status is None:
        raise ValueError(f"{outcome.code} has no response")
    status, phrase = outcome.status.value, reason_phrase(error, outcome.code, outcome.status)
    if isinstance(error, MaxForwardsReached):
        # RFC 9110 section 9.3.7: a 200 without content.
        return ErrorResponse(status, phrase, [(b"Date", date), (b"Content-Length", b"0")], b"")
    more: list[Header] = []
    if grpc is not None:
        fields, content = grpc_error_response(error, request_id, grpc)
        (_, content_type), *more = fields
        status, phrase = HTTPStatus.OK.value, HTTPStatus.OK.phrase.encode("ascii")
    elif prefers_text(accept):
        content_type, content = PLAIN_TEXT, _as_text(problem(error, request_id)).encode("utf-8")
    else:
        content_type = JSON if isinstance(error, ProxyAddressed) else PROBLEM_JSON
        members = problem(error, request_id)
        content = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    headers: list[Header] = [
        (b"Date", date),
        (b"Content-Type", content_type),
        (b"Content-Length", b"%d" % len(content)),
        (b"Cache-Control", b"no-store"),
        (b"Proxy-Status", proxy_status(error, outcome)),
        *more,
    ]
    if isinstance(error, ClientAuthRequired):
        headers += [(b"Proxy-Authenticate", challenge) for challenge in _CHALLENGES]
    elif isinstance(error, _LATER):
        headers.append((b"Retry-After", _RETRY_AFTER))
    elif isinstance(error, (AuthorizerUnavailable, BudgetExhausted)) and error.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % error.retry_after))
    return ErrorResponse(status, phrase, headers, content)


def encode_error_response(
    error: EgressError,
    request_id: str,
    *,
    accept: bytes | None,
    head_only: bool,
    keep_alive: bool,
    date: bytes,
    grpc: Kind | None = None,
) -> bytes:
    """Encode the response to a request that failed, for HTTP/1; see L{error_response}.

    @param head_only: whether the request was a HEAD. Its response has no content, or the client would parse the content
        as the next response (RFC 9110 section 9.3.2).
    @param keep_alive: whether the connection stays open afterwards.
    """
    response = error_response(error, request_id, accept=accept, date=date, grpc=grpc)
    fields = [*response.fields, (b"Connection", b"keep-alive" if keep_alive else b"close")]
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (response.status, response.phrase, encode_fields(fields))
    return head if head_only else head + response.content
