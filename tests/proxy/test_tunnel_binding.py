"""Tests for L{egress.proxy.tunnel_binding}."""

from __future__ import annotations

import base64
import os
import socket
import struct
import sys

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import RequestHead
from egress.http.heads import HeadLimits, parse_request_head
from egress.http.request_target import TargetForm, parse_request_target
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity
from egress.model.errors import BadRequest, Denied, InvalidTarget, MisdirectedRequest
from egress.proxy.tunnel_binding import Peer, TunnelBinding, client_identity, named_origin, peer_of, server_name_error
from tests.proxy.fakes import deny

PEER = Peer("198.51.100.7", 40000)
CLIENT = ClientIdentity("198.51.100.7", 40000)


def basic(text: bytes) -> bytes:
    """The value of Basic credentials."""
    return b"Basic " + base64.b64encode(text)


def head(line: str, *fields: str) -> RequestHead:
    """A parsed head."""
    return parse_request_head("\r\n".join([line, *fields, "", ""]).encode(), HeadLimits(10000, 100, 1000))


class ClientIdentityTests(SynchronousTestCase):
    """The identity of a client: its address, the name that it claims, and the key that separates its connections."""

    def test_addresses(self) -> None:
        self.assertEqual(client_identity(PEER, None), CLIENT)
        for address in (IPv4Address("TCP", "198.51.100.7", 40000), IPv6Address("TCP", "2001:db8::1", 5)):
            self.assertEqual(peer_of(Transport(address)), Peer(address.host, address.port))
        mapped = IPv6Address("TCP", "::ffff:198.51.100.7", 5)
        self.assertEqual(peer_of(Transport(mapped)), Peer("198.51.100.7", 5), "a policy names the IPv4 address")

    def test_names(self) -> None:
        for value, name in (
            (basic(b"runner:secret"), "runner"),
            (basic(b"runner"), "runner"),
            (b"BASIC  " + base64.b64encode(b"runner:x"), "runner"),
            (basic(b":secret"), None),
            (basic(b"\xff:x"), "ÿ"),
            (b"Basic !!!", None),
            (b"Bearer token", None),
        ):
            with self.subTest(value):
                client = client_identity(PEER, value)
                self.assertEqual(client.identity, name)
                self.assertNotIn(b"secret", client.partition)

    def test_every_credential_separates_connections(self) -> None:
        keys = {client_identity(PEER, value).pool_key for value in (None, basic(b"a:1"), basic(b"a:2"), b"Bearer x")}
        self.assertEqual(len(keys), 4)


class Transport:
    """A transport with a peer address."""

    def __init__(self, address: IAddress, socket: object = None) -> None:
        self.socket = socket
        self._address = address

    def getPeer(self) -> IAddress:
        return self._address


class Socket:
    """A UNIX socket whose peer the system identifies; without a process it does not."""

    def __init__(self, process: int | None = None, user: int = 1000) -> None:
        self._process = process
        self._user = user

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if self._process is None:
            raise OSError
        return struct.pack("iII", self._process, self._user, 1000)


