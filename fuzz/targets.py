"""The properties of each parser for all inputs."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from attrs import evolve
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from egress.authz.decision_store import DecisionStore
from egress.authz.protocols.authzen import AuthZenCodec
from egress.authz.protocols.base import AuthzResponse as ServiceAnswer
from egress.authz.protocols.base import Codec
from egress.authz.protocols.ext_authz import ExtAuthzCodec
from egress.authz.protocols.opa import OpaCodec
from egress.authz.protocols.validate import decode_response, headers_value
from egress.authz.protocols.validate import encode_request as encode_authz_request
from egress.authz.protocols.validate_server import InvalidRequest, decode_request
from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.http.body import ChunkedBody, MalformedBody
from egress.http.connect_handshake import ConnectHandshake
from egress.http.events import End, RequestHead, ResponseHead
from egress.http.field_lines import MalformedFields, parse_fields
from egress.http.heads import parse_request_head, parse_response_head
from egress.http.hop_by_hop import encode_fields
from egress.http.obligations import SECRET_MARK, is_value
from egress.http.proxy_authorization import Basic, Bearer, parse_credentials
from egress.http.readers import RequestReader, ResponseReader
from egress.http.request_target import TargetForm, parse_request_target
from egress.http.sniff import detect_protocol
from egress.model.approval import ApprovalAnswer, InvalidApprovalAnswer
from egress.model.authority import DEFAULT_PORTS, Authority, Origin, UpstreamProxy, normalize_host
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage
from egress.model.errors import (
    AuthorizerUnavailable,
    ClientError,
    InvalidTarget,
    OriginProtocolError,
    UpstreamError,
)
from egress.model.explanation import ExplainRequest, InvalidExplainRequest
from egress.model.no_proxy import Bypass, HostPattern
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url
from egress.model.trace import trace_context
from egress.policy.learn.audit_reader import Notes, read_lines
from egress.policy.learn.lockfile import Detail, Egress, LockFault, compare, in_lines, parse_lock
from egress.policy.learn.replay import Recorded, replay
from egress.policy.learn.suggest import Suggestion
from egress.policy.learn.writer import write_policy
from egress.policy.match.json_body import Document, Wanted, compile_expression, json_matches, read_json
from egress.policy.match.media_type import json_fault
from egress.policy.match.paths import MAX_READINGS, ambiguity, compile_path, readings
from egress.policy.match.patterns import compile_pattern
from egress.policy.match.query import has_parameter, parameter_matches, read_query
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import MAX_WORK, PER_CALL, TooMuchWork, WorkBudget
from egress.policy.parse.load import PolicyError, parse_policy
from egress.socks import codes
from egress.socks.client_handshake import SocksHandshake
from egress.socks.requests import Connect, Greeting, InvalidSocks, Login, SocksReader
from egress.store.filter_language import FilterError, parse_filter
from egress.store.filter_sql import compile_filter
from egress.store.sqlite import SqliteStore
from egress.tls.client_hello import MalformedHello, read_client_hello
from egress.tls.ocsp import staple_fault
from fuzz.content_targets import codings, forms, multipart
from fuzz.http2_targets import http2, http2_origin
from fuzz.issued import CERTIFICATE, ISSUER, ISSUER_KEY, NOW
from fuzz.listener_targets import proxy_protocol
from fuzz.message_targets import events, grpc, websocket
from fuzz.reading import LIMITS, ORIGIN, WIDER, check_request, check_response, joined, pieces
from fuzz.session_targets import http2_session

_SHORT: Final = 300
_UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
_SOCKS = UpstreamProxy("socks5h", Authority("proxy.test", 1080), b"Basic " + base64.b64encode(b"ci:s3cret"))
# Events, with consecutive content joined, and the error that ended them.
Reading = tuple[list[Any], type[BaseException] | None]


class Stuck(AssertionError):
    """A reader that does not terminate."""


def _steps(data: bytes) -> Iterator[None]:
    for _ in range(4 * len(data) + 64):
        yield
    raise Stuck(f"{len(data)} bytes took more than {4 * len(data) + 64} steps")


def _read_requests(parts: list[bytes]) -> Reading:
    reader = RequestReader(LIMITS)
    steps = _steps(b"".join(parts))
    events: list[Any] = []
    try:
        for part in parts:
            reader.receive(part)
            while (event := reader.next_event()) is not None:
                next(steps)
                events.append(event)
            # The buffer contains at most one unfinished head, chunk size or block of trailers.
            assert reader.buffered < max(LIMITS.head, LIMITS.target + 80), reader.buffered
    except ClientError as error:
        return joined(events), type(error)
    return joined(events), None


def requests(data: bytes) -> None:
    """Requests of a client, and the forwarded requests."""
    seed, data = data[:1] or b"\0", data[1:]
    whole = _read_requests([data])
    assert _read_requests(list(pieces(data, seed[0]))) == whole
    head: RequestHead | None = None
    content = b""
    for event in whole[0]:
        if isinstance(event, RequestHead):
            head, content = event, b""
            line = b"%b %b HTTP/%b\r\n" % (head.method.encode(), head.target, head.version)
            assert parse_request_head(line + encode_fields(head.headers) + b"\r\n", WIDER) == head
            with contextlib.suppress(InvalidTarget):
                parse_request_target(head.method, head.target)
            if not head.framing.has_body:
                check_request(head, b"", None)
        elif isinstance(event, bytes):
            content += event
        elif head is not None:
            check_request(head, content, event)


_METHODS = ("GET", "HEAD", "POST")


def _read_responses(parts: list[bytes], method: str) -> Reading:
    reader = ResponseReader(LIMITS)
    steps = _steps(b"".join(parts))
    events: list[Any] = []
    reader.expect(method)
    try:
        for part in parts:
            reader.receive(part)
            while (event := reader.next_event()) is not None:
                next(steps)
                events.append(event)
    except OriginProtocolError as error:
        return joined(events), type(error)
    end = reader.receive_eof()
    return joined(events + ([end] if end is not None else [])), None


def responses(data: bytes) -> None:
    """Responses of an origin, and the forwarded responses."""
    seed, data = data[:1] or b"\0", data[1:]
    method = _METHODS[seed[0] % 3]
    whole = _read_responses([data], method)
    assert _read_responses(list(pieces(data, seed[0])), method) == whole
    head: ResponseHead | None = None
    content = b""
    for event in whole[0]:
        if isinstance(event, ResponseHead):
            head, content = event, b""
            line = b"HTTP/%b %d %b\r\n" % (head.version, head.status, head.reason)
            assert parse_response_head(line + encode_fields(head.headers) + b"\r\n", WIDER, method) == head
        elif isinstance(event, bytes):
            content += event
        elif head is not None:
            check_response(head, method, content, event)


def _read_chunks(parts: list[bytes], response: bool) -> Reading:
    body = ChunkedBody(LIMITS.head, LIMITS.fields, response=response)
    steps = _steps(b"".join(parts))
    events: list[Any] = []
    rest = b""
    try:
        for part in parts:
            rest += part
            while not (events and isinstance(events[-1], End)):
                next(steps)
                event, rest = body.take(rest)
                if event is None:
                    break
                events.append(event)
            else:
                continue
            assert len(rest) < LIMITS.head, len(rest)
    except MalformedBody:
        return joined(events), MalformedBody
    return [*joined(events), len(rest)], None


def chunks(data: bytes) -> None:
    """Chunked content."""
    seed, data = data[:1] or b"\0", data[1:]
    response = bool(seed[0] % 2)
    whole = _read_chunks([data], response)
    assert _read_chunks(list(pieces(data, seed[0])), response) == whole
    if not response and whole[1] is None:
        assert _read_chunks([data], True) == whole, "a response accepts all fields that a request accepts"


def fields(data: bytes) -> None:
    """Field lines."""
    response, block = bool(data[:1] and data[0] % 2), data[1:]
    try:
        found = parse_fields(block, 40, response=response)
    except MalformedFields:
        return
    assert len(found) <= 40
    again = parse_fields(encode_fields(found) + b"\r\n", 40, response=response)
    assert again == found, block


def connect(data: bytes) -> None:
    """The response of an upstream proxy to a CONNECT."""
    seed, data = data[:1] or b"\0", data[1:]

    def read(parts: list[bytes]) -> object:
        handshake = ConnectHandshake(_UPSTREAM, ORIGIN.authority, 500)
        rest: bytes | None = None
        try:
            for part in parts:
                rest = handshake.receive(part) if rest is None else rest + part
        except UpstreamError as error:
            return error.reason
        return rest

    whole = read([data]) if data else None
    split = read(list(pieces(data, seed[0])))
    assert split == whole, (whole, split)
    assert not isinstance(whole, str) or "c2VjcmV0" not in whole


def session(data: bytes) -> None:
    """The first bytes inside a CONNECT."""
    known = None
    for end in range(min(len(data), 80) + 1):
        found = detect_protocol(data[:end])
        assert known is None or found is known, "more data changed the result"
        known = found


def hello(data: bytes) -> None:
    """The first message of a TLS client, in pieces."""
    told: object = None
    read = b""
    for piece in (*pieces(data, len(data)), b"more"):
        read += piece
        found: object
        try:
            found = read_client_hello(read)
        except MalformedHello:
            found = MalformedHello
        assert told is None or found == told, "more data changed the result"
        told = found


def socks(data: bytes) -> None:
    """The messages of a SOCKS5 client, in pieces."""
    seed, data = data[:1] or b"\0", data[1:]

    def read(parts: list[bytes]) -> object:
        reader, events = SocksReader(), []
        try:
            for part in parts:
                reader.receive(part)
                while (message := reader.next_message()) is not None:
                    events.append(message)
                    if isinstance(message, Greeting) and codes.LOGIN in message.methods:
                        reader.expect_login()
                    elif not isinstance(message, Connect):
                        reader.expect_request()
        except InvalidSocks as error:
            return events, type(error.error), error.response
        rest = reader.take_remaining()
        if not any(isinstance(message, Connect) for message in events):
            assert len(rest) <= 513, "an unfinished message is longer than any message"
        return events, rest

    whole = read([data])
    assert read(list(pieces(data, seed[0]))) == whole
    for message in whole[0]:  # type: ignore[index]
        if isinstance(message, Connect):
            assert Authority.parse(str(message.authority)) == message.authority
        elif isinstance(message, Login) and message.credentials is not None:
            found = parse_credentials(message.credentials)
            assert isinstance(found, Basic) and found.password == message.password


def socks_replies(data: bytes) -> None:
    """The responses of an upstream proxy that speaks SOCKS5."""
    seed, data = data[:1] or b"\0", data[1:]

    def read(parts: list[bytes]) -> object:
        handshake = SocksHandshake(_SOCKS, ORIGIN.authority)
        rest: bytes | None = None
        output = handshake.request()
        try:
            for part in parts:
                rest = handshake.receive(part) if rest is None else rest + part
                output += handshake.take_output()
        except UpstreamError as error:
            return error.reason
        return rest, output

    whole = read([data])
    split = read(list(pieces(data, seed[0])))
    # An error can follow messages that are sent for the earlier pieces only.
    assert split == whole, (whole, split)
    assert not isinstance(whole, str) or "s3cret" not in whole


def authority(data: bytes) -> None:
    """A host and a port."""
    text = data.decode("utf-8", "surrogateescape")
    for default, bare in ((None, False), (443, False), (None, True), (443, True)):
        try:
            once = Authority.parse(text, default, bare_ipv6=bare)
        except InvalidTarget:
            continue
        assert Authority.parse(str(once)) == once, text
        assert normalize_host(once.url_host) == once.host, text
        assert once.host == once.host.lower() and once.host.isascii() and len(once.host) <= 253, text
        assert not once.host[-1].isdigit() or once.ip is not None or not once.host.rpartition(".")[2].isdigit(), text


def target(data: bytes) -> None:
    """A request-target."""
    for method in ("GET", "OPTIONS", "CONNECT"):
        try:
            found = parse_request_target(method, data, DEFAULT_PORTS)
        except InvalidTarget:
            continue
        assert not any(byte in found.sent for byte in b"\r\n \x00\t#"), data
        assert found.form is TargetForm.AUTHORITY or data.endswith(found.sent.removeprefix(b"/")) or found.path == "*"
        assert unquote_to_bytes(found.sent) == unquote_to_bytes(found.path), data
        assert found.authority is None or "@" not in str(found.authority), data
        origin = Origin(found.scheme, found.authority) if found.scheme and found.authority is not None else None
        if origin is not None:
            path = "" if found.path == "*" else found.path
            url = f"{origin}{path}".encode()
            assert parse_request_target(method, url, DEFAULT_PORTS, canonical=True) == found, data
            assert origin.host_as(data).lower() in (origin.host_field, data.lower()), data


def bypass(data: bytes) -> None:
    """C{NO_PROXY}, and patterns of hosts."""
    text = data.decode("utf-8", "surrogateescape")
    for host in (ORIGIN.authority, Authority("192.0.2.1", 80), Authority("2001:db8::1", 443)):
        with contextlib.suppress(InvalidTarget):
            Bypass.parse(text).matches(host)
    with contextlib.suppress(InvalidTarget):
        HostPattern.parse(text, suffix=bool(len(text) % 2)).matches(ORIGIN.authority)


_CLIENT = ClientIdentity("192.0.2.1", 1)


def contract(data: bytes) -> None:
    """An authorization response, and an authorization request with such a body."""
    for status in (200, 403):
        try:
            decision = decode_response(status, data, "fuzz")
        except AuthorizerUnavailable:
            continue
        answer = json.loads(data)
        assert decision.allowed is (answer["allowed"] is True and status == 200), data
        assert "\n" not in decision.reason and len(decision.reason) <= 500
    path = "/" + data.decode("utf-8", "surrogateescape")
    headers = ((b"X-A", data), (b"cookie", data))
    with contextlib.suppress(AuthorizerUnavailable):
        question = DecisionRequest(
            request_id="id",
            stage=Stage.REQUEST,
            method="GET",
            origin=ORIGIN,
            path=path,
            headers=headers,
            client=_CLIENT,
            body=data,
            body_truncated=bool(len(data) % 2),
        )
        asked = json.loads(encode_authz_request(question))
        assert asked["url"] == f"{ORIGIN}{path}"
        assert set(json.loads(asked["headers"])) == {"x-a", "cookie"}


def questions(data: bytes) -> None:
    """An authorization request: a decoded request equals the request that a proxy encodes."""
    try:
        request = decode_request(data, "new")
    except InvalidRequest:
        return
    assert not (request.body_withheld and request.body)
    assert (request.stage is Stage.TUNNEL) is (request.method == "CONNECT") is (not request.path)
    with contextlib.suppress(InvalidTarget):
        assert Authority.parse(str(request.authority)) == request.authority, request.url
    again = decode_request(encode_authz_request(request), "other")

    def certain(one: DecisionRequest) -> DecisionRequest:
        # A truncated character at the end is not sent.  The other members depend on the body.
        body = None if request.body_truncated else one.body
        fixed = evolve(one, headers=(), body=body, body_truncated=False, body_withheld=False)
        return evolve(fixed, content_length=0, addresses=None)

    assert certain(again) == certain(request), (request, again)
    assert dict(again.headers) == json_fields(request), (request, again)


def json_fields(request: DecisionRequest) -> dict[bytes, bytes]:
    """The fields of a request as an authorization request contains them: each name once."""
    joined = json.loads(headers_value(request.headers))
    return {name.encode(): value.encode() for name, value in joined.items()}


_ASKED = DecisionRequest("id", Stage.REQUEST, "PUT", ORIGIN, "/a?b", (), _CLIENT, body_withheld=True)


def _says_yes(data: bytes) -> bool:
    answer = json.loads(data)
    result = answer.get("result")
    said = [answer.get("decision"), result, *(result.values() if isinstance(result, dict) else ())]
    return any(one is True for one in said)


def _sound(decision: Decision) -> None:
    """A decision is safe to display, to send and to cache."""
    assert "\n" not in decision.reason and 0 < len(decision.reason) <= 500
    decision.reason.encode("utf-8")
    for _, value in decision.obligations.set_headers:
        assert SECRET_MARK not in value
    for name, value in (*decision.obligations.set_headers, *decision.obligations.secret_headers):
        assert encode_fields(((name, value),)).count(b"\n") == 1
        assert name.lower() not in (b"host", b"content-length", b"transfer-encoding", b"connection")
    assert b"host" not in decision.obligations.remove_headers
    assert decision.ttl is None or 0 <= decision.ttl < 1e9
    assert decision.obligations.max_bytes is None or decision.obligations.max_bytes >= 0
    kept = DecisionStore(2, 60.0, 60.0)
    kept.add(_ASKED, decision, 0.0)
    assert (kept.fresh(_ASKED, 0.0) is not None) <= kept.reusable(decision)


def answers(data: bytes) -> None:
    """A JSON response of AuthZEN and of Open Policy Agent: it allows only if it contains an explicit allow."""
    codecs: tuple[Codec, ...] = (AuthZenCodec("http://a.test/x", "fuzz"), OpaCodec("http://a.test/v1/data/x", "fuzz"))
    for codec in codecs:
        for status in (200, 403):
            try:
                decision = codec.decode(ServiceAnswer(status, (), data), _ASKED)
            except AuthorizerUnavailable:
                continue
            assert status == 200
            assert not decision.allowed or _says_yes(data), data
            _sound(decision)


def checks(data: bytes) -> None:
    """A response to an C{ext_authz} check, and the check of any request."""
    status, block = 200 if data[:1] < b"\x80" else 403, data[1:]
    codec = ExtAuthzCodec("http://a.test/check", "fuzz", ("x-user",))
    with contextlib.suppress(MalformedFields, AuthorizerUnavailable):
        found = parse_fields(block, 40, response=True)
        decision = codec.decode(ServiceAnswer(status, found, block), _ASKED)
        assert decision.allowed is (status == 200)
        terms = decision.obligations
        assert {name for name, _ in (*terms.set_headers, *terms.secret_headers)} <= {b"x-user"}
        _sound(decision)
    path = "/" + block.decode("utf-8", "surrogateescape")
    with contextlib.suppress(AuthorizerUnavailable):
        asked = codec.encode(evolve(_ASKED, path=path, headers=((b"X-Forwarded-For", block), (b"x-a", b"b"))))
        assert asked.url == b"http://a.test/check" + path.encode("ascii")
        assert not any(byte <= 0x20 or byte == 0x7F for byte in asked.url)
        assert [value for name, value in asked.fields if name.lower() == b"x-forwarded-for"] == [b"192.0.2.1"]


def policy(data: bytes) -> None:
    """A policy file, and the patterns of paths in it."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(PolicyError):
        parse_policy(text, "fuzz", "fuzz")
    for broad in (False, True):
        with contextlib.suppress(ValueError):
            compile_path(text, broad=broad)


