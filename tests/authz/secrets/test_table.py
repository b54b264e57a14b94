"""Tests for L{egress.authz.secrets.table}."""

from __future__ import annotations

import math
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.secrets.table import Secret, SecretTableError, filled, parse_secret_table, secret_names
from egress.model.authority import Authority, Origin

HOSTS = 'hosts = ["api.test"]\n'
DIRECTORY = Path("/etc/egress")


def parse(text: str) -> dict[str, Secret]:
    """Parse a text."""
    return dict(parse_secret_table(text, "secrets.toml", DIRECTORY).secrets)


class ParseTests(SynchronousTestCase):
    """The content of a file."""

    def test_sources(self) -> None:
        secrets = parse(
            f'[one]\nfile = "token"\n{HOSTS}[two]\nenv = "TOKEN"\n{HOSTS}refresh = "2h"\nplain_http = true\n'
            f'[three]\ncommand = ["print", "./x"]\n{HOSTS}[four]\ncommand = ["./print"]\nrefresh = "30s"\n{HOSTS}'
        )
        one, two, three, four = secrets.values()
        self.assertEqual(
            (one.name, one.file, one.refresh, one.plain_http), ("one", DIRECTORY / "token", math.inf, False)
        )
        self.assertEqual((two.env, two.refresh, two.plain_http), ("TOKEN", 7200, True))
        self.assertEqual((three.command, three.refresh), (("print", "./x"), 300))
        self.assertEqual((four.command, four.refresh), (("/etc/egress/print",), 30))

    def test_empty(self) -> None:
        self.assertEqual(parse(""), {})

    def test_invalid(self) -> None:
        for text, says in (
            ('token = "s3cr3t"', "write a table for each secret"),
            (f'["s3cr3t!"]\nfile = "x"\n{HOSTS}', "write a table for each secret"),
            ("token = s3cr3t", "is not valid TOML"),
            (f"[a]\n{HOSTS}", "exactly one of file, env, command"),
            (f'[a]\nfile = "x"\nenv = "Y"\n{HOSTS}', "exactly one of file, env, command"),
            (f'[a]\nvalue = "s3cr3t"\n{HOSTS}', "unknown key 'value'"),
            ('[a]\nfile = "x"', "'hosts' must list"),
            ('[a]\nfile = "x"\nhosts = []', "'hosts' must list"),
            ('[a]\nfile = "x"\nhosts = "api.test"', "'hosts' must list"),
            ('[a]\nfile = "x"\nhosts = [1]', "hosts 1"),
            ('[a]\nfile = "x"\nhosts = ["*"]', "hosts '*'"),
            (f'[a]\nfile = ""\n{HOSTS}', "'file' must be a string"),
            (f"[a]\nfile = 1\n{HOSTS}", "'file' must be a string"),
            (f'[a]\nenv = "A=B"\n{HOSTS}', "'env' must be a string"),
            (f'[a]\ncommand = "print"\n{HOSTS}', "there is no shell"),
            (f"[a]\ncommand = []\n{HOSTS}", "there is no shell"),
            (f'[a]\ncommand = [""]\n{HOSTS}', "there is no shell"),
            (f'[a]\ncommand = ["print", 1]\n{HOSTS}', "there is no shell"),
            (f'[a]\ncommand = ["print", "\\u0000"]\n{HOSTS}', "there is no shell"),
            (f'[a]\nfile = "x"\nrefresh = "0s"\n{HOSTS}', "'refresh' must be a duration"),
            (f'[a]\nfile = "x"\nrefresh = "1 day"\n{HOSTS}', "'refresh' must be a duration"),
            (f'[a]\nfile = "x"\nrefresh = 5\n{HOSTS}', "'refresh' must be a duration"),
            (f'[a]\nfile = "x"\nplain_http = 1\n{HOSTS}', "'plain_http' must be true or false"),
        ):
            error = self.assertRaises(SecretTableError, parse, text)
            self.assertIn(says, error.reason)
            self.assertTrue(error.reason.startswith("secrets.toml"))
            self.assertNotIn("s3cr3t", str(error), text)

    def test_files(self) -> None:
        table = parse_secret_table(f'[a]\nenv = "A"\n{HOSTS}[b]\nfile = "b"\n{HOSTS}', "secrets.toml", DIRECTORY)
        self.assertEqual(table.files(), (DIRECTORY / "b",))

    def test_missing(self) -> None:
        table = parse_secret_table(f'[a]\nenv = "A"\n{HOSTS}', "secrets.toml", DIRECTORY)
        self.assertEqual(table.missing(["c", "a", "b", "b"]), ("b", "c"))


class HostTests(SynchronousTestCase):
    """A secret is sent only to its hosts."""

    def test_hosts(self) -> None:
        (secret,) = parse('[a]\nenv = "A"\nhosts = ["api.test", "*.sub.test:8443"]').values()
        for host, port, good in (
            ("api.test", 443, True),
            ("api.test", 8443, True),
            ("x.api.test", 443, False),
            ("a.sub.test", 8443, True),
            ("a.sub.test", 443, False),
            ("sub.test", 8443, False),
            ("evil-api.test", 443, False),
            ("api.test.evil", 443, False),
        ):
            refusal = secret.refusal(Origin("https", Authority(host, port)))
            self.assertEqual(refusal is None, good, host)
            if refusal is not None:
                self.assertIn("the secret a may not be sent to", refusal)

    def test_without_tls(self) -> None:
        origin = Origin("http", Authority("api.test", 80))
        (secret,) = parse(f'[a]\nenv = "A"\n{HOSTS}').values()
        self.assertIn("without TLS", secret.refusal(origin) or "")
        (secret,) = parse(f'[a]\nenv = "A"\nplain_http = true\n{HOSTS}').values()
        self.assertIsNone(secret.refusal(origin))


class TemplateTests(SynchronousTestCase):
    """Names in values."""

    def test_names(self) -> None:
        self.assertEqual(secret_names(b"Basic ${secret:a}:${secret:b.c-d}${secret:a}"), {"a", "b.c-d"})
        for value in (b"", b"secret:a", b"${secret:}", b"${secret:a b}", b"${secret:-a}", b"${SECRET:a}"):
            self.assertEqual(secret_names(value), frozenset())

    def test_replaced_once(self) -> None:
        secrets = {"a": b"${secret:b}\\1", "b": b"no"}
        self.assertEqual(filled(b"x ${secret:a} y", secrets), b"x ${secret:b}\\1 y")
