"""SOCKS5: malformed messages, rejected clients, and tunnels whose content contradicts their destination."""

from __future__ import annotations

from ipaddress import ip_address

from tests.http2_conformance import frames as wire
from tests.scorecard.cases import GET, SOCKS_CLIENT, Case, Listener, Must, close, forward, get, refuse
from tests.scorecard.http2_wire import Frame
from tests.scorecard.socks_wire import LOGIN, NO_METHOD, SOCKS4, reply

MESSAGES = "SOCKS5 messages"
TUNNELS = "SOCKS5 tunnels"
ADDRESSES = "SOCKS5 addresses"

_NAME = b"localhost"
_PORT, _SECURE_PORT = b"<port-16>", b"<secure-port-16>"
_INNER = b"GET / HTTP/1.1\r\nHost: <origin>\r\n\r\n"
_SECURE = b"GET / HTTP/1.1\r\nHost: <secure>\r\n\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n"
_BIND, _UDP_ASSOCIATE = 2, 3

# A malformed request is rejected, or the proxy closes the connection.
_MALFORMED = refuse(reply(1))
_NO_RESPONSE = Must(closed=True)


def _greeting(*methods: int) -> bytes:
    return bytes([5, len(methods), *methods])


def _login(name: bytes = SOCKS_CLIENT[0], password: bytes = SOCKS_CLIENT[1], version: int = 1) -> bytes:
    return b"%c%c%b%c%b" % (version, len(name), name, len(password), password)


def _connect(where: bytes, port: bytes = _PORT, *, version: int = 5, command: int = 1, reserved: int = 0) -> bytes:
    return b"%c%c%c%b%b" % (version, command, reserved, where, port)


def _named(name: bytes) -> bytes:
    return b"\x03%c%b" % (len(name), name)


def _addressed(text: str) -> bytes:
    address = ip_address(text)
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


_OPEN = (_greeting(0), _connect(_named(_NAME)))
_OPEN_SECURE = (_greeting(0), _connect(_named(_NAME), _SECURE_PORT))


def _message(id: str, about: str, must: Must, *messages: bytes, then: tuple[bytes, ...] = (_INNER,)) -> Case:  # noqa: A002
    return Case(f"socks-{id}", MESSAGES, about, must, then, listener=Listener.SOCKS, socks=messages)


def _authenticated(id: str, about: str, must: Must, *messages: bytes, then: tuple[bytes, ...] = (_INNER,)) -> Case:  # noqa: A002
    return Case(f"socks-{id}", MESSAGES, about, must, then, listener=Listener.SOCKS_LOGIN, socks=messages)


def _request(id: str, about: str, must: Must, request: bytes) -> Case:  # noqa: A002
    """A request after the greeting, followed by a request for the origin in the same packet."""
    return _message(id, about, must, _greeting(0), request + _INNER)


def _name(id: str, about: str, name: bytes) -> Case:  # noqa: A002
    return _request(f"name-{id}", about, _MALFORMED, _connect(_named(name)))