_CONDITIONS: Final = """
hosts = ["origin.test"]
paths = ["/a/**"]
query = { role = "a*", debug = false, id = ["1", "re:[0-9]+"] }
headers = { X-Role = ["a*", "b"], X-Debug = false }
json = { role = "a*", "ids[]" = [1, true], "length(@)" = [1, 2, 3] }
"""
_PERMISSION: Final = parse_policy(f"version = 1\n[[rules]]\naction = 'allow'\n{_CONDITIONS}", "fuzz", "fuzz")
_DENIAL: Final = parse_policy(
    f"version = 1\ndefault = 'allow'\n[[rules]]\naction = 'deny'\nreason = 'no {{path}}'\n{_CONDITIONS}", "fuzz", "fuzz"
)

# A value of the request is truncated to 200 characters. The note about an ambiguity has no data of the request.
_LONGEST_REASON: Final = len("no ") + 200 + 160


def conditions(data: bytes) -> None:
    """A request as rules read it: a deny rule matches every request that the equal allow rule matches."""
    path, _, rest = data.partition(b"\n")
    value, _, rest = rest.partition(b"\n")
    kind, _, body = rest.partition(b"\n")
    fields = [(b"X-Role", value), *((b"Content-Type", one) for one in kind.split(b"|"))]
    question = DecisionRequest(
        request_id="id",
        stage=Stage.REQUEST,
        method="POST",
        origin=ORIGIN,
        path="/" + path.decode("utf-8", "replace"),
        headers=(*fields, (b"x_role", b"b")) if len(value) % 3 == 2 else tuple(fields),
        client=_CLIENT,
        body=body,
        content_length=len(body),
    )
    denied = _DENIAL.decide(question)
    assert not (_PERMISSION.decide(question).allowed and denied.allowed), data
    assert denied.reason.isprintable() and len(denied.reason) <= _LONGEST_REASON, denied.reason
    assert _DENIAL.trace(question)[-1].rule_id == denied.rule_id


