"""Tests for L{egress.client_auth.authenticator}."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.client_auth import authenticator as authenticator
from egress.client_auth.authenticator import AT_ONCE, QUEUE, REMEMBERED_SECONDS, ClientAuthenticator, load_secrets
from egress.client_auth.htpasswd import SecretsError, token_line
from egress.interfaces import IClientAuthenticator
from egress.model.errors import ClientAuthBusy, ClientAuthRequired, ClientCredentialsRejected
from tests.client_auth.test_htpasswd import cheap_line

HERE = "198.51.100.7"
LINES = "\n".join([cheap_line("alice", b"s3cret"), token_line("ci", b"t0ken")])


def basic(name: str, password: str) -> bytes:
    """Return credentials of the Basic scheme."""
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode())


ALICE = basic("alice", "s3cret")
TOKEN = b"Bearer t0ken"


class AuthenticatorTestCase(SynchronousTestCase):
    """An authenticator whose threads run when a test completes them.

    @ivar under_way: the running checks.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text(LINES)
        self.under_way: list[tuple[Callable[[], bool], Deferred[bool]]] = []
        self.authenticator = ClientAuthenticator(self.path, self.clock, self.in_thread)

    def tearDown(self) -> None:
        """Verify that no check has left anything that limits later checks."""
        self.assertEqual(self.under_way, [])
        self.write(LINES)
        addresses = [f"203.0.113.{number}" for number in range(AT_ONCE)]
        with mock.patch.object(authenticator, "QUEUES", AT_ONCE):
            later = [self.authenticator.check(basic("alice", address), address) for address in addresses]
        self.assertEqual(len(self.under_way), AT_ONCE)
        self.finish_all()
        for each in later:
            self.failureResultOf(each, ClientCredentialsRejected)

    def in_thread(self, check: Callable[[], bool]) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self.under_way.append((check, done))
        return done

    def finish(self, number: int = 0) -> None:
        check, done = self.under_way.pop(number)
        done.callback(check())

    def finish_all(self) -> None:
        while self.under_way:
            _, done = self.under_way.pop(0)
            done.callback(False)

    def write(self, text: str) -> None:
        """Write the file, and advance the clock."""
        self.path.write_text(text)
        self.clock.advance(1)


