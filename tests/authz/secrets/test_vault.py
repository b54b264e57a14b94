"""Tests for L{egress.authz.secrets.vault}."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.secrets.command import CommandFailed
from egress.authz.secrets.table import SecretTable, SecretTableError, parse_secret_table
from egress.authz.secrets.vault import Vault, load_secret_table, unreadable_secrets
from egress.model.authority import Authority, Origin
from egress.model.errors import AuthorizerUnavailable
from tests.files import make_directory

ORIGIN = Origin("https", Authority("api.test", 443))
HOSTS = 'hosts = ["api.test"]\n'


class VaultTestCase(SynchronousTestCase):
    """Base: a vault, its clock, and commands that behave as a test directs."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.clock = Clock()
        self.environ: dict[str, str] = {}
        self.commands: list[tuple[tuple[str, ...], Deferred[bytes]]] = []

    def table(self, text: str) -> SecretTable:
        return parse_secret_table(text, "secrets.toml", self.directory)

    def vault(self, text: str) -> Vault:
        return Vault(self.table(text), self.clock, self.run_command, self.environ)

    def run_command(self, command: Sequence[str]) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        self.commands.append((tuple(command), done))
        return done

    def write(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def had(self, vault: Vault, name: str = "a") -> bytes:
        return self.successResultOf(vault.value(name, ORIGIN))

    def refused(self, vault: Vault, says: str, name: str = "a", origin: Origin = ORIGIN) -> None:
        self.failed(vault.value(name, origin), says)

    def failed(self, waiting: Deferred[bytes], says: str) -> None:
        error = self.failureResultOf(waiting, AuthorizerUnavailable).value
        self.assertIn(says, error.reason)
        self.assertNotIn("s3cr3t", error.reason)


class AccessTests(VaultTestCase):
    """Which secret is available for which origin."""

    def test_unknown(self) -> None:
        self.refused(self.vault(""), "the secret a, which --secrets does not define")

    def test_other_origin(self) -> None:
        self.environ["A"] = "s3cr3t"
        vault = self.vault(f'[a]\nenv = "A"\n{HOSTS}')
        self.refused(vault, "may not be sent to evil.test", origin=Origin("https", Authority("evil.test", 443)))
        self.refused(vault, "without TLS", origin=Origin("http", Authority("api.test", 80)))

    def test_variable(self) -> None:
        vault = self.vault(f'[a]\nenv = "A"\n{HOSTS}')
        self.refused(vault, "the variable A is not set")
        self.environ["A"] = "s3cr3t"
        self.assertEqual(self.had(vault), b"s3cr3t")
        for value, says in (("", "empty"), ("s3cr3t\nX: y", "control characters"), ("s3cr3t" * 4096, "over")):
            self.environ["A"] = value
            self.refused(vault, says)

    def test_repr_contains_no_value(self) -> None:
        self.write("token", b"s3cr3t")
        vault = self.vault(f'[a]\nfile = "token"\n{HOSTS}')
        self.assertEqual(self.had(vault), b"s3cr3t")
        self.assertNotIn("s3cr3t", repr(vault) + repr(vars(vault)))


class FileTests(VaultTestCase):
    """Secrets in files."""

    TEXT = f'[a]\nfile = "token"\n{HOSTS}'

    def test_final_line_feed_is_removed(self) -> None:
        for data, value in ((b"s3cr3t\n", b"s3cr3t"), (b"s3cr3t\r\n", b"s3cr3t"), (b"s3cr3t", b"s3cr3t")):
            self.write("token", data)
            self.assertEqual(self.had(self.vault(self.TEXT)), value)
        self.write("token", b"s3cr3t\n\n")
        self.refused(self.vault(self.TEXT), "control characters")

    def test_changed_file_is_read_again(self) -> None:
        vault = self.vault(self.TEXT)
        self.write("token", b"one")
        self.assertEqual(self.had(vault), b"one")
        self.write("token", b"three")
        self.assertEqual(self.had(vault), b"one", "it is not looked at each time")
        self.clock.advance(1)
        self.assertEqual(self.had(vault), b"three")
        self.clock.advance(1)
        self.assertEqual(self.had(vault), b"three")
        self.write("token", b"three").chmod(0o644)
        self.clock.advance(1)
        self.refused(vault, "users other than its owner")
        self.write("token", b"three")
        self.assertEqual(self.had(vault), b"three")
        (self.directory / "token").unlink()
        self.clock.advance(1)
        self.refused(vault, "cannot be read: No such file")

    def test_refresh(self) -> None:
        vault = self.vault(self.TEXT + 'refresh = "5s"')
        path = self.write("token", b"one")
        self.had(vault)
        state = os.stat(path)
        self.patch(os, "stat", lambda _: state)
        self.write("token", b"two")
        self.clock.advance(4)
        self.assertEqual(self.had(vault), b"one")
        self.clock.advance(1)
        self.assertEqual(self.had(vault), b"two")

    def test_missing_file(self) -> None:
        (self.directory / "token").mkdir()
        self.refused(self.vault(self.TEXT), "its file is not a regular file")

    def test_file_that_disappears(self) -> None:
        path = self.write("token", b"one")
        state = os.stat(path)
        path.unlink()
        self.patch(os, "stat", lambda _: state)
        self.refused(self.vault(self.TEXT), "its file does not exist")


class CommandTests(VaultTestCase):
    """Secrets that a program prints."""

    TEXT = f'[a]\ncommand = ["print", "token"]\nrefresh = "60s"\n{HOSTS}'

    def test_one_command_for_all_callers(self) -> None:
        vault = self.vault(self.TEXT)
        waiting = [vault.value("a", ORIGIN) for _ in range(3)]
        ((command, done),) = self.commands
        self.assertEqual(command, ("print", "token"))
        done.callback(b"s3cr3t\n")
        self.assertEqual([self.successResultOf(each) for each in waiting], [b"s3cr3t"] * 3)
        self.clock.advance(59)
        self.assertEqual((self.had(vault), len(self.commands)), (b"s3cr3t", 1))
        self.clock.advance(1)
        again = vault.value("a", ORIGIN)
        self.commands[1][1].callback(b"new")
        self.assertEqual(self.successResultOf(again), b"new")

    def test_cancel_does_not_affect_others(self) -> None:
        vault = self.vault(self.TEXT)
        one, other = vault.value("a", ORIGIN), vault.value("a", ORIGIN)
        one.addErrback(lambda _: None)
        one.cancel()
        self.commands[0][1].callback(b"s3cr3t")
        self.assertEqual(self.successResultOf(other), b"s3cr3t")

    def test_cancel_during_the_result_of_another(self) -> None:
        for result in (b"s3cr3t", b""):
            with self.subTest(result):
                self.commands.clear()
                vault = self.vault(self.TEXT)
                one, other, third = (vault.value("a", ORIGIN) for _ in range(3))
                one.addBoth(lambda _, other=other: other.cancel())  # type: ignore[call-overload]
                self.commands[0][1].callback(result)
                self.failureResultOf(other, CancelledError)
                if result:
                    self.assertEqual(self.successResultOf(third), result)
                else:
                    self.failed(third, "it is empty")

    def test_failures(self) -> None:
        for result, says in (
            (CommandFailed("exited with status 1"), "its command exited with status 1"),
            (b"", "it is empty"),
            (b"s3cr3t\nmore", "control characters"),
            (RuntimeError("s3cr3t"), "its command failed"),
        ):
            with self.subTest(says):
                self.commands.clear()
                vault = self.vault(self.TEXT)
                waiting = vault.value("a", ORIGIN)
                ((_, done),) = self.commands
                if isinstance(result, bytes):
                    done.callback(result)
                else:
                    done.errback(result)
                self.failed(waiting, says)
                self.refused(vault, says)
                self.assertEqual(len(self.commands), 1, "it is left alone for a moment")
                self.clock.advance(1)
                vault.value("a", ORIGIN)
                self.assertEqual(len(self.commands), 2)

    def test_command_that_raises(self) -> None:
        vault = Vault(self.table(self.TEXT), self.clock, lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
        self.refused(vault, "its command failed")

    def test_close(self) -> None:
        vault = self.vault(self.TEXT)
        waiting = vault.value("a", ORIGIN)
        vault.close()
        self.failed(waiting, "its command failed")

    def test_other_table(self) -> None:
        vault = self.vault(self.TEXT)
        before = vault.value("a", ORIGIN)
        vault.use(self.table(self.TEXT.replace("token", "other")))
        after = vault.value("a", ORIGIN)
        self.commands[0][1].callback(b"old")
        self.assertEqual(self.successResultOf(before), b"old")
        self.assertEqual(self.commands[1][0], ("print", "other"))
        self.commands[1][1].callback(b"new")
        self.assertEqual((self.successResultOf(after), self.had(vault)), (b"new", b"new"))


class LoadTests(VaultTestCase):
    """The file with the table of secrets."""

    def test_valid(self) -> None:
        table = load_secret_table(self.write("secrets.toml", f'[a]\nfile = "token"\n{HOSTS}'.encode()))
        self.assertEqual(table.secrets["a"].file, self.directory / "token")

    def test_invalid(self) -> None:
        for data, mode, says in (
            (b"", 0o602, "other users can write"),
            (b"\xff", 0o600, "UTF-8"),
            (b"#" * (1024 * 1024 + 1), 0o600, "over"),
            (b"garbage", 0o600, "TOML"),
        ):
            path = self.write("secrets.toml", data, mode)
            self.assertIn(says, self.assertRaises(SecretTableError, load_secret_table, path).reason)
        error = self.assertRaises(SecretTableError, load_secret_table, self.directory / "no")
        self.assertIn("cannot be read", error.reason)


class UnreadableSecretsTests(VaultTestCase):
    """The secrets that cannot be read when a proxy starts."""

    def test_reasons(self) -> None:
        self.write("ok", b"s3cr3t")
        self.write("empty", b"")
        self.write("open", b"s3cr3t", 0o644)
        self.environ["SET"] = "s3cr3t"
        sources = {
            "ok": 'file = "ok"',
            "missing": 'file = "none"',
            "empty": 'file = "empty"',
            "open": 'file = "open"',
            "set": 'env = "SET"',
            "unset": 'env = "UNSET"',
            "run": 'command = ["sh", "-c", "exit 1"]',
            "gone": 'command = ["/no/such/program"]',
        }
        table = self.table("".join(f"[{name}]\n{source}\n{HOSTS}" for name, source in sources.items()))
        self.assertEqual(
            dict(unreadable_secrets(table, self.clock, self.environ)),
            {
                "missing": "its file cannot be read: No such file or directory",
                "empty": "it is empty",
                "open": "users other than its owner can access its file; run chmod 600 on it",
                "unset": "the variable UNSET is not set",
                "gone": "its command /no/such/program does not exist",
            },
        )
        # No command was run.
        self.assertEqual(self.commands, [])
