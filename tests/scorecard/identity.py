"""One identity per request: CONNECT, server name, Host and origin are the same, or the proxy forwards nothing."""

from __future__ import annotations

from tests.scorecard.cases import GET, OK, UNASKED, Case, Must, close, forward, get, raw, refuse

TUNNELS = "CONNECT tunnels"
UPGRADES = "Upgrades"
LOGINS = "Connection authentication"

SECURE = b"<secure>"
_NAME = "localhost"
_FIELDS = b" HTTP/1.1\r\nHost: <secure>\r\n\r\n"
_INNER = b"GET /" + _FIELDS
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def _inside(id: str, about: str, must: Must, *sent: bytes, name: str = _NAME, answer: bytes = OK) -> Case:  # noqa: A002
    """Inside TLS, inside a CONNECT."""
    return Case(id, TUNNELS, about, must, sent, tunnel=SECURE, server_name=name, answer=answer)


def _plain(id: str, about: str, must: Must, *sent: bytes, early: bytes = b"") -> Case:  # noqa: A002
    """Inside a CONNECT, without TLS."""
    return Case(id, TUNNELS, about, must, sent, tunnel=b"<origin>", early=early)


def _host(host: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


_TUNNELS = (
    _inside("inner", "CONNECT, server name, Host and origin are the same", forward(), _INNER),
    _inside("inner-absolute", "an absolute URL of the same origin", forward(), b"GET https://<secure>/" + _FIELDS),
    _inside("sni-other", "a different server name", refuse(421), _INNER, name="other.test"),
    _inside(
        "sni-other-host",
        "a different server name, and the same different Host",
        refuse(421),
        _host(b"other.test"),
        name="other.test",
    ),
    _inside("host-front", "a different Host (domain fronting)", refuse(421), _host(b"<other-secure>")),
    _inside("host-front-name", "a different Host without a port", refuse(421), _host(b"other.test")),
    _inside("host-port", "a different port in Host", refuse(421), _host(b"localhost")),
    _inside(
        "host-two-inner", "two Hosts", refuse(), b"GET / HTTP/1.1\r\nHost: <secure>\r\nHost: <other-secure>\r\n\r\n"
    ),
    _inside("host-none-inner", "no Host", refuse(), b"GET / HTTP/1.1\r\n\r\n"),
    _inside("host-empty-inner", "an empty Host", refuse(), _host(b"")),
    _inside("host-spelling", "Host in a different spelling", forward(), _host(b"LOCALHOST.:<secure-port>")),
    _inside(
        "url-front", "an absolute URL of a different origin", refuse(421), b"GET https://<other-secure>/" + _FIELDS
    ),
    _inside(
        "url-front-both",
        "URL and Host of a different origin",
        refuse(421),
        b"GET https://<other-secure>/ HTTP/1.1\r\nHost: <other-secure>\r\n\r\n",
    ),
    _inside("url-scheme", "an absolute http URL", refuse(400, 421), b"GET http://<secure>/" + _FIELDS),
    _inside("second-host", "a second request for a different host", forward(1, 421), _INNER, _host(b"<other-secure>")),
    _inside(
        "second-url",
        "a second request with the URL of a different origin",
        forward(1, 421),
        _INNER,
        b"GET https://<other-secure>/" + _FIELDS,
    ),
    _inside("second-pipelined", "the same in one packet", forward(1, 421), _INNER + _host(b"<other-secure>")),
    _inside("connect-inner", "a nested CONNECT", refuse(400, 405), b"CONNECT <other-secure>" + _FIELDS),
    _inside("connect-same", "a nested CONNECT to the same origin", refuse(400, 405), b"CONNECT <secure>" + _FIELDS),
    _inside("asterisk-inner", "OPTIONS *", forward(), b"OPTIONS *" + _FIELDS),
    _inside("preface-inner", "the HTTP/2 preface without negotiation", refuse(400, 505), _PREFACE),
    _inside("http09-inner", "HTTP/0.9", Must((400, 408), closed=True), b"GET /\r\n"),
    _inside(
        "cl-te-inner",
        "CL.TE",
        refuse(),
        b"POST / HTTP/1.1\r\nHost: <secure>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    Case(
        "connect-host",
        TUNNELS,
        "a CONNECT with a different Host; requests inside are for the target",
        forward(),
        (b"CONNECT <origin> HTTP/1.1\r\nHost: <other>\r\n\r\n", b"GET / HTTP/1.1\r\nHost: <origin>\r\n\r\n"),
    ),
    Case(
        "connect-host-inside",
        TUNNELS,
        "the same; requests inside are for that Host",
        refuse(421),
        (b"CONNECT <origin> HTTP/1.1\r\nHost: <other>\r\n\r\n", b"GET / HTTP/1.1\r\nHost: <other>\r\n\r\n"),
    ),
    Case(
        "connect-no-host",
        TUNNELS,
        "a CONNECT without Host",
        forward(),
        (b"CONNECT <origin> HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: <origin>\r\n\r\n"),
    ),
    Case(
        "connect-no-host-inside",
        TUNNELS,
        "the same; requests inside have no Host either",
        refuse(),
        (b"CONNECT <origin> HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"),
    ),
    raw(
        b"CONNECT <origin> HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 5\r\n\r\nhello",
        TUNNELS,
        "connect-content",
        "a CONNECT with content",
        refuse(),
    ),
    raw(
        b"CONNECT http://<origin>/ HTTP/1.1\r\nHost: <origin>\r\n\r\n",
        TUNNELS,
        "connect-url",
        "a CONNECT to a URL",
        refuse(),
    ),
    raw(
        b"CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
        TUNNELS,
        "connect-portless",
        "a CONNECT without a port",
        refuse(),
    ),
    raw(
        b"CONNECT user@<origin> HTTP/1.1\r\nHost: <origin>\r\n\r\n",
        TUNNELS,
        "connect-user",
        "a CONNECT with credentials",
        refuse(),
    ),
    _plain("plain", "plain HTTP for the same host", forward(), b"GET / HTTP/1.1\r\nHost: <origin>\r\n\r\n"),
    _plain("plain-front", "plain HTTP with a different Host", refuse(421), b"GET / HTTP/1.1\r\nHost: <other>\r\n\r\n"),
    _plain(
        "plain-url",
        "plain HTTP with the URL of a different host",
        refuse(421),
        b"GET http://<other>/ HTTP/1.1\r\nHost: <other>\r\n\r\n",
    ),
    _plain(
        "plain-connect",
        "plain HTTP with a nested CONNECT",
        refuse(400, 405),
        b"CONNECT <other>" + b" HTTP/1.1\r\nHost: <other>\r\n\r\n",
    ),
    _plain(
        "plain-denied", "plain HTTP, denied by policy", refuse(403), b"GET /smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n"
    ),
    _plain("preface", "the HTTP/2 preface without TLS, and no request", Must((400, 505), closed=True), _PREFACE),
    _plain("ssh", "SSH", close(), b"SSH-2.0-OpenSSH_9.6\r\n"),
    _plain("binary", "binary data", close(), bytes(range(256))),
    _plain("socks", "SOCKS5", close(), b"\x05\x01\x00"),
    _plain(
        "lower",
        "a lowercase request line",
        Must((400, 403), closed=True),
        b"get / http/1.1\r\nhost: <origin>\r\n\r\n",
    ),
    _plain("lower-method", "a lowercase method", forward(), b"patch / HTTP/1.1\r\nHost: <origin>\r\n\r\n"),
    _plain("ssh-space", "SSH with a comment", close(), b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    _plain("smtp", "a command of another protocol", Must((400,), closed=True), b"EHLO client.test\r\n"),
    _plain("sslv2", "an SSL 2 hello", close(), b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + b"\x01" * 37),
    _plain("tls-broken", "a TLS record that is not a hello", close(), b"\x16\x03\x01\x00\x05hello" + b"\x00" * 50),
    _plain("tls-alert", "a TLS alert", close(), b"\x15\x03\x01\x00\x02\x01\x00"),
    _plain(
        "early-plain",
        "a denied request in the packet of the CONNECT",
        refuse(403),
        early=b"GET /smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n",
    ),
    _plain("early-binary", "binary data in the packet of the CONNECT", close(), early=b"\x00\x01\x02\x03"),
    Case(
        "second-plain",
        TUNNELS,
        "without a CONNECT, a second request for another host, with a separate decision",
        forward(2),
        (GET, b"GET http://<other>/ HTTP/1.1\r\nHost: <other>\r\n\r\n"),
    ),
)

_H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
_WS_VERSION, _WS_KEY = b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_WS_BARE = (b"Connection: Upgrade", b"Upgrade: websocket")
_WS_OLD = b"Sec-WebSocket-Version: 8"
_TCP = (b"Connection: Upgrade", b"Upgrade: tcp", b"Content-Length: 0")
_WS = (*_WS_BARE, _WS_VERSION, _WS_KEY)
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
# The data of the origin in the new protocol.  A client could read it as a response.
_AFTER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + UNASKED


def _upgrade(id: str, about: str, must: Must, *lines: bytes, answer: bytes = OK, method: bytes = b"GET") -> Case:  # noqa: A002
    sent = b"\r\n".join([method + b" http://<origin>/ HTTP/1.1", b"Host: <origin>", *lines, b"", b""])
    return Case(id, UPGRADES, about, must, (sent,), answer=answer)


_UPGRADES = (
    _upgrade("h2c", "an upgrade to h2c: forwarded without the upgrade", forward(), *_H2C),
    _upgrade(
        "h2c-101",
        "an upgrade to h2c, and the origin switches",
        forward(1, 502),
        *_H2C,
        answer=_SWITCH % b"h2c" + _AFTER,
    ),
    _upgrade("h2c-quiet", "h2c without Connection: forwarded without the upgrade", forward(), b"Upgrade: h2c"),
    _upgrade(
        "unasked-101",
        "the origin switches without an upgrade request",
        forward(1, 502),
        answer=_SWITCH % b"websocket" + _AFTER,
    ),
    _upgrade(
        "websocket-post",
        "a WebSocket request with POST: forwarded without the upgrade",
        forward(),
        *_WS,
        b"Content-Length: 0",
        method=b"POST",
    ),
    _upgrade(
        "websocket-list",
        "WebSocket or h2c: forwarded without the upgrade",
        forward(),
        b"Connection: Upgrade",
        b"Upgrade: websocket, h2c",
    ),
    _upgrade(
        "websocket-other-101",
        "a WebSocket request, and the origin switches to h2c",
        forward(1, 502),
        *_WS,
        answer=_SWITCH % b"h2c" + _AFTER,
    ),
    _upgrade(
        "websocket-accept",
        "a WebSocket request, and Sec-WebSocket-Accept of the origin belongs to another key",
        forward(1, 502),
        *_WS,
        answer=(_SWITCH % b"websocket").replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: eA==\r\n\r\n") + _AFTER,
    ),
    _upgrade(
        "websocket-no-accept",
        "the same without Sec-WebSocket-Accept",
        forward(1, 502),
        *_WS,
        answer=_SWITCH % b"websocket" + _AFTER,
    ),
    _upgrade("websocket-no-key", "a WebSocket request without a key", refuse(), *_WS_BARE, _WS_VERSION),
    _upgrade(
        "websocket-key", "a WebSocket request with a key of one byte", refuse(), *_WS[:3], b"Sec-WebSocket-Key: eA=="
    ),
    _upgrade("websocket-keys", "a WebSocket request with two keys", refuse(), *_WS, _WS_KEY),
    _upgrade("websocket-version", "a WebSocket request of version 8", refuse(400, 426), *_WS[:2], _WS_KEY, _WS_OLD),
    _upgrade("tcp", "an upgrade to tcp, which is not allowed", refuse(400, 403, 501), *_TCP, method=b"POST"),
    _upgrade(
        "spdy-or-websocket", "SPDY/3.1 or WebSocket", refuse(400, 403, 501), *_WS, b"Upgrade: SPDY/3.1", answer=OK
    ),
    _upgrade(
        "tcp-quiet",
        "tcp without Connection: forwarded without the upgrade",
        forward(),
        b"Upgrade: tcp",
        answer=OK,
        method=b"POST",
    ),
    _upgrade("websocket-refused", "a WebSocket request that the origin rejects", forward(), *_WS),
    Case(
        "websocket-refused-then",
        UPGRADES,
        "the same, with a denied request in the same packet",
        forward(1, 403),
        (
            b"\r\n".join([b"GET http://<origin>/ HTTP/1.1", b"Host: <origin>", *_WS, b"", b""])
            + b"GET http://<origin>/smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n",
        ),
    ),
    Case(
        "websocket-denied",
        UPGRADES,
        "a WebSocket request that is denied",
        refuse(403),
        (b"\r\n".join([b"GET http://<origin>/smuggled HTTP/1.1", b"Host: <origin>", *_WS, b"", b""]),),
    ),
)

_LOGIN = b"Authorization: NTLM TlRMTVNTUAADAAAA"


def _apart(id: str, about: str, first: bytes, answer: bytes = OK) -> Case:  # noqa: A002
    """One client sends a request, then another client of the same address, while the first is still connected."""
    return Case(id, LOGINS, about, forward(2), (first, GET), answer=answer, apart=True)


_LOGINS = (
    _apart(
        "login-ntlm",
        "a client logs in with NTLM, then another client sends a request",
        get(b"http://<origin>/", _LOGIN),
    ),
    _apart(
        "login-negotiate",
        "the same with Negotiate in lowercase, after other credentials in a list",
        get(b"http://<origin>/", b"authorization: Basic eDp4, negotiate YII="),
    ),
    _apart(
        "login-confirmed",
        "an origin reports that it has authenticated the connection",
        GET,
        OK.replace(b"\r\n\r\n", b"\r\nPersistent-Auth: true\r\n\r\n"),
    ),
    _apart(
        "login-offered",
        "an origin offers NTLM among other schemes",
        GET,
        OK.replace(b"\r\n\r\n", b"\r\nWWW-Authenticate: Basic realm=x, NTLM\r\n\r\n"),
    ),
)

CASES = (*_TUNNELS, *_UPGRADES, *_LOGINS)