class UnixPeerTests(SynchronousTestCase):
    """Clients of a UNIX socket have no addresses: processes are distinguished, or else connections."""

    def peer(self, process: int | None, user: int = 1000) -> Peer:
        """The peer of a new connection."""
        return peer_of(Transport(UNIXAddress(b"/x"), Socket(process, user)))

    def test_processes(self) -> None:
        self.assertEqual(self.peer(7), self.peer(7))
        peers = [self.peer(7), self.peer(8), self.peer(7, 1001), self.peer(70)]
        self.assertEqual([one.address for one in peers], ["unix-uid-1000"] * 2 + ["unix-uid-1001", "unix-uid-1000"])
        self.assertEqual(len({client_identity(one, None).pool_key for one in peers}), 4)

    def test_a_process_of_another_namespace(self) -> None:
        """Its number is 0, like that of every process of another namespace."""
        one, other = self.peer(0), self.peer(0)
        self.assertEqual((one.address, one.port), ("unix-uid-1000", 0))
        self.assertNotEqual(client_identity(one, None).pool_key, client_identity(other, None).pool_key)

    def test_without_system_support(self) -> None:
        for sock in (Socket(None), None):
            with self.subTest(sock):
                one, other = (peer_of(Transport(UNIXAddress(b"/x"), sock)) for _ in range(2))
                self.assertEqual(one.address, "unknown")
                self.assertNotEqual(client_identity(one, None).pool_key, client_identity(other, None).pool_key)
        self.addCleanup(setattr, socket, "SO_PEERCRED", socket.SO_PEERCRED)
        del socket.SO_PEERCRED
        self.assertEqual(self.peer(7).address, "unknown")

    def test_credentials_cannot_imitate_a_process(self) -> None:
        """No client can get the connections of another process by the credentials that it presents."""
        mine = client_identity(self.peer(7), None)
        self.assertNotEqual(client_identity(self.peer(8), b"7 1000").pool_key, mine.pool_key)
        self.assertNotEqual(client_identity(self.peer(8), self.peer(7).process).pool_key, mine.pool_key)

    def test_a_socket_of_the_system(self) -> None:
        """On Linux, with a real socket."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        peer = peer_of(Transport(UNIXAddress(b""), near))
        if sys.platform == "linux":
            self.assertEqual(peer, Peer(f"unix-uid-{os.getuid()}", 0, b"%d %d" % (os.getuid(), os.getpid())))


class ServerNameTests(SynchronousTestCase):
    """Without TLS there is no server name to compare."""

    def test_no_tls(self) -> None:
        self.assertIsNone(server_name_error(object(), Authority("origin.test", 443)))


class TunnelBindingTests(SynchronousTestCase):
    """A request inside a tunnel names the tunnel's authority, or is rejected."""

    def setUp(self) -> None:
        self.binding = TunnelBinding(Origin("http", Authority("origin.test", 80)), CLIENT)

    def test_valid(self) -> None:
        for request in (
            head("GET /a HTTP/1.1", "Host: origin.test"),
            head("GET /a HTTP/1.1", "Host: ORIGIN.test:80"),
            head("GET http://origin.test/a HTTP/1.1", "Host: origin.test"),
            head("GET /a HTTP/1.0"),
            head("GET http://u:p@origin.test/a HTTP/1.1", "Host: Origin.test."),
            head("GET ws://origin.test/a HTTP/1.1", "Host: origin.test"),
        ):
            self.assertEqual(self.binding.target_of(request).path, "/a")
        self.assertIs(self.binding.target_of(head("OPTIONS * HTTP/1.1", "Host: origin.test")).form, TargetForm.ASTERISK)

    def test_invalid(self) -> None:
        for request, error in (
            (head("GET /a HTTP/1.1", "Host: other.test"), MisdirectedRequest),
            (head("GET /a HTTP/1.1", "Host: origin.test:81"), MisdirectedRequest),
            (head("GET http://other.test/ HTTP/1.1", "Host: origin.test"), MisdirectedRequest),
            (head("GET http://origin.test/ HTTP/1.1", "Host: other.test"), MisdirectedRequest),
            (head("GET /a HTTP/1.1", "Host:"), InvalidTarget),
            (head("CONNECT origin.test:80 HTTP/1.1", "Host: origin.test"), BadRequest),
        ):
            with self.subTest(request.target):
                self.assertRaises(error, self.binding.target_of, request)

    def test_an_ipv6_address_without_brackets(self) -> None:
        binding = TunnelBinding(Origin("https", Authority("::1", 443)), CLIENT)
        for host, error in (
            ("::1:443", None),
            ("[::1]", None),
            ("::1:444", MisdirectedRequest),
            ("::1", InvalidTarget),
        ):
            with self.subTest(host):
                request = head("GET /a HTTP/1.1", f"Host: {host}")
                if error is None:
                    self.assertEqual(binding.target_of(request).path, "/a")
                else:
                    self.assertRaises(error, binding.target_of, request)

    def test_another_scheme(self) -> None:
        binding = TunnelBinding(Origin("https", Authority("origin.test", 80)), CLIENT)
        self.assertRaises(
            MisdirectedRequest, binding.target_of, head("GET http://origin.test/ HTTP/1.1", "Host: origin.test:80")
        )

    def test_an_absolute_url_inside_tls(self) -> None:
        binding = TunnelBinding(Origin("https", Authority("origin.test", 443)), CLIENT)
        found = binding.target_of(head("GET https://origin.test/a HTTP/1.1", "Host: origin.test"))
        self.assertEqual((found.scheme, found.path), ("https", "/a"))
        for url, error in (
            ("https://other.test/", MisdirectedRequest),
            ("https://origin.test:444/", MisdirectedRequest),
            ("http://origin.test:443/", MisdirectedRequest),
            ("ftp://origin.test/", InvalidTarget),
        ):
            with self.subTest(url):
                self.assertRaises(error, binding.target_of, head(f"GET {url} HTTP/1.1", "Host: origin.test"))

    def test_an_https_url_without_tls(self) -> None:
        request = head("GET https://origin.test:80/ HTTP/1.1", "Host: origin.test")
        self.assertRaises(MisdirectedRequest, self.binding.target_of, request)

    def test_every_request_in_a_refused_tunnel_gets_its_error(self) -> None:
        refusal = Denied(deny("no"))
        binding = TunnelBinding(self.binding.origin, CLIENT, refusal, "id")
        error = self.assertRaises(Denied, binding.target_of, head("GET /a HTTP/1.1", "Host: other.test"))
        self.assertIs(error, refusal)


class NamedOriginTests(SynchronousTestCase):
    """On the listening port, requests name their destination."""

    def test_absolute_form(self) -> None:
        origin = named_origin(parse_request_target("GET", b"http://origin.test:81/"))
        self.assertEqual(origin, Origin("http", Authority("origin.test", 81)))

    def test_other_forms(self) -> None:
        self.assertRaises(BadRequest, named_origin, parse_request_target("GET", b"/"))
        self.assertRaises(BadRequest, named_origin, parse_request_target("CONNECT", b"a.test:1"))