_PATTERNS: Final = {
    broad: tuple(compile_pattern(text, broad=broad) for text in ("a*", "1", "re:[0-9]{1,3}")) for broad in (False, True)
}


def queries(data: bytes) -> None:
    """A query as servers read it: a certain parameter is literally present, and an absent one has no value."""
    # Longer inputs are only slower.
    path = "/x?" + data[:_SHORT].decode("utf-8", "surrogateescape")
    with contextlib.suppress(TooMuchWork):
        query = read_query(path, WorkBudget())
        for name in ("debug", "user_id", "user[id]", "a.b", "role"):
            there = has_parameter(query, name)
            narrow, broad = (parameter_matches(query, name, _PATTERNS[one], WorkBudget()) for one in (False, True))
            assert narrow is not Match.YES or broad is not Match.NO, data
            assert there is not Match.NO or broad is Match.NO, data
            assert there is Match.YES or narrow is not Match.YES, data
            assert there is not Match.YES or name in unquote(path), data


_EXPRESSIONS: Final = tuple(map(compile_expression, ("a", "a.b", "a[0]", "a[].b", "length(a)", "a == `1`", "A > `1`")))
_WANTED: Final = {broad: Wanted.of(["x*", "7", 1, True], broad=broad) for broad in (False, True)}


def contents(data: bytes) -> None:
    """Content and its type: allow rules match only plain JSON in UTF-8, and deny rules match all of that."""
    kinds, _, body = data[:_SHORT].partition(b"\n")
    lines = tuple(("content-type", kind.decode("latin-1")) for kind in kinds.split(b"|"))
    if json_fault(lines) is None:
        assert len(lines) == 1 and lines[0][1].lower().startswith("application/"), data
        assert "," not in lines[0][1] and lines[0][1].lower().count("charset") <= 1, data
    with contextlib.suppress(TooMuchWork):
        document = read_json(body, WorkBudget())
        if isinstance(document, Document):
            # Integers above 2^53 have the value to which servers round them.
            assert json.loads(body, parse_int=float) == document.value, data
        for expression in _EXPRESSIONS:
            allowed, denied = (json_matches(document, expression, _WANTED[broad]) for broad in (False, True))
            assert allowed is not Match.YES or denied is not Match.NO, (data, expression)
            assert isinstance(document, Document) or (allowed, denied) == (Match.MAYBE, Match.MAYBE), data


