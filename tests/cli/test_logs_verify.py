"""Tests for L{egress.cli.logs_verify}."""

from __future__ import annotations

import json
import sqlite3

from egress.store.signing_key import load_signer
from egress.store.sqlite import open_store
from tests.cli.running import CommandTestCase
from tests.store.search_cases import record


class VerifyTests(CommandTestCase):
    """The command reads a store with signatures."""

    def setUp(self) -> None:
        super().setUp()
        self.path, self.key = self.directory / "audit.db", self.directory / "audit.key"
        self.store = open_store(self.path, load_signer(self.key))
        self.addCleanup(self.store.close)
        self.store.append([record("a"), record("b")])
        self.environ = {"EGRESS_AUDIT_STORE": f"sqlite:{self.path}", "EGRESS_AUDIT_SIGNING_KEY": str(self.key)}

    def verify(self, *arguments: str, status: int = 0) -> str:
        found, out, err = self.run_egress("logs", "verify", *arguments, environ=self.environ)
        self.assertEqual((found, err), (status, ""), out)
        return out

    def test_unchanged(self) -> None:
        expected = f"2 records verified, 0 findings\nlast checkpoint {self.store.checkpoint}\n"
        self.assertEqual(self.verify(), expected)
        # The private key is not needed.
        self.key.unlink()
        self.assertEqual(self.verify("--checkpoint", str(self.store.checkpoint)), expected)
        del self.environ["EGRESS_AUDIT_SIGNING_KEY"]
        self.assertEqual(self.verify("--key", f"{self.key}.pub"), expected)

    def test_findings(self) -> None:
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        connection.execute("UPDATE exchanges SET reason = 'x'")
        connection.commit()
        self.assertEqual(
            self.verify(status=1).splitlines()[:3],
            ["record a was changed", "record b was changed", "0 records verified, 2 findings"],
        )
        found = json.loads(self.verify("--json", status=1))
        self.assertEqual((found["faults"], found["verified"], found["checkpoint"]), (2, 0, str(self.store.checkpoint)))
        for number in range(150):
            self.store.append([record(f"r{number}")])
        connection.execute("DELETE FROM exchanges")
        connection.commit()
        self.assertIn("\nand 52 more findings\n", self.verify(status=1))

    def test_unsigned(self) -> None:
        self.path = self.directory / "other.db"
        unsigned = open_store(self.path)
        self.addCleanup(unsigned.close)
        unsigned.append([record("a")])
        signed = open_store(self.path, load_signer(self.key))
        self.addCleanup(signed.close)
        signed.append([record("b")])
        self.environ["EGRESS_AUDIT_STORE"] = f"sqlite:{self.path}"
        self.assertIn("1 record from before the first signature, not verified\n", self.verify())

    def test_errors(self) -> None:
        for arguments, problem in (
            (("--audit-store", "none", "--audit-signing-key", "none"), "the audit store is set to none"),
            (("--audit-store", "postgresql://a@127.0.0.1:1/x"), "Connection refused"),
            (("--audit-signing-key", "none"), "the public key is not set: use --key FILE"),
            (("--key", "/absent.pub"), "/absent.pub: cannot be read"),
            (("--checkpoint", "1:2"), "write a checkpoint as the log has it: NUMBER:DIGEST"),
            (("--audit-store", f"sqlite:{self.directory}/absent.db"), "does not exist"),
        ):
            with self.subTest(arguments):
                status, _, err = self.run_egress("logs", "verify", *arguments, environ=self.environ)
                self.assertNotEqual(status, 0)
                self.assertIn(problem, err)