_MESSAGES = (
    _message("plain", "a tunnel with plain HTTP", forward(), *_OPEN),
    _message(
        "pipelined",
        "all messages and a request in one packet",
        forward(),
        _greeting(0) + _connect(_named(_NAME)) + _INNER,
        then=(),
    ),
    _message(
        "pipelined-denied",
        "the same with a request that is denied",
        refuse(403),
        _greeting(0) + _connect(_named(_NAME)) + _SMUGGLED,
        then=(),
    ),
    # A listener for SOCKS5 also accepts HTTP.
    Case("socks-http", MESSAGES, "HTTP on the same port", forward(), (GET,), listener=Listener.SOCKS),
    Case(
        "socks-version-0",
        MESSAGES,
        "a greeting with version 0",
        Must((400,), closed=True),
        (b"\0\1\0" + _INNER,),
        listener=Listener.SOCKS,
    ),
    Case(
        "socks-version-6",
        MESSAGES,
        "a greeting with version 6",
        Must((400,), closed=True),
        (b"\6\1\0" + _INNER,),
        listener=Listener.SOCKS,
    ),
    Case(
        "socks-header",
        MESSAGES,
        "a header of the PROXY protocol before the greeting",
        Must((400,), closed=True),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 8080\r\n" + _greeting(0),),
        listener=Listener.SOCKS,
    ),
    _message("no-methods", "a greeting without methods", refuse(NO_METHOD), b"\5\0" + _connect(_named(_NAME))),
    _message("gssapi", "only GSSAPI", refuse(NO_METHOD), _greeting(1) + _connect(_named(_NAME)) + _INNER),
    _message("private", "only private methods", refuse(NO_METHOD), _greeting(0x80, 0xFE, 0xFF) + _INNER),
    _message("greeting-cut", "a greeting that ends early", _NO_RESPONSE, b"\5\7\0"),
    _message("v4", "SOCKS4", refuse(SOCKS4), b"\4\1" + _PORT + b"\x7f\0\0\1\0" + _INNER),
    _message("v4a", "SOCKS4a", refuse(SOCKS4), b"\4\1" + _PORT + b"\0\0\0\1\0localhost\0" + _INNER),
    _request("request-v4", "a request with version 4", _MALFORMED, _connect(_named(_NAME), version=4)),
    _request("reserved", "a reserved octet that is not 0", _MALFORMED, _connect(_named(_NAME), reserved=1)),
    _request("bind", "BIND", refuse(reply(7)), _connect(_named(_NAME), command=_BIND)),
    _request("udp", "UDP ASSOCIATE", refuse(reply(7)), _connect(_named(_NAME), command=_UDP_ASSOCIATE)),
    _request("command-0", "the command 0", refuse(reply(7)), _connect(_named(_NAME), command=0)),
    _request("command-resolve", "the command RESOLVE of Tor", refuse(reply(7)), _connect(_named(_NAME), command=0xF0)),
    _request("type-0", "the address type 0", refuse(reply(8)), _connect(b"\0\x7f\0\0\1")),
    _request("type-2", "the address type 2", refuse(reply(8)), _connect(b"\2\x7f\0\0\1")),
    _request("type-255", "the address type 255", refuse(reply(8)), _connect(b"\xff\x7f\0\0\1")),
    _request("port-0", "the port 0", _MALFORMED, _connect(_named(_NAME), b"\0\0")),
    _message("request-cut", "a request that ends early", _NO_RESPONSE, _greeting(0), _connect(_named(_NAME))[:-9]),
    _name("empty", "an empty name", b""),
    _name("nul", "NUL and another domain in a name", b"localhost\0.other.test"),
    _name("space", "a space in a name", b"localhost other.test"),
    _name("crlf", "CR and LF in a name", b"localhost\r\nX-A: b"),
    _name("lf", "LF after a name", b"localhost\n"),
    _name("colon", "a port in a name", b"localhost:80"),
    _name("slash", "a path in a name", b"localhost/smuggled"),
    _name("user", "credentials in a name", b"user@localhost"),
    _name("comma", "two names in a list", b"localhost,other.test"),
    _name("percent", "a percent-encoded name", b"%6cocalhost"),
    _name("not-ascii", "a name that is not ASCII", "l\u00f6calhost".encode()),
    _name("wide", "a name in full-width letters", "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54".encode()),
    _name("long", "a label of 255 octets", b"a" * 255),
    _name("dots", "two root dots", b"localhost.."),
    _name("dot", "only a dot", b"."),
    _name("zone", "an IPv6 address with a zone", b"fe80::1%eth0"),
    _message("name-upper", "a name in another spelling", forward(), _greeting(0), _connect(_named(b"LOCALHOST."))),
    _authenticated("login", "a name and a password", forward(), _greeting(2), _login(), _OPEN[1]),
    _authenticated(
        "login-pipelined",
        "the same in one packet, with a request that is denied",
        refuse(403),
        _greeting(0, 2) + _login() + _OPEN[1] + _SMUGGLED,
        then=(),
    ),
    _authenticated("login-none", "only no authentication", refuse(NO_METHOD), _greeting(0) + _OPEN[1] + _INNER),
    _authenticated(
        "login-skipped", "a request instead of the credentials", refuse(LOGIN), _greeting(0, 2), _OPEN[1] + _INNER
    ),
    _authenticated(
        "login-wrong",
        "a wrong password, and a request in the same packet",
        refuse(LOGIN),
        _greeting(2),
        _login(password=b"wrong") + _OPEN[1] + _INNER,
    ),
    _authenticated(
        "login-unknown", "an unknown name", refuse(LOGIN), _greeting(2), _login(b"other") + _OPEN[1] + _INNER
    ),
    _authenticated(
        "login-empty", "an empty name and password", refuse(LOGIN), _greeting(2), _login(b"", b"") + _OPEN[1] + _INNER
    ),
    _authenticated(
        "login-nul",
        "NUL after the name",
        refuse(LOGIN),
        _greeting(2),
        _login(SOCKS_CLIENT[0] + b"\0") + _OPEN[1] + _INNER,
    ),
    _authenticated(
        "login-colon",
        "the password in the name",
        refuse(LOGIN),
        _greeting(2),
        _login(b":".join(SOCKS_CLIENT), b"") + _OPEN[1] + _INNER,
    ),
    _authenticated(
        "login-version", "credentials with version 5", refuse(LOGIN), _greeting(2), _login(version=5) + _OPEN[1]
    ),
    _authenticated("login-cut", "credentials that end early", _NO_RESPONSE, _greeting(2), _login()[:-1]),
    Case(
        "socks-login-http",
        MESSAGES,
        "HTTP on the same port, without credentials",
        refuse(407),
        (GET,),
        listener=Listener.SOCKS_LOGIN,
    ),
)


