"""Invariants of the fuzzed parsers, checked with inputs from Hypothesis and with earlier findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fuzz.targets import TARGETS
from tests.http2.frames import DATA, END_HEADERS, GOAWAY, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, headers

CORPUS = Path(__file__).parent.parent.parent / "fuzz" / "corpus"

_POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]

# Tokens that have a meaning for each parser.
_HTTP = [
    *(
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: ",
        b"close",
        b"Upgrade",
    ),
    *(b"Transfer-Encoding", b"Content-Length", b":", b" ", b"\t", b"\r\n", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\x00"),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b";a=b", b"hello", b"chunked", b"5", b"0", b",", b"\xe4"),
    *(b"Expect: 100-continue\r\n", b"A: b\r\n", b"TE: trailers\r\n"),
]
_HOSTS = [
    *(b"a", b"b-c", b"xn--", "b\u00fccher".encode(), b"0x7f", b"127", b"0", b"08", b".", "\u3002".encode(), b"-", b"_"),
    *(
        b"[::1]",
        b"[::ffff:1.2.3.4]",
        b":",
        b"80",
        b"443",
        b"@",
        b"%25",
        b"%31",
        b"*",
        b"*.",
        b"/8",
        b",",
        b" ",
        b"[",
        b"]",
    ),
    *(b"http://", b"/", b"?", b"#", b"\\", b"..", b"\xff"),
]
_AUDIT = [
    b'{"verdict":"allow","stage":"request","method":"GET","url":"http',
    b'{"verdict":"deny","stage":"tunnel","method":',
    *(b'"CONNECT","url":"https://a.test:22"', b'"POST","url":"http://b.test', b"s://a.test", b"://[::1]:8"),
    *(b"/x", b"/17", b"%2F", b"%2e%2e", b"//", b"?a=REDACTED", b'"', b"}\n", b"}\n"),
    *(b',"observed":"deny"', b',"ruleId":"r"', b',"bytesSent":5', b',"reason":"\\u001b[31m"'),
    *(b"\\u2028", b"\\ud800", b"\n", b"{", b"[", b"*", b";", b"\xff"),
]
TOKENS: dict[str, list[bytes]] = {
    "grpc": [
        *(b"\0\0\0\0\3one", b"\1\0\0\0\2zz", b"\x80\0\0\0\2a:", b"\0\0\0\0\0", b"\2", b"\0\0\1\0\0", b"\xff"),
        *(b"YWJj", b"YWI=", b"YQ==", b"=", b"AAAAAANvbmU=", b"application/grpc", b"-web", b"-text", b"+proto", b"\n"),
        *(b"/users.v1.Users", b"/Get", b".", b"%2F", b"%", b"?", b"5", b"S", b"99999999", b";", b"\xc3\xa9"),
    ],
    "websocket": [
        *(b"\x81\x05hello", b"\x01\x01a", b"\x80\x01b", b"\x00\x01c", b"\x89\x00", b"\x88\x02\x03\xe8", b"\x82\x00"),
        *(
            b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
            b"\x81\x85\x00\x00\x00\x00hello",
            b"\x81\x7e\x00\x80",
            b"\x81\x7f",
            b"\xff",
        ),
    ],
    "http2": [
        *(headers(1), headers(3, (b"x", b"y")), headers(5, (b"content-length", b"5"), flags=END_HEADERS)),
        *(headers(7, (b"a", b"b\r\nc: d")), headers(9, (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers"))),
        *(headers(11, (b"host", b"b")), headers(13, pseudo=[]), headers(15, (b"transfer-encoding", b"chunked"))),
        *(
            frame(DATA, 0, 5, b"hello"),
            frame(DATA, 1, 5),
            frame(PING, 0, 0, b"12345678"),
            frame(RST_STREAM, 0, 5, bytes(4)),
        ),
        *(
            frame(SETTINGS, 0, 0, b"\0\4\0\0\0\5"),
            frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
            frame(GOAWAY, 0, 0, bytes(8)),
        ),
        *(b"\0\0\1\1\5\0\0\0\1\x82", b"\0\0", b"\1\5", b"\0\0\0\1", b"\x82\x87\x84", b"\x41\1a", b"\0\1x\1y", b"\xff"),
    ],
    "http2_origin": [
        *(frame(SETTINGS), frame(SETTINGS, 1), frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1"), frame(GOAWAY, 0, 0, bytes(8))),
        *(headers(number, pseudo=[(b":status", b"200")], flags=flags) for number in (1, 3, 5) for flags in (4, 5)),
        *(headers(1, pseudo=[(b":status", b"103")], flags=4), headers(1, pseudo=[(b"x-sum", b"1")])),
        *(headers(3, (b"content-length", b"5"), pseudo=[(b":status", b"200")], flags=4), headers(5, (b"te", b"a"))),
        *(
            frame(DATA, 0, 1, b"hello"),
            frame(DATA, 1, 3, b"hello"),
            frame(DATA, 1, 5),
            frame(RST_STREAM, 0, 3, bytes(4)),
        ),
        *(
            frame(WINDOW_UPDATE, 0, 0, b"\0\1\0\0"),
            frame(WINDOW_UPDATE, 0, 3, b"\0\1\0\0"),
            frame(PING, 0, 0, b"12345678"),
        ),
    ],
    "http2_session": [
        *(headers(1), headers(3, pseudo=_POST), headers(5, (b"content-length", b"5"), flags=END_HEADERS, pseudo=_POST)),
        *(headers(7, flags=END_HEADERS, pseudo=_POST), headers(9, pseudo=[*_POST[:3], (b":path", b"/a?b")])),
        *(headers(5, pseudo=[(b"x", b"y")]), headers(7, pseudo=[(b"x", b"y")]), frame(DATA, 1, 5, b"hello")),
        *(frame(DATA, 0, 7, b"hello"), frame(DATA, 1, 7), frame(RST_STREAM, 0, 7, bytes(4)), frame(DATA, 0, 5, b"he")),
        *(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"), frame(GOAWAY, 0, 0, bytes(8)), frame(PING, 0, 0, b"12345678")),
        *(frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1"), frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\4")),
    ],
    "events": [
        *(
            b"data: x",
            b"data",
            b"event: add",
            b"id: 7",
            b"retry: 9",
            b": comment",
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b":",
        ),
        *(b"\xef\xbb\xbf", b" ", b"\xff", b"\0"),
    ],
    "socks": [
        *(b"\5\1\0", b"\5\2\0\2", b"\5\1\2", b"\1\2ci\6s3cret", b"\1\0\0", b"\5\1\0\3", b"\5\1\0\1", b"\5\1\0\4"),
        *(
            b"\x0borigin.test",
            b"\x01\xbb",
            b"\0\0",
            b"\x7f\0\0\1",
            b"\5",
            b"\4",
            b"\2",
            b"\xff",
            b"[::1]",
            b":",
            b"a@b",
        ),
    ],
    "socks_replies": [
        *(b"\5\0", b"\5\2", b"\5\xff", b"\1\0", b"\1\1", b"\5\0\0\1", b"\5\0\0\3", b"\5\0\0\4", b"\5\5\0\1"),
        *(b"\x7f\0\0\1\0\x50", b"\3abc\0\x50", b"\0", b"\5", b"HTTP/1.1 400 x\r\n"),
    ],
    "requests": [
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n",
        b" HTTP/1.1\r\n",
        b"GET ",
        *_HTTP,
    ],
    "responses": [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.0 204 N\r\n",
        b"HTTP/1.1 304 N\r\n",
        *_HTTP,
    ],
    "chunks": [b"3\r\nabc\r\n", b"a", b"F", b'3;a="b"\r\nabc\r\n', *_HTTP],
    "fields": _HTTP,
    "connect": [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 407 P\r\n", b"HTTP/", *_HTTP],
    "proxy_protocol": [
        *(b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", b" 1.2.3.4", b" ::1", b" 80", b"\r\n"),
        *(b"\r\n\r\n\x00\r\nQUIT\n", b"\x21", b"\x20", b"\x11", b"\x00\x0c", b"\x00\x24", b"\0" * 12),
    ],
    "hello": [
        *(
            b"\x16\x03\x01",
            b"\x00\x40",
            b"\x01\x00\x00",
            b"\x01",
            b"\x00",
            b"\x03\x03",
            b"\x20" * 33,
            b"\x00\x02\xc0\x2b",
        ),
        *(b"\x00\x0d\x00\x04\x00\x02\x04\x03", b"\x00\x10\x00\x05\x00\x03\x02h2", b"\x00\x2b\x00\x03\x02\x03\x04"),
    ],
    "session": [b"\x16\x03", b"\x16", b"GET", b"PRI", b" ", b"/", b"SSH-2.0", b"\x00", b"get", b"A" * 40],
    "authority": _HOSTS,
    "target": _HOSTS,
    "bypass": _HOSTS,
    "contract": [
        *(
            b'{"allowed":',
            b"true",
            b"false",
            b"1",
            b'"true"',
            b"}",
            b",",
            b'"allowed":',
            b'"reason":',
            b'"a\\nb"',
            b"NaN",
        ),
        *(b'"ttl":', b"1e999", b"-1", b'"ruleId":', b"null", b"[", b"]", b"{", b'"\\ud800"', b" ", b"\xff", b'"'),
    ],
    "questions": [
        *(b'{"url":"http://a.test/","method":"GET"', b'{"url":"https://a.test:8443","method":"CONNECT"', b"}", b","),
        *(b'"headers":"{}"', b'"headers":{"a":"b"}', b'"body":"a"', b'"body":"YQ=="', b'"bodyEncoding":"base64"'),
        *(
            b'"bodyTruncated":true',
            b'"bodyWithheld":true',
            b'"contentLength":1',
            b'"stage":"tunnel"',
            b'"stage":"request"',
        ),
        *(b'"client":{"address":"192.0.2.1","identity":"x"}', b'"addresses":["::1"]', b'"requestId":"x"', b'"url":'),
        *(b'"queryParams":"a=b"', b"null", b'"\\ud800"', b"[", b"\xff", b'"http://b/?a=b"', b'"OPTIONS"', b'"method":'),
    ],
    "answers": [
        *(
            b'{"decision":',
            b'{"result":',
            b"true",
            b"false",
            b"}",
            b",",
            b"{",
            b'"context":{',
            b'"allow":',
            b'"allowed":',
        ),
        *(b'"need":"body"', b'"ask":true', b'"ttl":5', b'"cacheKey":["path"]', b'"maxBytes":', b'"expiresIn":', b"5"),
        *(
            b'"setHeaders":{"X-A":"b"}',
            b'"setSecretHeaders":{"X-B":"${secret:c}"}',
            b'"removeHeaders":["a"]',
            b'"reason":"a"',
            b"1e999",
            b"null",
            b'"a\\nb"',
            b'"',
        ),
    ],
    "checks": [
        *(
            b"X-User: alice\r\n",
            b"X-Egress-Secret-X-User: ${secret:a}\r\n",
            b"X-Egress-Ttl: 5\r\n",
            b"X-Egress-Cache-Key: path\r\n",
            b"X-Egress-Reason: no\r\n",
        ),
        *(
            b"X-Envoy-Auth-Headers-To-Remove: ",
            b"cookie",
            b"host",
            b",",
            b"\r\n",
            b"\r\n",
            b"Content-Type: text/plain\r\n",
        ),
        *(b"/", b"..", b"%2e", b"\\", b";", b"?", b"*", b" ", b"\xff", b"\x80", b"x-user: \xe4\r\n"),
    ],
    "conditions": [
        *(
            b"\n",
            b"?",
            b"a",
            b"role",
            b"=",
            b"&",
            b";",
            b"%61",
            b"%2561",
            b"+",
            b"debug",
            b"id",
            b"%3f",
            b"/../",
            b"1",
            b"b",
        ),
        *(b"application/json", b"|", b"; charset=", b"utf-8", b"utf-7", b"+json", b"-0", b"1e0", b"__proto__", b"."),
        *(b'{"role":"a"', b'"ids":[1]', b"}", b",", b'"Role":"b"', b"\\ud800", b"NaN", b"\xff", b"[", b"1e999"),
    ],
    "queries": [
        *(
            b"debug",
            b"user",
            b"id",
            b"role",
            b"a.b",
            b"[",
            b"]",
            b"[]",
            b"[0]",
            b".",
            b"_",
            b"!",
            b" ",
            b"+",
            b"&",
            b"=",
        ),
        *(
            b"%5B",
            b"%2561",
            b"%26",
            b"%3D",
            b"%00",
            b"%ff",
            b"%zz",
            b";",
            b"#",
            b"%3f",
            b"__proto__",
            b"1",
            b"a",
            b"\xff",
        ),
    ],
    "contents": [
        *(b"application/json\n", b"application/json; charset=utf-8\n", b"application/x+json", b"; charset=", b"utf-7"),
        *(
            b"|",
            b"text/plain",
            b",",
            b'"',
            b";",
            b"=",
            b"\n",
            b"\n",
            b'{"a":',
            b'{"b":',
            b"}",
            b"[",
            b"]",
            b'"x"',
            b"1e0",
        ),
        *(
            b"-0",
            b"1.50",
            b"9007199254740993",
            b'"7"',
            b"true",
            b"null",
            b'"A":',
            b'"a.b":',
            b'"__proto__":',
            b"\\u0000",
        ),
    ],
    "paths": [
        *(
            b"a",
            b"b",
            b"A",
            b"/",
            b"//",
            b".",
            b"..",
            b"/../",
            b";x=1",
            b"%2f",
            b"%2F",
            b"%5c",
            b"%25",
            b"%252f",
            b"%2e",
        ),
        *(b"%00", b"%3f", b"%23", b"%c0%af", b"%u002f", b"%ef%bc%8f", b"%20", b"\\", b"%", b"?", b"\xff", b"\xc3\xa9"),
    ],
    "policy": [
        *(
            b"[groups.hosts]\n",
            b"[variables]\n",
            b"g = ",
            b'"@g"',
            b'"${g}"',
            b'"re:(a*)*"',
            b"[[test]]\n",
            b"hosts = ",
        ),
        *(b"query = {", b"json = {", b"headers = {", b"}\n", b"a = true", b'times = ["mon"]\n', b"set_headers = {"),
        *(
            b"version = 1\n",
            b"[[rules]]\n",
            b'action = "allow"\n',
            b'action = "deny"\n',
            b'reason = "x"\n',
            b"hosts = [",
        ),
        *(b'"*.a.test"', b'"a"', b"]\n", b",", b"ports = [80]\n", b'paths = ["/a/**"]\n', b'methods = ["GET"]\n'),
        *(
            b'default = "deny"\n',
            b'private_addresses = "deny"\n',
            b"[rules]\n",
            b"= ",
            b"\n",
            b"/**",
            b"*",
            b"%2e",
            b"1979-05-27",
        ),
    ],
    "audit": _AUDIT,
    "lock": [
        *(b"egress-lock 1\n", b"detail host\n", b"detail method\n", b"detail path\n", b"GET ", b"* ", b"CONNECT "),
        *(
            b"https://a.test",
            b"http://[::1]:81",
            b"a.test:443",
            b"/x/*",
            b"/**",
            b"?x",
            b"\n",
            b"#",
            b"<<<<<<<",
            b"\xc3\xa9",
        ),
        *_AUDIT,
    ],
    "credentials": [
        b"Basic ",
        b"bearer ",
        b"YWxpY2U6c2VjcmV0",
        b"Og==",
        b"=",
        b"=",
        b" ",
        b"a.b-c_d~+/",
        b"\xff",
        b":",
    ],
    "staple": [path.read_bytes() for path in sorted((CORPUS / "staple").iterdir())] + [b"0\x82", b"\x30\x03\x0a\x01"],
    "admin": [
        *(
            b'{"answer": ',
            b'"allow"',
            b'"deny"',
            b', "for": ',
            b"60",
            b"1e999",
            b'"reason": "no"',
            b'"by": "ann"',
            b"}",
        ),
        *(b'{"method": "GET", "url": "http://a/"', b', "headers": [["a", "b"]]', b', "body": "x"', b"\\ud800", b"\\n"),
        *(b"unix:/a", b":mode=600", b"tcp:9099", b"tcp6:1", b":interface=", b"127.0.0.1", b"\\:", b"http://", b"[::1]"),
    ],
    "codings": [
        *(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x78\x9c", b"\x4b\x04\0", b"\x28\xb5\x2f\xfd", b"\x20\1\x09\0\0a"),
        *(b"\x50\x2a\x4d\x18\1\0\0\0a", b"\x0b\0\x80a\x03", b"\x03\0", b"\0\0\0\xff\xff", b"\x43\xbe\xb7\xe8\1\0\0\0"),
        *(b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"identity", b", ", b"\n", b"a" * 300),
    ],
    "forms": [
        *(b"a", b"=", b"&", b"1", b"user_id", b"user[id]", b"a.b", b";", b"%26", b"%61", b"%2561", b"+", b"[", b"]"),
        *(b"A=1", b"_charset_", b"\n\n", b"\x1f\x8b", b"\xff", b"\xc3\xa9", b"%", b"\0"),
        *(b"application/x-www-form-urlencoded", b"multipart/form-data", b"; boundary=", b"B", b'"', b"; charset=utf-8"),
    ],
    "multipart": [
        *(
            b"--B",
            b"\r\n",
            b"--B\r\n",
            b"--B--",
            b"--B--\r\n",
            b"\r\n\r\n",
            b"\r\n\r\n1\r\n",
            b"--",
            b"\n",
            b"\r",
            b"1",
        ),
        *(b'Content-Disposition: form-data; name="a"', b"Content-Disposition: form-data; name=b", b'; filename="c"'),
        *(
            b"\r\nContent-Type: text/plain",
            b"; charset=utf-8",
            b"\r\nContent-Transfer-Encoding: binary",
            b"; filename*=x",
        ),
        *(b"\r\nContent-Length: 1", b'"', b";", b"\\", b"%22", b"\xc3\xa9", b"\xff", b"\0"),
    ],
    "traces": [
        *(b"00-", b"01-", b"ff-", b"0af7651916cd43dd8448eb211c80319c-", b"b7ad6b7169203331-", b"01", b"00", b"03"),
        *(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"-", b"\n", b"\n", b"a=1", b"b=2", b",", b", "),
        *(b"a@b=c", b"=", b" ", b"\t", b"x" * 256, b"A", b"\r", b"\x00", b"\xff"),
    ],
    "filters": [
        *(b"host:", b"path:", b"status:", b"client:", b"since:", b"rule:", b"id:", b"verdict:deny", b"-", b" ", b","),
        *(b'"', b"\\", b"*", b"**", b"/", b"a", b"5xx", b"1h", b"'", b";", b"NEAR(", b"AND", b"^", b"\x00", b"\xff"),
    ],
    "redaction": [
        *(b"http://", b"a:b@", b"origin.test", b"/", b"?", b"#", b"&", b"=", b"token=abc", b"password", b"sig", b";"),
        *(b"%74oken", b"%3d", b"http%3A%2F%2Fa%3Ab%40", b"ghp_0123456789abcdefghij0123456789abcdef", b"\x00", b"\n"),
    ],
}


def inputs(tokens: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that a parser may interpret."""
    piece = st.one_of(st.sampled_from(tokens), st.sampled_from(tokens), st.binary(max_size=4))
    return st.tuples(st.binary(min_size=1, max_size=1), st.lists(piece, max_size=14)).map(
        lambda both: both[0] + b"".join(both[1])
    )


class TargetTests(SynchronousTestCase):
    """The fuzz targets."""

    def test_all_targets_are_listed(self) -> None:
        self.assertEqual(set(TOKENS), set(TARGETS))
        self.assertEqual({path.name for path in CORPUS.iterdir()}, set(TARGETS))

    def test_corpus(self) -> None:
        """The initial corpus is small and violates nothing."""
        for name, run in TARGETS.items():
            files = list((CORPUS / name).iterdir())
            self.assertTrue(files, name)
            self.assertLess(sum(file.stat().st_size for file in files), 32 * 1024, name)
            for file in files:
                with self.subTest(name, file=file.name):
                    run(file.read_bytes())


def _property(name: str, run: Callable[[bytes], None]) -> None:
    @given(inputs(TOKENS[name]))
    def test(self: TargetTests, data: bytes) -> None:
        run(data)

    test.__name__ = f"test_{name}"
    setattr(TargetTests, test.__name__, test)


for _name, _run in TARGETS.items():
    _property(_name, _run)
