"""Lines, fields, targets: the syntax of the head."""

from __future__ import annotations

from tests.scorecard.cases import GET, SMUGGLED, Case, Must, forward, get, raw, refuse

LINES = "Lines"
START = "Request line"
TARGETS = "Targets and Host"
BOUNDS = "Limits"


def _line(id: str, about: str, *lines: bytes, must: Must | None = None) -> Case:  # noqa: A002
    return raw(get(b"http://<origin>/", *lines), LINES, id, about, must or refuse())


_LINES = (
    raw(GET.replace(b"\r\n", b"\n"), LINES, "lf-only", "only line feeds as line ends", refuse()),
    raw(GET.replace(b"\r\n", b"\r"), LINES, "cr-only", "only carriage returns as line ends", refuse()),
    _line("lf-one", "one bare line feed", b"A: b\nC: d"),
    _line("cr-one", "one bare carriage return", b"A: b\rC: d"),
    _line("crcrlf", "CR CR LF", b"A: b\r"),
    raw(get()[:-2] + b"\n" + SMUGGLED, LINES, "lf-end", "the empty line is a bare line feed", refuse()),
    _line("fold", "a folded line", b"A: b\r\n c"),
    _line("fold-tab", "a line folded by a tab", b"A: b\r\n\tc"),
    raw(
        b"GET http://<origin>/ HTTP/1.1\r\n Host: <origin>\r\n\r\n",
        LINES,
        "fold-first",
        "the first field line is folded",
        refuse(),
    ),
    _line("blank", "a line of white space", b"A: b", b" ", b"C: d"),
    _line("nul-value", "NUL in a value", b"A: b\x00c"),
    _line("nul-name", "NUL in a name", b"A\x00: b"),
    _line("control", "a control character in a value", b"A: b\x01c"),
    _line("delete", "DEL in a value", b"A: b\x7fc"),
    _line("name-space", "a space before the colon", b"A : b"),
    _line("name-inside", "a space in a name", b"A B: c"),
    _line("name-empty", "an empty name", b": b"),
    _line("name-bracket", "a separator in a name", b"A(b): c"),
    _line("name-high", "a byte above 127 in a name", b"A\xe4: b"),
    _line("no-colon", "a line without a colon", b"A b"),
    _line("value-high", "bytes above 127 in a value", b"A: \xe4\xff", must=forward()),
    _line("value-utf8", "UTF-8 in a value", "A: \u00e4".encode(), must=forward()),
    _line("value-empty", "an empty value", b"A:", must=forward()),
)


def _start(id: str, about: str, sent: bytes, must: Must | None = None) -> Case:  # noqa: A002
    return raw(sent, START, id, about, must or refuse())


def _line_of(start: bytes) -> bytes:
    return start + b"\r\nHost: <origin>\r\n\r\n"


_START = (
    _start("two-spaces", "two spaces before the target", _line_of(b"GET  http://<origin>/ HTTP/1.1")),
    _start("two-spaces-version", "two spaces before the version", _line_of(b"GET http://<origin>/  HTTP/1.1")),
    _start("tab", "a tab before the target", _line_of(b"GET\thttp://<origin>/ HTTP/1.1")),
    _start("trailing-space", "a space after the version", _line_of(b"GET http://<origin>/ HTTP/1.1 ")),
    _start("leading-space", "a space before the method", _line_of(b" GET http://<origin>/ HTTP/1.1")),
    _start("leading-lf", "a bare line feed before the method", b"\n" + GET),
    _start("leading-crlf", "an empty line before the method", b"\r\n" + GET, forward()),
    _start("many-crlf", "a hundred empty lines", b"\r\n" * 100 + GET),
    _start("no-version", "HTTP/0.9", b"GET http://<origin>/\r\n", Must((400, 408), closed=True)),
    _start("no-version-fields", "HTTP/0.9 with fields", _line_of(b"GET http://<origin>/")),
    _start(
        "version-09", "HTTP/0.9 with an explicit version", _line_of(b"GET http://<origin>/ HTTP/0.9"), refuse(400, 505)
    ),
    _start("version-lower", "http/1.1", _line_of(b"GET http://<origin>/ http/1.1")),
    _start("version-2", "HTTP/2.0", _line_of(b"GET http://<origin>/ HTTP/2.0"), refuse(400, 505)),
    _start("version-two-digits", "HTTP/1.10", _line_of(b"GET http://<origin>/ HTTP/1.10"), refuse(400, 505)),
    _start("version-leading-zero", "HTTP/01.1", _line_of(b"GET http://<origin>/ HTTP/01.1"), refuse(400, 505)),
    _start("version-other", "another protocol", _line_of(b"GET http://<origin>/ ICY/1.1")),
    _start("version-1-9", "HTTP/1.9", _line_of(b"GET http://<origin>/ HTTP/1.9"), Must((400, 505), forwarded=1)),
    _start(
        "method-lower",
        "a lowercase method",
        _line_of(b"get http://<origin>/ HTTP/1.1"),
        Must((400, 501), forwarded=1),
    ),
    _start("method-separator", "a separator in the method", _line_of(b"G(T http://<origin>/ HTTP/1.1")),
    _start("method-nul", "NUL in the method", _line_of(b"G\x00T http://<origin>/ HTTP/1.1")),
    _start("method-trace", "TRACE", _line_of(b"TRACE http://<origin>/ HTTP/1.1"), refuse(400, 403, 405, 501)),
    _start("two-requests", "a request in the request line", _line_of(b"GET http://<origin>/ HTTP/1.1 HTTP/1.1")),
    _start("pri", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refuse(400, 505)),
    _start("tls", "TLS on an HTTP port", b"\x16\x03\x01\x00\x05hello"),
)


