"""Tests for L{egress.socks.requests}."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.decision import Decision, Verdict
from egress.model.errors import (
    AddressForbidden,
    BadRequest,
    Denied,
    EgressError,
    InternalError,
    InvalidTarget,
    NameNotResolved,
    OriginConnectTimeout,
    UnsupportedRequest,
)
from egress.socks.codes import Reply
from egress.socks.requests import (
    Connect,
    Greeting,
    InvalidSocks,
    Login,
    SocksReader,
    login_status,
    no_method,
    reply,
    reply_to,
    selected,
)

REPLY = b"\x05%c\x00\x01\x00\x00\x00\x00\x00\x00"


def greeting(*methods: int) -> bytes:
    """The first message of a client."""
    return bytes([5, len(methods), *methods])


def login(name: bytes, password: bytes) -> bytes:
    """The name and the password of a client."""
    return b"\x01%c%b%c%b" % (len(name), name, len(password), password)


def connect(host: bytes | str, port: int = 443, command: int = 1) -> bytes:
    """A request, for a name (bytes) or an address (text)."""
    if isinstance(host, bytes):
        where = b"\x03%c%b" % (len(host), host)
    else:
        address = ip_address(host)
        where = (b"\x01" if address.version == 4 else b"\x04") + address.packed
    return b"\x05%c\x00%b%b" % (command, where, port.to_bytes(2, "big"))


class ReaderTests(SynchronousTestCase):
    """The messages of a client."""

    def reader(self, stage: str = "greeting") -> SocksReader:
        """Return a reader that expects a message."""
        reader = SocksReader()
        if stage != "greeting":
            reader.receive(greeting(0))
            self.assertEqual(reader.next_message(), Greeting(frozenset({0})))
            getattr(reader, f"expect_{stage}")()
        return reader

    def invalid(self, data: bytes, stage: str = "greeting") -> InvalidSocks:
        """Read an invalid message, at once and byte by byte."""
        reader = self.reader(stage)
        reader.receive(data)
        error = self.assertRaises(InvalidSocks, reader.next_message)
        assert isinstance(error, InvalidSocks)
        slow = self.reader(stage)
        with self.assertRaises(InvalidSocks) as raised:
            for byte in data:
                slow.receive(bytes([byte]))
                self.assertIsNone(slow.next_message())
        self.assertEqual(type(raised.exception.error), type(error.error))
        self.assertEqual(raised.exception.response, error.response)
        return error

    def test_messages(self) -> None:
        for stage, data, expected in (
            ("greeting", greeting(0), Greeting(frozenset({0}))),
            ("greeting", greeting(0, 1, 2), Greeting(frozenset({0, 1, 2}))),
            ("greeting", greeting(*range(255)), Greeting(frozenset(range(255)))),
            ("login", login(b"ci", b"s3cret"), Login(b"ci", b"s3cret")),
            ("login", login(b"n" * 255, b"p" * 255), Login(b"n" * 255, b"p" * 255)),
            ("login", login(b"", b""), Login(b"", b"")),
            ("request", connect(b"Origin.Test."), Connect(Authority("origin.test", 443))),
            ("request", connect(b"a" * 63 + b".test", 65535), Connect(Authority("a" * 63 + ".test", 65535))),
            ("request", connect("192.0.2.7", 80), Connect(Authority("192.0.2.7", 80))),
            ("request", connect("2001:db8::7", 1), Connect(Authority("2001:db8::7", 1))),
            ("request", connect("::ffff:192.0.2.7"), Connect(Authority("192.0.2.7", 443))),
            # Addresses as names.
            ("request", connect(b"192.0.2.7"), Connect(Authority("192.0.2.7", 443))),
            ("request", connect(b"0x7f.1"), Connect(Authority("127.0.0.1", 443))),
            ("request", connect(b"2001:DB8::7"), Connect(Authority("2001:db8::7", 443))),
            ("request", connect(b"[2001:db8::7]"), Connect(Authority("2001:db8::7", 443))),
        ):
            with self.subTest(data):
                reader = self.reader(stage)
                self.assertIsNone(reader.next_message())
                for at in range(len(data)):
                    self.assertIsNone(reader.next_message())
                    reader.receive(data[at : at + 1])
                reader.receive(b"\x16\x03")
                self.assertEqual(reader.next_message(), expected)
                self.assertIsNone(reader.next_message(), "nothing is expected")
                self.assertEqual((reader.take_remaining(), reader.take_remaining()), (b"\x16\x03", b""))

    def test_greetings(self) -> None:
        for data, error, response in (
            (b"\x04\x01\x01\xbb\x7f\0\0\1\0", UnsupportedRequest, b"\0\x5b\0\0\0\0\0\0"),
            (b"\x05\x00", BadRequest, b"\x05\xff"),
            (b"GET / HTTP/1.1\r\n", BadRequest, b""),
        ):
            invalid = self.invalid(data)
            self.assertEqual((type(invalid.error), invalid.response), (error, response))
            self.assertEqual(str(invalid), invalid.error.reason)

    def test_logins(self) -> None:
        invalid = self.invalid(b"\x05\x01", "login")
        self.assertEqual((type(invalid.error), invalid.response), (BadRequest, b"\x01\x01"))

    def test_requests(self) -> None:
        for data, error, code in (
            (b"\x04\x01\x00", BadRequest, Reply.GENERAL_FAILURE),
            (b"\x05\x01\x01", BadRequest, Reply.GENERAL_FAILURE),
            (connect(b"origin.test", command=2), UnsupportedRequest, Reply.COMMAND_NOT_SUPPORTED),
            (connect(b"origin.test", command=3), UnsupportedRequest, Reply.COMMAND_NOT_SUPPORTED),
            (b"\x05\x01\x00\x02\x00", BadRequest, Reply.ADDRESS_NOT_SUPPORTED),
            (b"\x05\x05\x01", UnsupportedRequest, Reply.COMMAND_NOT_SUPPORTED),
            (connect(b"origin.test", 0), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b""), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a b"), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a:80"), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a@b.test"), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a\0.test"), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a\r\nb"), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect("ä.test".encode()), InvalidTarget, Reply.GENERAL_FAILURE),
            (connect(b"a" * 255), InvalidTarget, Reply.GENERAL_FAILURE),
        ):
            with self.subTest(data):
                invalid = self.invalid(data, "request")
                self.assertEqual((type(invalid.error), invalid.response), (error, REPLY % code))

    def test_credentials(self) -> None:
        scheme, text = (Login(b"ci", b"a:b").credentials or b"").split()
        self.assertEqual((scheme, b64decode(text)), (b"Basic", b"ci:a:b"))
        self.assertIsNone(Login(b"a:b", b"c").credentials, "the pair would be another one")
        self.assertNotIn("s3cret", repr(Login(b"ci", b"s3cret")))


class ReplyTests(SynchronousTestCase):
    """The messages of the proxy."""

    def test_messages(self) -> None:
        self.assertEqual(selected(2), b"\x05\x02")
        self.assertEqual(no_method(), b"\x05\xff")
        self.assertEqual((login_status(True), login_status(False)), (b"\x01\x00", b"\x01\x01"))
        self.assertEqual(reply(Reply.SUCCEEDED), REPLY % 0)

    def test_errors(self) -> None:
        cases: tuple[tuple[EgressError, Reply], ...] = (
            (Denied(Decision(Verdict.DENY, "no", "script")), Reply.NOT_ALLOWED),
            (AddressForbidden("x"), Reply.NOT_ALLOWED),
            (NameNotResolved("x"), Reply.HOST_UNREACHABLE),
            (OriginConnectTimeout("x"), Reply.TTL_EXPIRED),
            (InternalError("x"), Reply.GENERAL_FAILURE),
        )
        for error, code in cases:
            self.assertEqual(reply_to(error), REPLY % code)