def _inside(id: str, about: str, must: Must, *sent: bytes, name: str = "localhost") -> Case:  # noqa: A002
    """Inside TLS, in a tunnel to a name."""
    return Case(
        f"socks-{id}", TUNNELS, about, must, sent, listener=Listener.SOCKS, socks=_OPEN_SECURE, server_name=name
    )


def _plain(id: str, about: str, must: Must, *sent: bytes, to: bytes = _named(_NAME)) -> Case:  # noqa: A002
    """Without TLS, in a tunnel to a name or an address."""
    socks = (_greeting(0), _connect(to))
    return Case(f"socks-{id}", TUNNELS, about, must, sent, listener=Listener.SOCKS, socks=socks)


_LOOPBACK = _addressed("127.0.0.1")
_HEAD = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/"),
    (b":authority", b"<secure>"),
)

_TUNNELS = (
    _inside("tls", "SOCKS5, server name, Host and origin are the same", forward(), _SECURE),
    Case(
        "socks-http2",
        TUNNELS,
        "HTTP/2",
        forward(),
        listener=Listener.SOCKS,
        socks=_OPEN_SECURE,
        server_name="localhost",
        http2=((Frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, _HEAD),),),
    ),
    _inside("sni-other", "a different server name", refuse(421), _SECURE, name="other.test"),
    _inside(
        "sni-other-host",
        "a different server name, and the same different Host",
        refuse(421),
        _SECURE.replace(b"<secure>", b"other.test"),
        name="other.test",
    ),
    _inside("host-other", "TLS with a different Host", refuse(421), _SECURE.replace(b"<secure>", b"<other-secure>")),
    _inside(
        "second-host",
        "a second request for a different host",
        forward(1, 421),
        _SECURE,
        _SECURE.replace(b"<secure>", b"<other-secure>"),
    ),
    _inside("denied", "TLS with a request that is denied", refuse(403), _SECURE.replace(b" / ", b" /smuggled ")),
    _plain("plain-host", "plain HTTP with a different Host", refuse(421), _INNER.replace(b"<origin>", b"<other>")),
    _plain("plain-url", "plain HTTP with the URL of a different host", refuse(421), get(b"http://<other>/")),
    _plain("plain-two", "plain HTTP with two Hosts", refuse(), get(b"/", b"Host: <other>")),
    _plain("plain-none", "plain HTTP without Host", refuse(), get(b"/", host=None)),
    _plain(
        "connect",
        "a CONNECT to another host",
        refuse(400, 405),
        b"CONNECT <other> HTTP/1.1\r\nHost: <other>\r\n\r\n",
    ),
    _plain("nested", "a second SOCKS conversation", close(), b"".join(_OPEN)),
    _plain("second-request", "a second SOCKS request", close(), _OPEN[1]),
    _plain("ssh", "SSH", close(), b"SSH-2.0-OpenSSH_9.6\r\n"),
    _plain("binary", "binary data", close(), bytes(range(256))),
    # For an address, the proxy resolves the name that the client sends.
    _plain("to-address", "plain HTTP for a name, to its address", forward(), _INNER, to=_LOOPBACK),
    _plain(
        "to-address-port",
        "the same for another port",
        refuse(421),
        _INNER.replace(b"<origin>", b"<other>"),
        to=_LOOPBACK,
    ),
    _plain("to-address-none", "an address, and no Host", refuse(), get(b"/", host=None), to=_LOOPBACK),
    _plain("to-address-denied", "an address, and a request that is denied", refuse(403), _SMUGGLED, to=_LOOPBACK),
    _plain("to-address-binary", "an address, and binary data", close(), bytes(range(256)), to=_LOOPBACK),
    Case(
        "socks-to-address-other",
        TUNNELS,
        "an address, and TLS for the name of another host",
        refuse(403, 421, 502),
        (_SECURE.replace(b"<secure>", b"other.test:<secure-port>"),),
        listener=Listener.SOCKS,
        socks=(_greeting(0), _connect(_LOOPBACK, _SECURE_PORT)),
        server_name="other.test",
    ),
    Case(
        "socks-to-address-host",
        TUNNELS,
        "an address, and TLS with a different Host",
        refuse(421),
        (_SECURE.replace(b"<secure>", b"<other-secure>"),),
        listener=Listener.SOCKS,
        socks=(_greeting(0), _connect(_LOOPBACK, _SECURE_PORT)),
        server_name="localhost",
    ),
)


