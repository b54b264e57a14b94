"""Request-targets as real clients send them.

Reports of this class: postmanlabs/newman#2328 (C{|} in a query), postmanlabs/postman-app-support#8422 (backslashes),
postmanlabs/postman-app-support#9070 (braces and quotes); jech/polipo#76 and AsyncHttpClient/async-http-client#2258
(userinfo in a URL); skylerknecht/messenger#19 and aio-libs/aiohttp#4648 (C{ws://} URLs).
"""

from __future__ import annotations

import json

from egress.authz.protocols.validate import encode_request
from egress.observability.audit_log import audit_line
from egress.policy.parse.load import parse_policy
from tests.proxy.fakes import ProxyTestCase, response, status_of


def sent(target: bytes, host: bytes = b"origin.test") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)


class CharacterTests(ProxyTestCase):
    """The forwarded target, and the target in the authorization request."""

    def exchange(self, path: bytes) -> None:
        self.client.feed(sent(b"http://origin.test" + path))
        self.assertTrue(self.origin.take().startswith(b"GET " + path + b" HTTP/1.1\r\n"), path)
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_forwarded_byte_for_byte(self) -> None:
        for path in (b"/s?re=\\d+", b'/"<>\\^`{|}?"<>\\^`{|}', "/ä?€".encode(), b"/\xe4?\xff\xfe", b"/%e4\xe4"):
            with self.subTest(path):
                self.exchange(path)

    def test_the_authorization_request_encodes_only_what_is_not_text(self) -> None:
        for path, url in (
            (b"/s?re=\\d+", "http://origin.test/s?re=\\d+"),
            (b'/"<>^`{|}', 'http://origin.test/"<>^`{|}'),
            ("/ä".encode(), "http://origin.test/ä"),
            (b"/\xe4?\xff", "http://origin.test/%E4?%FF"),
        ):
            with self.subTest(path):
                self.exchange(path)
                self.assertEqual(json.loads(encode_request(self.authorizer.asked[-1]))["url"], url)
                self.assertEqual(json.loads(audit_line(self.records[-1]))["url"], url)

    def test_bytes_that_end_a_line_or_a_target_are_rejected(self) -> None:
        for byte in b"\x00\x01\t\n\x0b\r \x1f\x7f#":
            with self.subTest(byte):
                self.setUp()
                self.client.feed(sent(b"http://origin.test/a%cb" % byte))
                self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (400, []))

    def test_bytes_in_a_host_are_text_or_rejected(self) -> None:
        self.client.feed(sent("http://bücher.example/".encode()))
        self.assertEqual(str(self.authorizer.asked[0].origin), "http://xn--bcher-kva.example")
        self.setUp()
        self.client.feed(sent(b"http://b\xfccher.example/"))
        self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (400, []))


class PolicyTests(ProxyTestCase):
    """No spelling of a path bypasses a denial."""

    def test_denials_apply_to_each_interpretation(self) -> None:
        rule = 'id = "closed"\naction = "deny"\nreason = "no"\npaths = ["/secret/**", "/é"]\n'
        policy = parse_policy(f'version = 1\ndefault = "allow"\n[[rules]]\n{rule}', "test", "test")
        for path in (
            *(b"/secret/x", b"/secret\\x", b"\\secret\\x", b"/a\\..\\secret/x", b"/a/..\\secret/x", b"/secret%5cx"),
            *("/é".encode(), b"/%c3\xa9", b"/\xc3%a9", b"/secret/\xff", b"/\xc0\xaesecret\xc0\xaf../secret/x"),
        ):
            with self.subTest(path):
                self.client.feed(sent(b"http://origin.test/" + path.removeprefix(b"/")))
                self.origin.take()
                self.origin.feed(response())
                self.client.take()
                decision = policy.decide(self.authorizer.asked[-1])
                self.assertEqual(decision.rule_id, "closed")

    def test_an_allow_needs_every_interpretation(self) -> None:
        policy = parse_policy('version = 1\n[[rules]]\naction = "allow"\npaths = ["/open/*"]\n', "test", "test")
        for path, allowed in (
            (b"/open/a", True),
            (b"/open/a|b", True),
            (b"/open/a\\b", False),
            (b"/open/..\\b", False),
        ):
            with self.subTest(path):
                self.client.feed(sent(b"http://origin.test" + path))
                self.origin.feed(response())
                self.client.take()
                self.assertIs(policy.decide(self.authorizer.asked[-1]).allowed, allowed)


class UserinfoTests(ProxyTestCase):
    """Userinfo is always dropped; the host is the part after the last C{@}."""

    def test_it_is_not_forwarded(self) -> None:
        for target in (
            b"http://alice:hunter2@origin.test/a",
            b"http://hunter2@origin.test/a",
            b"http://alice:hunter2@b@origin.test/a",
            b"http://:hunter2@origin.test/a",
            b"http://other.test:80@hunter2@origin.test/a",
            b"http://al\xffce:hunter2@origin.test/a",
        ):
            with self.subTest(target):
                self.setUp()
                self.client.feed(sent(target))
                forwarded = self.origin.take()
                self.assertTrue(forwarded.startswith(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n"), forwarded)
                self.assertNotIn(b"hunter2", forwarded)
                self.assertNotIn(b"Authorization", forwarded)
                self.origin.feed(response())
                self.assertNotIn(b"hunter2", encode_request(self.authorizer.asked[0]))
                self.assertNotIn("hunter2", repr(self.records))

    def test_a_clients_own_authorization_is_forwarded(self) -> None:
        self.client.feed(sent(b"http://a:b@origin.test/")[:-2] + b"Authorization: Basic YTpi\r\n\r\n")
        self.assertIn(b"\r\nAuthorization: Basic YTpi\r\n", self.origin.take())

    def test_credentials_in_host_are_rejected(self) -> None:
        self.client.feed(sent(b"http://origin.test/", b"alice:hunter2@origin.test"))
        self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (400, []))


class WebSocketUrlTests(ProxyTestCase):
    """C{ws} is equivalent to C{http}."""

    def test_ws(self) -> None:
        lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        self.client.feed(sent(b"ws://origin.test/chat")[:-2] + lines + key)
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/chat")
        self.assertTrue(self.origin.take().startswith(b"GET /chat HTTP/1.1\r\n"))

    def test_wss_in_clear_text(self) -> None:
        self.client.feed(sent(b"wss://origin.test/chat"))
        self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (400, []))
