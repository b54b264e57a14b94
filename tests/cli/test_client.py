"""Tests for L{egress.cli.client}."""

from __future__ import annotations

import io
import json
import sys
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.client_auth.htpasswd import ClientSecrets
from egress.http.proxy_authorization import Basic, Bearer
from tests.cli.running import Terminal


class ClientCommandTests(SynchronousTestCase):
    """One line on standard output, and nothing else there."""

    def run_client(self, *arguments: str, stdin: io.StringIO | None = None) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", stdin or io.StringIO("s3 cret\nmore"))
        self.patch(sys, "stderr", err)
        status = cli.main(["client", *arguments], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def test_password(self) -> None:
        status, out, err = self.run_client("alice")
        self.assertEqual((status, err, out.count("\n")), (0, "", 1))
        self.assertTrue(ClientSecrets.parse(out, "out").by_password(Basic("alice", b"s3 cret")))

    def test_token(self) -> None:
        status, out, err = self.run_client("--token", "ci")
        token = err.rpartition(" ")[2].strip()
        self.assertEqual(status, 0)
        self.assertGreaterEqual(len(token), 43)
        self.assertNotIn(token, out)
        self.assertEqual(ClientSecrets.parse(out, "out").by_token(Bearer(token.encode())), "ci")
        self.assertNotEqual(err, self.run_client("--token", "ci")[2])

    def test_json(self) -> None:
        found = json.loads(self.run_client("alice", "--json")[1])
        self.assertEqual((found["name"], found["token"]), ("alice", None))
        self.assertTrue(ClientSecrets.parse(found["line"], "out").by_password(Basic("alice", b"s3 cret")))
        status, out, err = self.run_client("--token", "ci", "--json")
        found = json.loads(out)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(ClientSecrets.parse(found["line"], "out").by_token(Bearer(found["token"].encode())), "ci")

    def test_refused(self) -> None:
        for name, stdin, words in (("a:b", "x\n", "no colon"), ("alice", "", "the password is empty")):
            status, out, err = self.run_client(name, stdin=io.StringIO(stdin))
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)

    def test_a_terminal(self) -> None:
        for typed, status in ((["x", "x"], 0), (["x", "y"], 1)):
            with mock.patch("getpass.getpass", side_effect=typed):
                self.assertEqual(self.run_client("alice", stdin=Terminal())[0], status)