def _forbidden(id: str, about: str, to: bytes, host: bytes) -> Case:  # noqa: A002
    sent = b"GET / HTTP/1.1\r\nHost: %b:<port>\r\n\r\n" % host
    socks = (_greeting(0), _connect(to))
    return Case(
        f"socks-{id}", ADDRESSES, about, refuse(403), (sent,), listener=Listener.SOCKS, socks=socks, guarded=True
    )


def _address(id: str, about: str, text: str) -> Case:  # noqa: A002
    return _forbidden(f"address-{id}", about, _addressed(text), f"[{text}]".encode() if ":" in text else text.encode())


def _text(id: str, about: str, text: bytes) -> Case:  # noqa: A002
    return _forbidden(f"text-{id}", about, _named(text), text)


_ADDRESSES = (
    _address("loopback", "IPv4: loopback", "127.0.0.1"),
    _address("unspecified", "IPv4: the unspecified address", "0.0.0.0"),
    _address("metadata", "IPv4: the metadata service of cloud platforms", "169.254.169.254"),
    _address("metadata-alibaba", "IPv4: the metadata service of Alibaba Cloud", "100.100.100.200"),
    _address("v6", "IPv6: loopback", "::1"),
    _address("v6-metadata", "IPv6: the metadata service of AWS", "fd00:ec2::254"),
    _address("v6-mapped", "IPv4-mapped loopback", "::ffff:127.0.0.1"),
    _address("v6-mapped-metadata", "IPv4-mapped metadata service", "::ffff:169.254.169.254"),
    _address("v6-nat64", "NAT64 of the metadata service", "64:ff9b::a9fe:a9fe"),
    _address("v6-6to4", "6to4 of the metadata service", "2002:a9fe:a9fe::1"),
    _text("loopback", "an IPv4 address as a name", b"127.0.0.1"),
    _text("metadata", "the address of the metadata service as a name", b"169.254.169.254"),
    _text("decimal", "the same as one number", b"2852039166"),
    _text("octal", "the same in octal", b"0251.0376.0251.0376"),
    _text("hex", "the same in hexadecimal", b"0xa9fea9fe"),
    _text("v6", "an IPv6 address as a name", b"[::1]"),
    _text("v6-mapped", "an IPv4-mapped address as a name", b"[::ffff:169.254.169.254]"),
    _text("name", "the name of this machine", b"localhost"),
    _text("metadata-name", "the name of a metadata service", b"metadata.google.internal"),
    _forbidden(
        "address-name",
        "the address of the metadata service, and the name of another host",
        _addressed("169.254.169.254"),
        b"metadata.google.internal",
    ),
)

CASES = (*_MESSAGES, *_TUNNELS, *_ADDRESSES)
