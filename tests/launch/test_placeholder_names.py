"""Tests for L{egress.launch.placeholder_names}."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.placeholder_names import PlaceholderNames, TcpNames, UdpNames, respond


def query(name: str, kind: int = dns.A, cls: int = dns.IN) -> bytes:
    """A DNS query."""
    message = dns.Message(7, recDes=1)
    message.addQuery(name, kind, cls)
    encoded: bytes = message.toStr()
    return encoded


class PlaceholderNamesTests(SynchronousTestCase):
    """The addresses of names."""

    def test_each_name_has_its_addresses(self) -> None:
        names = PlaceholderNames()
        first, second = names.addresses_of("a.test"), names.addresses_of("b.test")
        self.assertEqual(list(map(str, first)), ["198.18.0.1", "2001:2::1"])
        self.assertEqual(names.addresses_of("a.test"), first)
        for name, addresses in (("a.test", first), ("b.test", second)):
            self.assertEqual([names.name_of(str(address)) for address in addresses], [name, name])
        for other in ("198.18.0.0", "198.18.0.3", "192.0.2.1", "::1", "2001:2::3"):
            self.assertIsNone(names.name_of(other))

    def test_the_number_of_names_is_limited(self) -> None:
        names = PlaceholderNames(2)
        addresses = [str(names.addresses_of(name)[0]) for name in ("a.test", "b.test", "a.test", "c.test")]
        self.assertEqual(addresses, ["198.18.0.1", "198.18.0.2", "198.18.0.1", "198.18.0.2"])
        self.assertEqual(names.name_of("198.18.0.2"), "c.test")


class RespondTests(SynchronousTestCase):
    """Responses to DNS messages."""

    def setUp(self) -> None:
        self.names = PlaceholderNames()

    def ask(self, message: bytes) -> tuple[int, list[str]]:
        """Return the response code, and the data of the records."""
        response: Any = dns.Message()
        data = respond(message, self.names)
        assert data is not None
        response.fromStr(data)
        self.assertTrue(response.answer)
        self.assertEqual(response.id, 7)
        return response.rCode, [str(each.payload) for each in response.answers]

    def test_names(self) -> None:
        for name, kind, record in (
            ("Origin.test", dns.A, "<A address=198.18.0.1 ttl=60>"),
            ("origin.test.", dns.AAAA, "<AAAA address=2001:2::1 ttl=60>"),
            ("b", dns.A, "<A address=198.18.0.2 ttl=60>"),
            ("_a.test", dns.A, "<A address=198.18.0.3 ttl=60>"),
            ("localhost", dns.A, "<A address=127.0.0.1 ttl=60>"),
            ("a.localhost", dns.AAAA, "<AAAA address=::1 ttl=60>"),
            ("1.0.18.198.in-addr.arpa", dns.PTR, "<PTR name=origin.test ttl=60>"),
        ):
            with self.subTest(name, kind=kind):
                self.assertEqual(self.ask(query(name, kind)), (dns.OK, [record]))

    def test_ipv6_reverse(self) -> None:
        self.names.addresses_of("origin.test")
        name = ".".join("20010002000000000000000000000001"[::-1])
        self.assertEqual(self.ask(query(f"{name}.ip6.arpa", dns.PTR)), (dns.OK, ["<PTR name=origin.test ttl=60>"]))

    def test_no_record(self) -> None:
        self.names.addresses_of("origin.test")
        for name, kind in (("origin.test", dns.MX), ("origin.test", dns.TXT), ("1.0.18.198.in-addr.arpa", dns.A)):
            with self.subTest(name, kind=kind):
                self.assertEqual(self.ask(query(name, kind)), (dns.OK, []))

    def test_no_name(self) -> None:
        for name, kind in (
            ("a b", dns.A),
            ("", dns.A),
            ("192.0.2.1", dns.A),
            ("x" * 63 + ".a b", dns.A),
            ("2.0.18.198.in-addr.arpa", dns.PTR),
            ("18.198.in-addr.arpa", dns.PTR),
            ("a.ip6.arpa", dns.PTR),
        ):
            with self.subTest(name):
                self.assertEqual(self.ask(query(name, kind)), (dns.ENAME, []))
        self.assertEqual(self.ask(query("origin.test", cls=dns.CH)), (dns.ENAME, []))

    def test_other_messages(self) -> None:
        several = dns.Message(7)
        several.addQuery("a.test")
        several.addQuery("b.test")
        self.assertEqual(self.ask(several.toStr()), (dns.EFORMAT, []))
        self.assertEqual(self.ask(dns.Message(7).toStr()), (dns.EFORMAT, []))
        self.assertEqual(self.ask(dns.Message(7, opCode=dns.OP_UPDATE).toStr()), (dns.ENOTIMP, []))
        for data in (b"", b"\0", bytes(12)[:11], b"\xff" * 40, dns.Message(7, answer=1).toStr()):
            with self.subTest(data):
                self.assertIsNone(respond(data, self.names))


class ServerTests(SynchronousTestCase):
    """The server over UDP and TCP."""

    def setUp(self) -> None:
        self.names = PlaceholderNames()
        self.response = respond(query("a.test"), self.names)

    def test_udp(self) -> None:
        sent: list[tuple[bytes, object]] = []
        protocol = UdpNames(self.names)

        class Datagrams:
            def write(self, data: bytes, addr: object) -> None:
                sent.append((data, addr))

        protocol.transport = Datagrams()  # type: ignore[assignment]
        for data in (b"", query("a.test")):
            protocol.datagramReceived(data, ("127.0.0.1", 5353))
        self.assertEqual(sent, [(self.response, ("127.0.0.1", 5353))])

    def test_tcp(self) -> None:
        protocol = TcpNames(self.names).buildProtocol(None)
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        data = query("a.test")
        protocol.dataReceived((len(data).to_bytes(2, "big") + data) * 2)
        assert self.response is not None
        self.assertEqual(transport.value(), (len(self.response).to_bytes(2, "big") + self.response) * 2)
        protocol.dataReceived(b"\0\1x")
        self.assertTrue(transport.disconnecting)