_PATHS: Final = {broad: compile_path("/a/**/b*", broad=broad) for broad in (False, True)}


def paths(data: bytes) -> None:
    """The readings of a path: the work is bounded, and a deny rule matches each reading that an allow rule matches."""
    path = "/" + data[:_SHORT].decode("utf-8", "surrogateescape")
    work = WorkBudget()
    try:
        found = readings(path, work)
    except TooMuchWork:
        return
    assert 0 < len(found) <= MAX_READINGS and 0 <= work.left <= MAX_WORK, data
    assert ambiguity(path).isprintable()
    for reading in found:
        assert reading.startswith("/"), (data, reading)
        for broad, pattern in _PATHS.items():
            steps = pattern.steps(reading, reading.lower())
            assert pattern.fullmatch(reading) is None or steps > PER_CALL or len(reading) < 1, (data, broad)
        if _PATHS[False].fullmatch(reading):
            assert _PATHS[True].fullmatch(reading), (data, reading)
    with contextlib.suppress(TooMuchWork):
        # A second server behind the first one has no other reading.
        for reading in found[:4]:
            if "?" not in reading:
                assert set(readings(reading, WorkBudget())) <= set(found), (data, reading)


# A recorded time can be any valid time.
_TIMED: Final = parse_policy(
    'version = 1\ntimezone = "Asia/Tokyo"\n[[rules]]\naction = "allow"\ntimes = ["mon-fri 22:00-06:00"]\n',
    "fuzz",
    "fuzz",
)


