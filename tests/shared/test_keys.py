"""Tests for L{egress.shared.keys}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.shared.keys import SharedKeys

SECRET = bytes(range(32))


class SharedKeysTests(SynchronousTestCase):
    """Only a holder of the secret can write a value, and only under its name."""

    def setUp(self) -> None:
        self.keys = SharedKeys(SECRET, "the service")

    def test_names(self) -> None:
        """A name depends on everything, reveals nothing, and is in the slot of its group."""
        names = {
            keys.name(keys.group(group), kind, facts)
            for keys in (self.keys, SharedKeys(SECRET, "other"), SharedKeys(bytes(32), "the service"))
            for group, kind, facts in (
                (b"a", b"x", b"secret"),
                (b"a", b"x", b""),
                (b"a", b"y", b"secret"),
                (b"ax", b"x", b"secret"),
                (b"b", b"x", b"secret"),
            )
        }
        self.assertEqual(len(names), 15)
        for name in names:
            self.assertRegex(name, rb"\Aegress:\{[\w-]{40}\}:[xy]:[\w-]{40}\Z")
            self.assertNotIn(b"secret", name)
        group = self.keys.group(b"a")
        first, second = self.keys.name(group, b"x", b"1"), self.keys.name(group, b"y", b"2")
        self.assertEqual(first.partition(b"}")[0], second.partition(b"}")[0])
        self.assertEqual(first, SharedKeys(SECRET, "the service").name(group, b"x", b"1"))

    def test_sealed(self) -> None:
        sealed = self.keys.seal(b"name", b"content")
        self.assertEqual(SharedKeys(SECRET, "the service").unseal(b"name", sealed), b"content")
        self.assertNotIn(b"content", sealed)
        self.assertNotEqual(sealed, self.keys.seal(b"name", b"content"))

    def test_derived(self) -> None:
        """All replicas have the same key for a purpose, and another one for each purpose."""
        derived = self.keys.derived()
        self.assertEqual(SharedKeys(SECRET, "the service").derived(), derived)
        self.assertNotEqual(SharedKeys(SECRET, "other").derived(), derived)
        self.assertNotEqual(SharedKeys(bytes(32), "the service").derived(), derived)

    def test_forged(self) -> None:
        """Each change of a value, and each other place for it, is detected."""
        sealed = self.keys.seal(b"name", b"content")
        forged = [sealed[:length] for length in range(len(sealed))]
        forged += [
            sealed[:index] + bytes([sealed[index] ^ bit]) + sealed[index + 1 :]
            for index in range(len(sealed))
            for bit in (1, 128)
        ]
        forged += [sealed + b"x", b"\0" * len(sealed), b"content"]
        for value in forged:
            self.assertIsNone(self.keys.unseal(b"name", value), value)
        self.assertIsNone(self.keys.unseal(b"other", sealed))
        self.assertIsNone(SharedKeys(SECRET, "other").unseal(b"name", sealed))
        self.assertIsNone(SharedKeys(bytes(32), "the service").unseal(b"name", sealed))
