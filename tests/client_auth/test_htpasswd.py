"""Tests for L{egress.client_auth.htpasswd}."""

from __future__ import annotations

import hashlib
import hmac
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.client_auth.htpasswd import ClientSecrets, PasswordHash, SecretsError, is_name, password_line, token_line
from egress.http.proxy_authorization import Basic, Bearer

SALT = "00" * 16
HASH = "11" * 32
GOOD = f"alice:scrypt:32768:8:1:{SALT}:{HASH}"


def cheap_line(name: str, password: bytes, p: int = 1) -> str:
    """Return the line for a password with a low cost."""
    made = PasswordHash(2**14, 8, p)
    return f"{name}:scrypt:{made.n}:{made.r}:{made.p}:{made.salt.hex()}:{made.of(password).hex()}"


class LineTests(SynchronousTestCase):
    """Generated lines can be parsed, and authenticate the right client."""

    def test_password(self) -> None:
        line = password_line("alice", b"s3cret")
        self.assertNotIn("s3cret", line)
        self.assertTrue(line.startswith("alice:scrypt:32768:8:1:"))
        self.assertNotEqual(line, password_line("alice", b"s3cret"), "the salt is another")
        known = ClientSecrets.parse(line, "file")
        self.assertTrue(known.by_password(Basic("alice", b"s3cret")))
        self.assertFalse(known.by_password(Basic("alice", b"s3creT")))
        self.assertFalse(known.by_password(Basic("bob", b"s3cret")))

    def test_reference(self) -> None:
        """The hash is the scrypt of RFC 7914, so that other programs can make lines."""
        made = PasswordHash(1024, 8, 16, b"NaCl")
        expected = hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16, dklen=32)
        self.assertEqual(made.of(b"password"), expected)
        self.assertEqual(expected.hex()[:16], "fdbabe1c9d347200")

    def test_token(self) -> None:
        line = token_line("ci", b"t0ken")
        self.assertEqual(line, f"ci:sha256:{hashlib.sha256(b't0ken').hexdigest()}")
        known = ClientSecrets.parse(line, "file")
        for credentials, name in (
            (Bearer(b"t0ken"), "ci"),
            (Bearer(b"t0keN"), None),
            (Basic("ci", b"t0ken"), "ci"),
            (Basic("ci", b"t0keN"), None),
            (Basic("alice", b"t0ken"), None),
        ):
            with self.subTest(credentials):
                self.assertEqual(known.by_token(credentials), name)
                self.assertFalse(known.needs_time(credentials), "there are no passwords")

    def test_names(self) -> None:
        for name in ("a", "alice", "runner 7", "spiffe//x", "bücher", "x" * 128):
            self.assertTrue(is_name(name), name)
        for name in ("", " a", "a ", "a:b", "#a", "a\nb", "a\x1bb", "x" * 129):
            self.assertFalse(is_name(name), name)


class FileTests(SynchronousTestCase):
    """A file is either valid as a whole, or rejected with its invalid line."""

    def test_several_clients(self) -> None:
        lines = [
            "# clients",
            "",
            GOOD,
            token_line("ci", b"a"),
            f"  {token_line('ci', b'b')}\r",
            token_line("alice", b"c"),
        ]
        known = ClientSecrets.parse("\n".join(lines), "file")
        self.assertEqual(len(known), 2)
        self.assertEqual([known.by_token(Bearer(token)) for token in (b"a", b"b", b"c")], ["ci", "ci", "alice"])
        self.assertTrue(known.needs_time(Basic("ci", b"x")), "or its time would tell that it has no password")
        self.assertFalse(known.needs_time(Bearer(b"x")))

    def test_no_clients(self) -> None:
        known = ClientSecrets.parse("# nobody\n\n", "file")
        self.assertEqual(len(known), 0)
        self.assertIsNone(known.by_token(Bearer(b"")))
        self.assertFalse(known.needs_time(Basic("", b"")))

    def test_rejected(self) -> None:
        for text, words in (
            ("alice", "line 1: unknown scheme"),
            ("alice:s3cret", "unknown scheme"),
            (":sha256:" + HASH, "the name is missing"),
            (f"{GOOD}\n{GOOD}", "line 2: this client already has a password"),
            (f"a:sha256:{HASH}\nb:sha256:{HASH}", "line 2: another line has the same token"),
            ("ci:sha256:s3cret", "64 hexadecimal digits"),
            ("alice:scrypt:s3cret", "N:r:p:salt:hash"),
            (f"alice:scrypt:32768:8:1:{SALT}:{HASH}:s3cret", "N:r:p:salt:hash"),
            (f"alice:scrypt:32768:8:1:00:{HASH}", "the salt must have at least 16 bytes"),
            (f"alice:scrypt:32768:8:1:{SALT}0:{HASH}", "the salt must have at least 16 bytes"),
            (f"alice:scrypt:32768:8:1:{SALT}:1111", "the hash 32"),
            (f"alice:scrypt:32767:8:1:{SALT}:{HASH}", "a power of two"),
            (f"alice:scrypt:0:8:1:{SALT}:{HASH}", "a power of two"),
            (f"alice:scrypt:8192:8:1:{SALT}:{HASH}", "too weak"),
            (f"alice:scrypt:32768:8:9:{SALT}:{HASH}", "too expensive"),
            (f"alice:scrypt:131072:8:1:{SALT}:{HASH}", "too expensive"),
        ):
            with self.subTest(text):
                error = self.assertRaises(SecretsError, ClientSecrets.parse, text, "clients.txt")
                self.assertIn(words, error.reason)
                self.assertTrue(error.reason.startswith("clients.txt"))
                self.assertEqual(str(error), error.reason)
                for secret in ("s3cret", HASH, SALT):
                    self.assertNotIn(secret, error.reason)

    def test_secrets_are_not_displayed(self) -> None:
        shown = repr(PasswordHash(32768, 8, 1, bytes.fromhex(SALT), bytes.fromhex(HASH)))
        self.assertIn("32768", shown)
        self.assertNotIn("x11", shown)
        self.assertNotIn("x00", shown)