def audit(data: bytes) -> None:
    """Lines of an audit log: readable lines give a policy that allows them, and requests to replay."""
    notes = Notes()
    suggestion = Suggestion()
    lines = list(read_lines(data.splitlines(keepends=True), notes))
    assert notes.bad + notes.undecided + len(lines) <= notes.lines, data
    assert notes.describe().isprintable(), data
    for line in lines:
        suggestion.add(line)
    suggested = parse_policy(write_policy(suggestion, 4), "fuzz", "fuzz")
    assert len(suggested.rules) <= 4, data
    for line in lines:
        recorded = Recorded.of(line)
        assert suggested.decide(recorded.question()).allowed, line
    for policy in (suggested, _TIMED):
        report = replay(policy, lines)
        assert sum(result.count for result in report.results) + report.undecided == len(lines), data
        assert all(text.isprintable() for text in report.in_lines()), data


def lock(data: bytes) -> None:
    """A lock file, and the lock file of an audit log: writing and reading does not change it."""
    with contextlib.suppress(LockFault):
        found = parse_lock(data.decode("utf-8", "replace"), "fuzz")
        assert parse_lock(found.write(), "fuzz") == found, data
    for detail in Detail:
        egress = Egress(detail)
        for line in read_lines(data.splitlines(keepends=True), Notes()):
            egress.add(line)
        recorded = egress.lock()
        assert parse_lock(recorded.write(), "fuzz") == recorded, data
        difference = compare(recorded, egress)
        assert not difference.new and not difference.unseen, data
        assert all(text.isprintable() for text in in_lines(difference)), data


