"""Tests for L{egress.clients.line}."""

from __future__ import annotations

import io
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.clients import line
from egress.clients.secrets import ClientSecrets
from egress.wire.credentials import Basic, Bearer


class RunTests(SynchronousTestCase):
    """One line on standard output, and nothing else there."""

    def run_with(self, *arguments: str, password: str = "s3cret") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        status = line.run(arguments, out, err, lambda: password)
        return status, out.getvalue(), err.getvalue()

    def test_password(self) -> None:
        status, out, err = self.run_with("alice")
        self.assertEqual((status, err, out.count("\n")), (0, "", 1))
        self.assertTrue(ClientSecrets.parse(out, "out").by_password(Basic("alice", b"s3cret")))

    def test_token(self) -> None:
        status, out, err = self.run_with("--token", "ci")
        token = err.rpartition(" ")[2].strip()
        self.assertEqual(status, 0)
        self.assertGreaterEqual(len(token), 43)
        self.assertNotIn(token, out)
        self.assertEqual(ClientSecrets.parse(out, "out").by_token(Bearer(token.encode())), "ci")
        self.assertNotEqual(err, self.run_with("--token", "ci")[2])

    def test_usage(self) -> None:
        for arguments in ((), ("a", "b"), ("--help",), ("--token",)):
            self.assertEqual(self.run_with(*arguments), (2, "", line.USAGE))

    def test_refused(self) -> None:
        for arguments, password, words in ((["a:b"], "x", "no colon"), (["alice"], "", "no password")):
            status, out, err = self.run_with(*arguments, password=password)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)


class AskTests(SynchronousTestCase):
    """Where a password comes from."""

    def test_a_pipe(self) -> None:
        with mock.patch.object(line.sys, "stdin", io.StringIO("s3 cret\nmore")):
            self.assertEqual(line.ask(), "s3 cret")

    def test_a_terminal(self) -> None:
        for typed, expected in ((["x", "x"], "x"), (["x", "y"], "")):
            terminal = mock.Mock(**{"isatty.return_value": True})
            with mock.patch.object(line.sys, "stdin", terminal), mock.patch("getpass.getpass", side_effect=typed):
                self.assertEqual(line.ask(), expected)