def _target(id: str, about: str, target: bytes, must: Must | None = None, **options: bytes | None) -> Case:  # noqa: A002
    return raw(get(target, **options), TARGETS, id, about, must or refuse())


_TARGETS = (
    _target(
        "host-other",
        "Host differs from the URL",
        b"http://<origin>/",
        Must((400, 421), forwarded=1),
        host=b"<other>",
    ),
    _target("host-none", "no Host", b"http://<origin>/", host=None),
    raw(get(b"http://<origin>/", b"Host: <origin>"), TARGETS, "host-twice", "the same Host twice", refuse()),
    raw(get(b"http://<origin>/", b"Host: <other>"), TARGETS, "host-two", "two Hosts", refuse()),
    raw(
        get(b"http://<origin>/", b"host: <other>"),
        TARGETS,
        "host-two-case",
        "two Hosts, one in lowercase",
        refuse(),
    ),
    raw(get(b"http://<origin>/", b"Host : <other>"), TARGETS, "host-space", "a second Host with a space", refuse()),
    raw(get(b"http://<origin>/", b" Host: <other>"), TARGETS, "host-fold", "a second Host on a folded line", refuse()),
    raw(
        get(b"http://<origin>/", b"Connection: Host"),
        TARGETS,
        "host-nominated",
        "Connection lists Host",
        forward(),
    ),
    raw(
        get(b"http://<origin>/", b"X-Forwarded-Host: <other>", b"X-HTTP-Method-Override: DELETE"),
        TARGETS,
        "host-forwarded",
        "fields that override Host and method on some origins",
        forward(),
    ),
    _target("form-origin", "origin form (a path)", b"/"),
    _target("form-asterisk", "* with GET", b"*"),
    raw(b"OPTIONS * HTTP/1.1\r\nHost: <origin>\r\n\r\n", TARGETS, "form-options", "OPTIONS *", refuse()),
    _target("form-https", "an https URL in clear text on loopback", b"https://<secure>/", forward(), host=b"<secure>"),
    _target("form-https-denied", "an https URL that is denied", b"https://<secure>/smuggled", refuse(403)),
    _target("form-ws", "a ws URL", b"ws://<origin>/", forward()),
    _target("form-ftp", "an ftp URL", b"ftp://<origin>/", refuse(400, 501)),
    _target("form-no-slashes", "a URL without slashes", b"http:<origin>/"),
    _target("form-one-slash", "a URL with one slash", b"http:/<origin>/"),
    _target("form-no-host", "a URL without a host", b"http:///"),
    _target("form-no-path", "a URL without a path", b"http://<origin>", forward()),
    _target("form-query", "a query without a path", b"http://<origin>?a", Must((400,), forwarded=1)),
    _target("form-scheme-upper", "a scheme in uppercase", b"HTTP://<origin>/", forward()),
    _target("target-lf", "a line feed", b"http://<origin>/a\nb"),
    _target("target-lf-smuggle", "a head after a line feed", b"http://<origin>/ HTTP/1.1\nHost: <other>\n\nGET /"),
    _target("target-cr", "a carriage return", b"http://<origin>/a\rb"),
    _target("target-nul", "a NUL", b"http://<origin>/a\x00b"),
    _target("target-tab", "a tab", b"http://<origin>/a\tb"),
    _target("target-space", "a space", b"http://<origin>/a b"),
    _target("target-fragment", "a fragment", b"http://<origin>/a#b", Must((400,), forwarded=1)),
    _target("target-backslash", "a backslash", b"http://<origin>/a\\b", forward()),
    _target("target-marks", "characters that RFC 3986 does not allow", b'http://<origin>/"<>^`{|}?"<>^`{|}', forward()),
    _target("target-backslash-slash", "backslashes instead of slashes", b"http:\\\\<origin>/"),
    _target("target-backslash-path", "a backslash at the start of the path", b"http://<origin>\\a"),
    _target("target-backslash-host", "a backslash after the host", b"http://<origin>\\@<other>/"),
    _target("target-utf8", "UTF-8", "http://<origin>/\u00e4".encode(), Must((400,), forwarded=1)),
    _target("target-latin1", "bytes that are not UTF-8", b"http://<origin>/\xe4", forward()),
    _target("target-latin1-host", "a host that is not UTF-8", b"http://b\xfccher.test:<port>/"),
    _target(
        "target-encoded-lf", "an encoded line end, forwarded in encoded form", b"http://<origin>/%0d%0aa", forward()
    ),
    _target("target-dots", "dot segments, forwarded unchanged", b"http://<origin>/a/../b/./c", forward()),
    _target("userinfo", "credentials in the URL", b"http://user:secret@<origin>/", forward()),
    _target("userinfo-host", "an origin as the user name of another origin", b"http://<origin>@<other>/", forward()),
    _target("userinfo-two", "two at signs", b"http://<other>@user@<origin>/", forward()),
    _target("userinfo-none", "credentials without a host", b"http://user:secret@/"),
    _target("userinfo-backslash", "a backslash in credentials", b"http://<other>\\@<origin>/"),
    _target("userinfo-in-host", "credentials in Host", b"http://<origin>/", host=b"user:secret@<origin>"),
    _target("port-zero", "port 0", b"http://localhost:0/"),
    _target("port-large", "port 65536", b"http://localhost:65536/"),
    _target("port-wrap", "a port that wraps in 16 bits", b"http://localhost:<port-wrapped>/"),
    _target("port-plus", "a sign before the port", b"http://localhost:+<port>/"),
    _target("port-two", "two ports", b"http://localhost:<port>:80/"),
    _target("host-encoded", "a percent-encoded host", b"http://%6cocalhost:<port>/"),
    _target("host-encoded-dot", "an encoded slash in the host", b"http://localhost%2f:<port>/"),
    _target("host-comma", "a comma in the host", b"http://localhost,other.test:<port>/"),
    _target("host-bracket", "an unclosed bracket", b"http://[::1:<port>/"),
    _target("host-dot", "a root dot", b"http://localhost.:<port>/", forward(), host=b"localhost.:<port>"),
    _target("host-upper", "uppercase", b"http://LOCALHOST:<port>/", forward(), host=b"LOCALHOST:<port>"),
    _target("host-empty-label", "an empty label", b"http://localhost..:<port>/"),
)