def credentials(data: bytes) -> None:
    """The credentials of a client."""
    found = parse_credentials(data)
    if isinstance(found, Basic):
        written = b"Basic " + base64.b64encode(found.name.encode() + b":" + found.password)
    elif isinstance(found, Bearer):
        written = b"Bearer " + found.token
    else:
        return
    assert parse_credentials(written) == found


def staple(data: bytes) -> None:
    """A stapled OCSP response: it is ignored without the signature of the issuer."""
    fault = staple_fault(data, CERTIFICATE, ISSUER, NOW)
    assert fault is None or "revoked" in fault
    if fault is not None:
        response = ocsp.load_der_ocsp_response(data)
        ISSUER_KEY.public_key().verify(response.signature, response.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


def redaction(data: bytes) -> None:
    """A URL in the audit log: it contains no credentials and no line end."""
    text = data.decode("utf-8", "replace")
    written = redact_url(text)
    assert len(written) <= 12 * len(text) + 12
    assert "hunter2" in text or "hunter2" not in redact_url(f"http://alice:hunter2@origin.test/{text}")


_STORED: Final = ExchangeRecord(
    time=1_699_999_000.0,
    request_id="a1",
    client=ClientIdentity("10.0.0.1", 1, "ci"),
    stage="tunnel",
    method="PUT",
    url="https://b\u00fccher.test/v1.5/items",
    verdict="deny",
    outcome="denied",
    reason="Th\u00e9 quota is exceeded",
    decided_by="policy",
    rule_id="no-admin",
    decision_seconds=None,
    status=403,
    bytes_sent=0,
    bytes_received=0,
    duration=0.1,
    address=None,
    upstream=None,
    observed="deny",
    source=None,
    phases=(),
    request_headers=None,
    response_headers=None,
    trace=None,
    grpc=None,
    client_http="2",
    origin_http=None,
    policy_version="3f9a0c1b2d4e",
)


def filters(data: bytes) -> None:
    """A filter of the audit store: SQLite accepts every statement, and each value is a parameter."""
    text = data.decode("utf-8", "surrogateescape")
    query = None
    with contextlib.suppress(FilterError):
        query = compile_filter(parse_filter(text, 1_700_000_000.0))
    if query is None:
        return
    assert query.where.text.count("?") == len(query.where.parameters)
    store = SqliteStore(
        Path(":memory:"), lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    )
    try:
        store.migrate()
        store.append([_STORED])
        given = parse_filter(text, 1_700_000_000.0)
        # Both with the index and without it.
        found = [list(store.search(given, limit)) for limit in (1, None)]
        rows = store.rows(f"SELECT id FROM {query.table} WHERE {query.where.text}", query.where.parameters)
        assert [len(each) for each in found] == [len(rows), len(rows)]
    finally:
        store.close()


def traces(data: bytes) -> None:
    """C{traceparent}, and lines of C{tracestate}: what is passed on is valid, and means what was received."""
    parent, *states = data[1:].split(b"\n")
    found = trace_context(((b"traceparent", parent), *((b"tracestate", each) for each in states)))
    if found is None:
        return
    assert parent[3:52] == f"{found.trace_id}-{found.span_id}".encode()
    assert found.sampled == bool(int(parent[53:55], 16) & 1)
    assert trace_context(found.fields) == found
    for name, value in found.fields:
        assert is_value(value), name
        assert len(value) <= 1024


def admin(data: bytes) -> None:
    """Requests to the admin API, and its endpoint: writing and reading does not change them."""
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(data)
        with contextlib.suppress(InvalidApprovalAnswer):
            answer = ApprovalAnswer.parse(document)
            assert answer.allow is (document["answer"] == "allow")
            assert ApprovalAnswer.parse(json.loads(json.dumps(answer.to_json()))) == answer
            assert f"{answer.who}{answer.reason}".isprintable()
        with contextlib.suppress(InvalidExplainRequest):
            question = ExplainRequest.parse(document)
            assert ExplainRequest.parse(json.loads(json.dumps(question.to_json()))) == question
            assert not set("\r\n\0") & set(question.method + question.url)
    with contextlib.suppress(InvalidAdmin):
        endpoint = AdminEndpoint.parse(data.decode("utf-8", "replace"))
        assert endpoint.path is not None or (endpoint.address is not None and endpoint.address.is_loopback)
        assert AdminEndpoint.parse(endpoint.endpoint) == endpoint


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        requests,
        responses,
        chunks,
        fields,
        connect,
        session,
        hello,
        proxy_protocol,
        socks,
        socks_replies,
        authority,
        target,
        bypass,
        contract,
        questions,
        answers,
        checks,
        policy,
        conditions,
        queries,
        contents,
        codings,
        forms,
        multipart,
        paths,
        audit,
        lock,
        credentials,
        staple,
        redaction,
        filters,
        traces,
        admin,
        grpc,
        websocket,
        events,
        http2,
        http2_origin,
        http2_session,
    )
}
