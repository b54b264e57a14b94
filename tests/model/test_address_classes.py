"""Tests for L{egress.model.address_classes}."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.address_classes import CLASSES, METADATA_NAMES, classes, embedded, forbidden, is_private
from egress.model.authority import IPAddress, normalize_host


def spellings(address: IPv4Address) -> dict[str, IPAddress]:
    """Return an IPv4 address embedded in IPv6 by every transition mechanism."""
    bits = int(address)
    return {
        "mapped": IPv6Address(0xFFFF << 32 | bits),
        "translated": IPv6Address(0xFFFF << 48 | bits),
        "NAT64": IPv6Address(0x64FF9B << 96 | bits),
        "6to4": IPv6Address(0x2002 << 112 | bits << 80 | 1),
        "Teredo": IPv6Address(0x20010000 << 96 | 0x0808_0808 << 64 | bits ^ 0xFFFFFFFF),
        "ISATAP": IPv6Address(0x2001_0470 << 96 | 0x5EFE << 32 | bits),
        "ISATAP, universal": IPv6Address(0x2001_0470 << 96 | 0x0200_5EFE << 32 | bits),
    }


class ForbiddenTests(SynchronousTestCase):
    """The addresses that are forbidden, with their descriptions."""

    CASES = {
        "0.0.0.0": "unspecified",
        "0.255.255.255": "unspecified",
        "127.0.0.1": "loopback",
        "127.255.255.255": "loopback",
        "169.254.0.0": "link-local",
        "169.254.169.254": "which cloud metadata services use",
        "169.254.170.2": "link-local",
        "100.100.100.200": "metadata service",
        "168.63.129.16": "metadata service",
        "192.0.0.192": "metadata service",
        "192.0.0.8": "reserved",
        "192.0.2.1": "reserved",
        "192.88.99.1": "reserved",
        "198.51.100.1": "reserved",
        "203.0.113.255": "reserved",
        "224.0.0.1": "multicast",
        "239.255.255.255": "multicast",
        "240.0.0.1": "reserved",
        "255.255.255.254": "reserved",
        "255.255.255.255": "broadcast",
        "::": "unspecified",
        "::1": "loopback",
        "::7f00:1": "reserved",
        "::808:808": "reserved",
        "64:ff9b:1::808:808": "translator",
        "100::1": "reserved",
        "100:0:0:1::1": "reserved",
        "2001:10::1": "reserved",
        "2001:db8::1": "reserved",
        "3fff::1": "reserved",
        "5f00::1": "reserved",
        "fd00:42::42": "metadata service",
        "fd00:c1::a9fe:a9fe": "metadata service",
        "fd00:ec2::23": "metadata service",
        "fd00:ec2::254": "metadata service",
        "fd20:ce::254": "metadata service",
        "fe80::1": "link-local",
        "febf::1": "link-local",
        "fec0::1": "reserved",
        "ff02::1": "multicast",
        # The address that ISATAP would embed here does not matter: the outer address is link-local.
        "fe80::5efe:808:808": "link-local",
    }

    OPEN = (
        "1.0.0.1",
        "8.8.8.8",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.199",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.17",
        "169.253.255.255",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "223.255.255.255",
        "2001:2::1",
        "2001:4860:4860::8888",
        "2606:4700::1",
        "fd00::1",
        "fd00:ec1::254",
        "fd20:ce::253",
        "64:ff9b::808:808",
        "2002:808:808::1",
    )

    def test_forbidden(self) -> None:
        for text, word in self.CASES.items():
            with self.subTest(text):
                what = forbidden(ip_address(text))
                self.assertIsNotNone(what)
                self.assertIn(word, str(what))

    def test_permitted(self) -> None:
        """Public and internal networks, and the neighbors of forbidden networks, are not forbidden."""
        for text in self.OPEN:
            with self.subTest(text):
                self.assertIsNone(forbidden(ip_address(text)))

    def test_embedded_addresses(self) -> None:
        for text in [*self.CASES, *self.OPEN]:
            address = ip_address(text)
            if isinstance(address, IPv4Address):
                for how, spelling in spellings(address).items():
                    with self.subTest(text, how=how):
                        self.assertEqual(forbidden(spelling), forbidden(address))

    def test_zone_makes_no_difference(self) -> None:
        self.assertIn("link-local", str(forbidden(ip_address("fe80::1%eth0"))))


class EmbeddedTests(SynchronousTestCase):
    """The IPv4 addresses that transition mechanisms embed."""

    @given(st.integers(0, 2**32 - 1).map(IPv4Address))
    def test_every_mechanism(self, address: IPv4Address) -> None:
        self.assertEqual(embedded(address), address)
        for how, spelling in spellings(address).items():
            self.assertEqual(embedded(spelling), address, how)

    def test_nothing_embedded(self) -> None:
        for text in ("::1", "2001:4860:4860::8888", "fd00::1", "2001:470::1:5efe:808:808"):
            with self.subTest(text):
                self.assertEqual(embedded(ip_address(text)), ip_address(text))


class PrivateTests(SynchronousTestCase):
    """Internal networks."""

    CASES = {
        "9.255.255.255": False,
        "10.0.0.0": True,
        "10.255.255.255": True,
        "11.0.0.0": False,
        "100.63.255.255": False,
        "100.64.0.0": True,
        "100.127.255.255": True,
        "100.128.0.0": False,
        "172.15.255.255": False,
        "172.16.0.0": True,
        "172.31.255.255": True,
        "172.32.0.0": False,
        "192.167.255.255": False,
        "192.168.0.0": True,
        "192.168.255.255": True,
        "192.169.0.0": False,
        "198.17.255.255": False,
        "198.18.0.0": True,
        "198.19.255.255": True,
        "198.20.0.0": False,
        "8.8.8.8": False,
        "127.0.0.1": False,
        "2001:1:ffff::1": False,
        "2001:2::1": True,
        "2001:2:1::1": False,
        "fbff::1": False,
        "fc00::1": True,
        "fdff:ffff::1": True,
        "fe00::1": False,
        "2606:4700::1": False,
        # A public address that ISATAP embeds in an address of an internal network.
        "fd00::5efe:808:808": True,
    }

    def test_private(self) -> None:
        for text, expected in self.CASES.items():
            address = ip_address(text)
            with self.subTest(text):
                self.assertIs(is_private(address), expected)
            if isinstance(address, IPv4Address):
                for how, spelling in spellings(address).items():
                    with self.subTest(text, how=how):
                        self.assertIs(is_private(spelling), expected)


class NameTests(SynchronousTestCase):
    """The names of metadata services."""

    def test_normalized(self) -> None:
        """The names are normalized, because they are compared with normalized hosts."""
        self.assertIn("metadata.google.internal", METADATA_NAMES)
        for name in METADATA_NAMES:
            with self.subTest(name):
                self.assertEqual(normalize_host(name), name)


class ClassTests(SynchronousTestCase):
    """The address classes that rules name."""

    def test_classes(self) -> None:
        for text, expected in {
            "8.8.8.8": {"public"},
            "10.0.0.1": {"private"},
            "127.0.0.1": {"loopback"},
            "::1": {"loopback"},
            "169.254.169.254": {"link-local", "metadata"},
            "100.100.100.200": {"metadata", "private"},
            "fd00:ec2::254": {"metadata", "private"},
            "168.63.129.16": {"metadata"},
            "0.0.0.0": {"unspecified"},
            "224.0.0.1": {"multicast"},
            "255.255.255.255": {"broadcast"},
            "203.0.113.1": {"reserved"},
            # The embedded address counts, too.
            "64:ff9b::a00:1": {"private"},
            "64:ff9b::808:808": {"public"},
            "2606:4700::1": {"public"},
        }.items():
            with self.subTest(text):
                found = classes(ip_address(text))
                self.assertEqual(found, expected)
                self.assertLessEqual(found, CLASSES)

    def test_public_addresses_pass_the_guard(self) -> None:
        for text in ("8.8.8.8", "10.0.0.1", "::1", "fe80::1", "2001:db8::1", "2606:4700::1", "100.64.0.1"):
            address = ip_address(text)
            passes = forbidden(address) is None and not is_private(address)
            self.assertIs("public" in classes(address), passes, text)
