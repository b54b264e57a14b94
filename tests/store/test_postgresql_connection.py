"""Tests for L{egress.store.postgresql_connection}, without a server."""

from __future__ import annotations

import sys
from unittest import mock

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.postgresql_connection import Database, RecordRefused, in_one_line, load_driver, reported


class DriverTests(SynchronousTestCase):
    """The driver is optional."""

    def test_missing(self) -> None:
        with mock.patch.dict(sys.modules, {"psycopg": None}):
            error = self.assertRaises(StoreError, load_driver)
        self.assertEqual(str(error), "psycopg is not installed: run pip install 'egressproxy[postgresql]'")

    def test_installed(self) -> None:
        self.assertIs(load_driver(), psycopg)


class ReportTests(SynchronousTestCase):
    """Errors of psycopg are those of a store."""

    def test_kinds(self) -> None:
        for error, expected, text in (
            (psycopg.OperationalError("a\n  b"), StoreUnreachable, "postgresql://h: a b"),
            (psycopg.InterfaceError("closed"), StoreUnreachable, "postgresql://h: closed"),
            (psycopg.DataError("too large"), RecordRefused, "too large"),
            (psycopg.ProgrammingError("no table"), StoreError, "postgresql://h: no table"),
            (
                psycopg.errors.InsufficientPrivilege("no right"),
                StoreError,
                "postgresql://h: no right: grant it to the role of the proxy",
            ),
        ):
            with self.subTest(text):

                def fail(error: Exception = error) -> None:
                    with reported("postgresql://h"):
                        raise error

                found = self.assertRaises(expected, fail)
                self.assertEqual((type(found), str(found)), (expected, text))
        self.assertEqual(in_one_line(ValueError()), "ValueError")


class DatabaseTests(SynchronousTestCase):
    """A database that cannot be connected to."""

    def test_invalid_url(self) -> None:
        error = self.assertRaises(StoreError, Database(url="postgresql://h/d?no=1").connect, "egress")
        self.assertIn('invalid URI query parameter: "no"', str(error))

    def test_password(self) -> None:
        self.assertNotIn("s3cret", repr(Database(url="postgresql://h", password="s3cret")))

    def test_parameters(self) -> None:
        """The parameters of the URL have precedence, except that the password comes from the configuration."""
        with mock.patch.object(psycopg.Connection, "connect", side_effect=psycopg.OperationalError("away")) as connect:
            database = Database(url="postgresql://u@h/d?connect_timeout=1&application_name=x", password="p:w")
            self.assertIn("away", str(self.assertRaises(StoreUnreachable, database.connect, "egress")))
        given = connect.call_args.kwargs
        self.assertEqual(
            {
                name: str(given[name])
                for name in ("user", "host", "dbname", "password", "connect_timeout", "autocommit")
            },
            {"user": "u", "host": "h", "dbname": "d", "password": "p:w", "connect_timeout": "1", "autocommit": "True"},
        )
        self.assertEqual((given["tcp_user_timeout"], given["application_name"]), (10_000, "x"))