class TimeTests(SynchronousTestCase):
    """The duration of a check reveals nothing."""

    def derivations(self, known: ClientSecrets, credentials: Basic) -> list[tuple[int, int, int]]:
        """Return the parameters of all key derivations of a check."""
        found = []
        scrypt = hashlib.scrypt

        def noted(password: bytes, *, n: int, r: int, p: int, **options: object) -> bytes:
            found.append((n, r, p))
            return scrypt(password, n=n, r=r, p=p, **options)  # type: ignore[arg-type]

        with mock.patch.object(hashlib, "scrypt", noted):
            known.by_password(credentials)
        return found

    def test_unknown_names_cost_the_same(self) -> None:
        known = ClientSecrets.parse("\n".join([cheap_line("alice", b"s3cret"), token_line("ci", b"t")]), "file")
        for name in ("alice", "ci", "nobody"):
            self.assertEqual(self.derivations(known, Basic(name, b"wrong")), [(2**14, 8, 1)], name)

    def test_unknown_names_cost_as_much_as_the_most_expensive(self) -> None:
        known = ClientSecrets.parse("\n".join([cheap_line("a", b"1"), cheap_line("b", b"2", p=2)]), "file")
        self.assertEqual(self.derivations(known, Basic("nobody", b"x")), [(2**14, 8, 2)])
        self.assertTrue(known.by_password(Basic("b", b"2")))

    def test_password_in_latin_1(self) -> None:
        lines = [
            cheap_line("alice", "Zoë".encode()),
            cheap_line("bob", "Zoë".encode("latin-1")),
            token_line("ci", "ë".encode()),
        ]
        known = ClientSecrets.parse("\n".join(lines), "file")
        for sent, expected in (("Zoë".encode(), (True, False)), (b"Zo\xeb", (True, True)), (b"Zo\xe8", (False, False))):
            with self.subTest(sent):
                found = tuple(known.by_password(Basic(name, sent)) for name in ("alice", "bob"))
                self.assertEqual(found, expected)
        self.assertEqual(known.by_token(Basic("ci", b"\xeb")), "ci")
        self.assertIsNone(known.by_token(Basic("alice", b"\xeb")))

    def test_unknown_names_cost_the_same_in_latin_1(self) -> None:
        known = ClientSecrets.parse(cheap_line("alice", b"s3cret"), "file")
        for name in ("alice", "nobody"):
            self.assertEqual(self.derivations(known, Basic(name, b"\xeb")), [(2**14, 8, 1)] * 2, name)

    def test_dummy_password_is_not_accepted(self) -> None:
        known = ClientSecrets.parse(cheap_line("alice", b"s3cret"), "file")
        with mock.patch.object(PasswordHash, "fits", return_value=True):
            self.assertFalse(known.by_password(Basic("nobody", b"x")))
        self.assertFalse(ClientSecrets({}, {}).by_password(Basic("nobody", b"x")))

    def test_comparisons(self) -> None:
        """They take constant time."""
        known = ClientSecrets.parse("\n".join([cheap_line("alice", b"s3cret"), token_line("ci", b"t")]), "file")
        with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared:
            known.by_password(Basic("alice", b"wrong"))
            known.by_token(Basic("ci", b"t"))
        self.assertEqual(compared.call_count, 2)
