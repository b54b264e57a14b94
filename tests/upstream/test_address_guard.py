"""Tests for L{egress.upstream.address_guard}."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IAddressGuard
from egress.model.address_classes import METADATA_NAMES
from egress.model.authority import Authority, IPAddress
from egress.upstream.address_guard import AddressGuard, is_local_address

MINE = frozenset({ip_address("127.0.0.1"), ip_address("10.0.0.5"), ip_address("::1")})


def is_local(address: IPAddress) -> bool:
    """Tell whether an address belongs to the simulated machine."""
    return address in MINE


def guard(*allow: str, block_private: bool = False) -> AddressGuard:
    """Return a guard with some allowed ranges."""
    return AddressGuard(tuple(map(ip_network, allow)), is_local=is_local, block_private=block_private)


class RefusalTests(SynchronousTestCase):
    """Classification of addresses."""

    def test_interface(self) -> None:
        verifyObject(IAddressGuard, guard())

    def test_refusal_text(self) -> None:
        self.assertEqual(
            guard().refusal(ip_address("127.0.0.1"), 80),
            "127.0.0.1 is a loopback address; the operator can allow it with --allow-address",
        )

    def test_defaults(self) -> None:
        for text, refused in {
            "127.0.0.1": True,
            "169.254.169.254": True,
            "::1": True,
            "64:ff9b::7f00:1": True,
            "10.0.0.1": False,
            "fd00::1": False,
            "8.8.8.8": False,
        }.items():
            with self.subTest(text):
                self.assertIs(guard().refusal(ip_address(text), 80) is not None, refused)

    def test_allowed_ranges(self) -> None:
        opened = guard("127.0.0.0/8", "fe80::/10")
        for text, refused in {
            "127.0.0.1": False,
            "::ffff:127.0.0.1": False,
            "64:ff9b::7f00:1": False,
            "fe80::1": False,
            "::1": True,
            "169.254.169.254": True,
        }.items():
            with self.subTest(text):
                self.assertIs(opened.refusal(ip_address(text), 80) is not None, refused)

    def test_block_private(self) -> None:
        blocking = guard("10.1.0.0/16", block_private=True)
        for text, refused in {
            "10.0.0.1": True,
            "10.1.0.1": False,
            "fd00::1": True,
            "2002:c0a8:101::": True,
            "8.8.8.8": False,
        }.items():
            with self.subTest(text):
                self.assertIs(blocking.refusal(ip_address(text), 80) is not None, refused)
        self.assertIn("a private address", str(blocking.refusal(ip_address("10.0.0.1"), 80)))

    def test_denied_ranges(self) -> None:
        """A denied range is refused even if it is allowed as well, in every notation of the address."""
        ranges = tuple(map(ip_network, ("10.9.0.0/16", "2001:4860::/32")))
        closed = AddressGuard((ip_network("10.0.0.0/8"),), is_local=is_local, block_private=True, deny=ranges)
        for text, refused in {
            "10.9.1.1": True,
            "::ffff:10.9.1.1": True,
            "64:ff9b::a09:101": True,
            "2002:a09:101::": True,
            "2001:4860::8888": True,
            "10.8.1.1": False,
            "8.8.8.8": False,
        }.items():
            with self.subTest(text):
                refusal = closed.refusal(ip_address(text), 80)
                expected = f"{ip_address(text)} is in a range of --deny-address"
                self.assertEqual(refusal, expected if refused else None)
        self.assertIn("loopback", str(closed.refusal(ip_address("127.0.0.1"), 80)), "the guard's own hold as well")

    def test_ports(self) -> None:
        self.assertIsNone(guard().port_refusal(25))
        some = AddressGuard(is_local=is_local, ports=(range(80, 81), range(8000, 9000)))
        for port, refused in {80: False, 8000: False, 8999: False, 81: True, 9000: True, 7999: True}.items():
            with self.subTest(port):
                expected = f"port {port} is not listed in --allow-ports"
                self.assertEqual(some.port_refusal(port), expected if refused else None)


class ListenerTests(SynchronousTestCase):
    """The proxy's own listeners are refused, even if they are in an allowed range."""

    def check(self, listener: str, cases: dict[tuple[str, int], bool]) -> None:
        opened = guard("0.0.0.0/0", "::/0")
        opened.add_listener(ip_address(listener), 8080)
        for (text, port), refused in cases.items():
            with self.subTest(listener, address=text, port=port):
                self.assertIs(opened.is_the_proxy(ip_address(text), port), refused)
                refusal = opened.refusal(ip_address(text), port)
                self.assertEqual(refusal, f"{ip_address(text)} port {port} is the proxy itself" if refused else None)

    def test_on_one_address(self) -> None:
        self.check(
            "127.0.0.1",
            {
                ("127.0.0.1", 8080): True,
                ("::ffff:127.0.0.1", 8080): True,
                ("127.0.0.1", 8081): False,
                ("10.0.0.5", 8080): False,
            },
        )

    def test_on_all_addresses(self) -> None:
        for listener in ("0.0.0.0", "::"):
            self.check(
                listener,
                {
                    ("127.0.0.1", 8080): True,
                    ("10.0.0.5", 8080): True,
                    ("::1", 8080): True,
                    ("0.0.0.0", 8080): True,
                    ("::", 8080): True,
                    ("64:ff9b::a00:5", 8080): True,
                    ("10.0.0.6", 8080): False,
                    ("10.0.0.5", 8081): False,
                },
            )


class NameTests(SynchronousTestCase):
    """Names that an upstream proxy resolves."""

    def test_names(self) -> None:
        for text, word in {
            "localhost": "loopback",
            "a.localhost": "loopback",
            "127.0.0.1": "loopback",
            "[::1]": "loopback",
            "[64:ff9b::a9fe:a9fe]": "link-local",
            "example.com": None,
            "notlocalhost": None,
            "localhost.example.com": None,
            "10.0.0.1": None,
        }.items():
            with self.subTest(text):
                refusal = guard().name_refusal(Authority.parse(text, 80))
                if word is None:
                    self.assertIsNone(refusal)
                else:
                    self.assertIn(word, str(refusal))

    def test_metadata_names(self) -> None:
        for name in METADATA_NAMES:
            with self.subTest(name):
                self.assertIsNotNone(guard().name_refusal(Authority(name, 80)))
                self.assertIsNone(guard("169.254.0.0/16").name_refusal(Authority(name, 80)))

    def test_allowing_loopback_allows_localhost(self) -> None:
        self.assertIsNone(guard("127.0.0.0/8").name_refusal(Authority("localhost", 80)))


class IsLocalAddressTests(SynchronousTestCase):
    """An address is local if a socket can be bound to it."""

    def test_loopback(self) -> None:
        self.assertTrue(is_local_address(ip_address("127.0.0.1")))

    def test_documentation_addresses(self) -> None:
        # RFC 5737 and RFC 3849: no machine has these addresses.
        for text in ("192.0.2.1", "2001:db8::1"):
            with self.subTest(text):
                self.assertFalse(is_local_address(ip_address(text)))