_BOUNDS = (
    raw(get(b"http://<origin>/", *[b"A: b"] * 5000), BOUNDS, "fields-many", "5,000 fields", refuse(400, 413, 431)),
    raw(
        get(b"http://<origin>/", b"A: " + b"b" * 200_000),
        BOUNDS,
        "field-huge",
        "a field of 200 KB",
        refuse(400, 413, 431),
    ),
    raw(
        get(b"http://<origin>/", b"A" * 100_000 + b": b"),
        BOUNDS,
        "name-huge",
        "a name of 100 KB",
        refuse(400, 413, 431),
    ),
    raw(
        get(b"http://<origin>/" + b"a" * 200_000),
        BOUNDS,
        "target-huge",
        "a target of 200 KB",
        refuse(400, 413, 414, 431),
    ),
    raw(
        b"GET http://<origin>/ HTTP/1.1\r\nA: " + b"b" * 200_000,
        BOUNDS,
        "head-endless",
        "an endless head",
        refuse(400, 413, 431),
    ),
    raw(b"G" * 200_000, BOUNDS, "method-endless", "an endless method", refuse(400, 413, 414, 431, 501)),
    raw(b"GET " + b"a" * 200_000, BOUNDS, "target-endless", "an endless target", refuse(400, 413, 414, 431)),
    raw(
        get(b"http://%b:<port>/" % (b"a." * 400 + b"test")),
        BOUNDS,
        "host-huge",
        "a host of 800 characters",
        refuse(400, 414),
    ),
)

CASES = (*_LINES, *_START, *_TARGETS, *_BOUNDS)
