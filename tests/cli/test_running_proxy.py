"""Tests for L{egress.cli.running_proxy}."""

from __future__ import annotations

import argparse
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.errors import CommandFailed
from egress.cli.running_proxy import (
    CA_OPTIONS,
    DEFAULT_URL,
    ProxyUrl,
    ca_config,
    reject_options_of_the_proxy,
    write_files,
)
from tests.files import make_directory


class _Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


class ProxyUrlTests(SynchronousTestCase):
    """The URL of a running proxy."""

    def test_valid(self) -> None:
        for url in ("http://127.0.0.1:8080", "https://proxy.test:8443", "http://[::1]:1"):
            self.assertEqual((ProxyUrl(url).text, str(ProxyUrl(url))), (url, url))

    def test_a_password(self) -> None:
        """Programs receive it, and it is never displayed."""
        url = ProxyUrl("http://me:hunter2@proxy.test:8080")
        self.assertEqual(url.text, "http://me:hunter2@proxy.test:8080")
        self.assertEqual(str(url), "http://REDACTED@proxy.test:8080")
        error = self.assertRaises(CommandFailed, ProxyUrl, "http://me:hunter2@proxy.test")
        self.assertNotIn("hunter2", str(error))

    def test_invalid(self) -> None:
        for url in ("p.test:3128", "http://p.test", "socks5://p.test:1", "http://p.test:x", "http://[::1:80"):
            error = self.assertRaises(CommandFailed, ProxyUrl, url)
            self.assertIn(f"--proxy {url!r}: write a URL with a port", str(error))

    def test_reachable(self) -> None:
        connection, addresses = _Connection(), []

        def connect(address: Any, timeout: float) -> _Connection:
            addresses.append(address)
            return connection

        self.patch(socket, "create_connection", connect)
        ProxyUrl("http://[::1]:3128").check_reachable()
        self.assertEqual((addresses, connection.closed), ([("::1", 3128)], True))

    def test_unreachable(self) -> None:
        for failure, words in (
            (ConnectionRefusedError(111, "Connection refused"), "cannot connect: Connection refused; start the proxy"),
            (TimeoutError("timed out"), "cannot connect: timed out; "),
        ):

            def connect(*_: Any, failure: Exception = failure, **__: Any) -> None:
                raise failure

            self.patch(socket, "create_connection", connect)
            error = self.assertRaises(CommandFailed, ProxyUrl("http://me:hunter2@p.test:1").check_reachable)
            self.assertIn(f"--proxy 'http://REDACTED@p.test:1': {words}", str(error))


class CaTests(SynchronousTestCase):
    """The CA of a running proxy."""

    def test_absent(self) -> None:
        """No CA is created: it would not be that of the proxy."""
        directory = make_directory(self)
        config = ca_config({"ca-dir": [str(directory / "ca")]}, {"EGRESS_POLICY": "/absent"})
        error = self.assertRaises(CommandFailed, write_files, config, directory, ProxyUrl(DEFAULT_URL), {})
        self.assertIn(str(directory / "ca"), str(error))


class RejectTests(SynchronousTestCase):
    """Options that have no effect on a running proxy."""

    def test_options_of_the_proxy(self) -> None:
        given = argparse.Namespace(learn=None, lock=None, report=None, isolate=False)
        reject_options_of_the_proxy(given, {name: ["x"] for name in CA_OPTIONS})
        error = self.assertRaises(CommandFailed, reject_options_of_the_proxy, given, {"policy": ["x"]})
        self.assertRegex(str(error), "--policy and --proxy: .*; remove --policy, or remove --proxy")

    def test_records(self) -> None:
        for name in ("learn", "lock", "report"):
            given = argparse.Namespace(**{**dict.fromkeys(("learn", "lock", "report")), name: "file"})
            error = self.assertRaises(CommandFailed, reject_options_of_the_proxy, given, {})
            self.assertRegex(str(error), f"--{name} and --proxy: the audit log .*; remove --{name}, and use")