class CheckTests(AuthenticatorTestCase):
    """Accepted and rejected credentials."""

    def test_interface(self) -> None:
        verifyObject(IClientAuthenticator, self.authenticator)

    def test_password(self) -> None:
        self.assertIsNone(self.authenticator.cached_identity(ALICE))
        waiting = self.authenticator.check(ALICE, HERE)
        self.assertNoResult(waiting)
        self.finish()
        self.assertEqual(self.successResultOf(waiting), "alice")
        self.assertEqual(self.authenticator.cached_identity(ALICE), "alice")

    def test_wrong_credentials(self) -> None:
        for presented in (basic("alice", "wrong"), basic("nobody", "s3cret"), basic("ci", "s3cret"), basic("", "")):
            waiting = self.authenticator.check(presented, HERE)
            self.finish()
            error = self.failureResultOf(waiting, ClientCredentialsRejected).value
            self.assertNotIn("s3cret", error.reason)
            self.assertIsNone(self.authenticator.cached_identity(presented))

    def test_token(self) -> None:
        for presented in (TOKEN, basic("ci", "t0ken")):
            self.assertEqual(self.successResultOf(self.authenticator.check(presented, HERE)), "ci")
            self.assertEqual(self.authenticator.cached_identity(presented), "ci")
        self.failureResultOf(self.authenticator.check(b"Bearer wrong", HERE), ClientCredentialsRejected)
        self.assertEqual(self.under_way, [])

    def test_missing_credentials(self) -> None:
        for presented in (None, b"", b"Digest x", b"Basic !", b"Bearer " + b"x" * 4096, basic("alice", "x" * 3072)):
            self.failureResultOf(self.authenticator.check(presented, HERE), ClientAuthRequired)

    def test_cached_identity(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.clock.advance(REMEMBERED_SECONDS - 1)
        self.assertEqual(self.authenticator.cached_identity(TOKEN), "ci")
        self.clock.advance(1)
        self.assertIsNone(self.authenticator.cached_identity(TOKEN))

    def test_cache_is_limited(self) -> None:
        self.patch(authenticator, "REMEMBERED", 2)
        values = [TOKEN, basic("ci", "t0ken"), b"bearer t0ken"]
        for value in values:
            self.authenticator.check(value, HERE)
        self.assertEqual([self.authenticator.cached_identity(value) for value in values], [None, "ci", "ci"])

    def test_credentials_are_not_stored(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.assertEqual(self.authenticator.cached_identity(TOKEN), "ci")
        self.assertNotIn("t0ken", repr(vars(self.authenticator)))

    def test_thread_fails(self) -> None:
        waiting = self.authenticator.check(ALICE, HERE)
        self.under_way.pop()[1].errback(MemoryError())
        self.failureResultOf(waiting, ClientAuthBusy)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertIsNone(self.authenticator.cached_identity(ALICE))

    def test_callback_fails(self) -> None:
        """A failing callback of one request does not prevent the next check."""

        def broken(_: object) -> None:
            raise ZeroDivisionError

        self.authenticator.check(ALICE, HERE).addCallback(broken).addErrback(
            lambda failure: failure.trap(ZeroDivisionError)
        )
        second = self.authenticator.check(basic("alice", "wrong"), HERE)
        self.finish()
        self.finish()
        self.failureResultOf(second, ClientCredentialsRejected)


class TurnTests(AuthenticatorTestCase):
    """Checks take turns."""

    def checks(self, number: int, address: str = HERE) -> list[Deferred[str]]:
        found = []
        for index in range(number):
            found.append(self.authenticator.check(basic("alice", f"{address}-{index}"), address))
            found[-1].addErrback(lambda failure: failure.type)
        return found

    def test_same_credentials_are_checked_once(self) -> None:
        waiting = [self.authenticator.check(ALICE, address) for address in (HERE, HERE, "192.0.2.1")]
        self.assertEqual(len(self.under_way), 1)
        self.finish()
        self.assertEqual([self.successResultOf(each) for each in waiting], ["alice"] * 3)

    def test_one_check_per_address(self) -> None:
        waiting = self.checks(3)
        for index in range(3):
            self.assertEqual(len(self.under_way), 1)
            self.assertNoResult(waiting[index])
            self.finish()
            self.assertIs(self.successResultOf(waiting[index]), ClientCredentialsRejected)

    def test_concurrency_limit(self) -> None:
        for number in range(AT_ONCE + 2):
            self.checks(1, f"192.0.2.{number}")
        self.assertEqual(len(self.under_way), AT_ONCE)
        self.finish_all()

    def test_flood_delays_no_other_address(self) -> None:
        self.checks(QUEUE, "192.0.2.1")
        self.checks(QUEUE, "192.0.2.2")
        good = self.authenticator.check(ALICE, HERE)
        self.assertEqual(len(self.under_way), AT_ONCE)
        # After the running checks, one check of each other address comes first.
        for _ in range(2 * AT_ONCE + 1):
            self.assertNoResult(good)
            self.finish()
        self.assertEqual(self.successResultOf(good), "alice")
        self.finish_all()

    def test_queue_limit_per_address(self) -> None:
        self.checks(QUEUE + 1)
        over = self.authenticator.check(basic("x", "y"), HERE)
        self.failureResultOf(over, ClientAuthBusy)
        self.assertEqual(self.successResultOf(self.authenticator.check(TOKEN, HERE)), "ci", "a token needs no turn")
        self.finish_all()

    def test_queue_limit(self) -> None:
        self.patch(authenticator, "QUEUES", 5)
        for number in range(5):
            self.checks(1, f"192.0.2.{number}")
        self.failureResultOf(self.authenticator.check(ALICE, HERE), ClientAuthBusy)
        self.finish_all()

    def test_addresses_of_one_network(self) -> None:
        """With IPv6, the owner of one address usually has a whole network."""
        self.checks(1, "2001:db8:0:1::1")
        self.checks(1, "2001:db8:0:1:ffff::2")
        self.assertEqual(len(self.under_way), 1)
        self.checks(1, "2001:db8:0:2::1")
        self.assertEqual(len(self.under_way), 2)
        self.finish_all()

    def test_no_address(self) -> None:
        self.checks(1, "unknown")
        self.finish_all()

    def test_cancelled_in_the_queue(self) -> None:
        first, *rest = self.checks(3)
        for waiting in rest:
            waiting.cancel()
            self.assertIs(self.successResultOf(waiting), CancelledError)
        self.finish()
        self.assertEqual(self.under_way, [])
        self.assertIs(self.successResultOf(first), ClientCredentialsRejected)

    def test_one_of_two_requests_is_cancelled(self) -> None:
        self.checks(1)
        one, two = self.authenticator.check(ALICE, HERE), self.authenticator.check(ALICE, HERE)
        one.addErrback(lambda failure: failure.type)
        one.cancel()
        self.finish()
        self.finish()
        self.assertEqual(self.successResultOf(two), "alice")

    def test_cancelled_while_running(self) -> None:
        waiting = self.authenticator.check(ALICE, HERE)
        waiting.addErrback(lambda failure: failure.type)
        waiting.cancel()
        self.finish()
        self.assertIs(self.successResultOf(waiting), CancelledError)
        self.assertEqual(self.authenticator.cached_identity(ALICE), "alice", "the completed check is cached")


class FileTests(AuthenticatorTestCase):
    """The file is reloaded when it changes."""

    def test_client_is_removed(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.write(cheap_line("alice", b"s3cret"))
        self.assertIsNone(self.authenticator.cached_identity(TOKEN))
        self.failureResultOf(self.authenticator.check(TOKEN, HERE), ClientCredentialsRejected)

    def test_all_clients_are_removed(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.write("# nobody\n")
        for presented in (TOKEN, ALICE):
            self.assertIsNone(self.authenticator.cached_identity(presented))
            self.failureResultOf(self.authenticator.check(presented, HERE), ClientCredentialsRejected)

    def test_client_is_added(self) -> None:
        self.write(token_line("new", b"n3w"))
        self.assertEqual(self.successResultOf(self.authenticator.check(b"Bearer n3w", HERE)), "new")

    def test_file_is_checked_once_a_second(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.path.write_text(token_line("new", b"n3w"))
        self.clock.advance(0.9)
        self.assertEqual(self.authenticator.cached_identity(TOKEN), "ci")
        self.clock.advance(0.1)
        self.assertIsNone(self.authenticator.cached_identity(TOKEN))

    def test_unchanged_file_is_not_read(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.clock.advance(100)
        with mock.patch.object(authenticator, "load_secrets") as load:
            self.assertEqual(self.authenticator.cached_identity(TOKEN), "ci")
        load.assert_not_called()

    def test_changed_during_a_check(self) -> None:
        waiting = self.authenticator.check(ALICE, HERE)
        self.write(token_line("new", b"n3w"))
        self.authenticator.cached_identity(TOKEN)
        self.finish()
        self.assertEqual(self.successResultOf(waiting), "alice", "it was so when it was asked")
        self.assertIsNone(self.authenticator.cached_identity(ALICE))

    def test_invalid_file_changes_nothing(self) -> None:
        for change in (lambda: self.path.write_text("alice:s3cret\n"), self.path.unlink):
            change()
            for _ in range(3):
                self.clock.advance(1)
                self.assertEqual(self.successResultOf(self.authenticator.check(TOKEN, HERE)), "ci")
        self.write(token_line("new", b"n3w"))
        self.failureResultOf(self.authenticator.check(TOKEN, HERE), ClientCredentialsRejected)

    def test_file_becomes_valid_again(self) -> None:
        self.authenticator.check(TOKEN, HERE)
        self.path.write_text(token_line("new", b"n3w"))
        os.chmod(self.path, 0o666)
        self.clock.advance(1)
        self.assertEqual(self.authenticator.cached_identity(TOKEN), "ci")
        os.chmod(self.path, 0o600)
        self.clock.advance(1)
        self.assertIsNone(self.authenticator.cached_identity(TOKEN))


class LoadTests(SynchronousTestCase):
    """Files that cannot be used."""

    def refused(self, path: Path, words: str) -> None:
        error = self.assertRaises(SecretsError, load_secrets, path)
        self.assertIn(str(path), error.reason)
        self.assertIn(words, error.reason)

    def test_rejected(self) -> None:
        path = Path(self.mktemp())
        self.refused(path, "No such file")
        path.write_bytes(b"\xff")
        self.refused(path, "UTF-8")
        path.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
        self.refused(path, "is over")
        path.write_text("nonsense")
        self.refused(path, "line 1")

    def test_file_writable_by_other_users(self) -> None:
        path = Path(self.mktemp())
        path.write_text(LINES)
        os.chmod(path, 0o666)
        self.refused(path, "chmod o-w")
        os.chmod(path, 0o644)
        self.assertEqual(len(load_secrets(path)[0]), 2)
