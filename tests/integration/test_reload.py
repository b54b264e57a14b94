"""SIGHUP, and watched files: policies and trusted certificates are reloaded while clients are served."""

from __future__ import annotations

import os
import shutil
import signal
import time

from tests.certificates import TestCA
from tests.integration.base import ALLOW_ALL, Proxy
from tests.integration.raw_origin import RawOriginTestCase

DENY = 'version = 1\n[[rules]]\naction = "deny"\nreason = "closed for today"\n'


class ReloadTests(RawOriginTestCase):
    """The new files apply after the signal."""

    def hang_up(self, proxy: Proxy, words: str) -> None:
        """Send the signal, and wait until every process has logged a text."""
        before = proxy.process.output().count(words)
        os.kill(proxy.pid, signal.SIGHUP)
        wanted = before + 1 + len(proxy.workers)
        self.wait_until(lambda: proxy.process.output().count(words) >= wanted)

    def test_policy(self) -> None:
        policy = self.write("policy.toml", ALLOW_ALL)
        proxy = self.start_proxy("--policy", str(policy))
        kept = self.connect(proxy)
        url = self.origins.http_url("/files/hello.txt")
        ask = f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{self.origins.http}\r\n\r\n"
        kept.send(ask)
        self.assertTrue(kept.read_head().startswith("HTTP/1.1 200"))
        kept.read_until(b"hello\n")
        policy.write_text(DENY, "utf-8")
        self.hang_up(proxy, "configuration files reloaded")
        self.assertEqual(self.assert_problem(proxy, url, 403, "authz")["reason"], "closed for today")
        kept.send(ask)
        self.assertTrue(kept.read_head().startswith("HTTP/1.1 403"), "the connection is the same, the policy another")

    def test_policy_without_a_signal(self) -> None:
        """Without a signal, every worker reloads the changed file."""
        policy = self.write("policy.toml", ALLOW_ALL)
        proxy = self.start_proxy("--policy", str(policy))
        url = self.origins.http_url("/files/hello.txt")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        serving = len(proxy.workers) or 1

        written = 0.0

        def remains() -> bool:
            nonlocal written
            # The state at the first look is not a change, so the file is changed repeatedly.
            if time.monotonic() - written > 5:
                written = time.monotonic()
                policy.write_text(f"garbage {written}", "utf-8")
            return proxy.process.output().count("policy reload failed") >= serving

        self.wait_until(remains)
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        policy.write_text(DENY, "utf-8")
        self.wait_until(lambda: proxy.process.output().count("policy reloaded") >= serving)
        self.assertEqual(self.assert_problem(proxy, url, 403, "authz")["reason"], "closed for today")

    def test_an_invalid_policy(self) -> None:
        policy = self.write("policy.toml", DENY)
        proxy = self.start_proxy("--policy", str(policy))
        policy.write_text("garbage", "utf-8")
        os.kill(proxy.pid, signal.SIGHUP)
        self.wait_until(lambda: "keeping the previous configuration" in proxy.process.output())
        self.assert_problem(proxy, self.origins.http_url("/files/hello.txt"), 403, "authz")

    def test_trusted_certificates(self) -> None:
        trusted, other = self.directory / "trusted.pem", TestCA("other CA").write(self.directory, "other")
        shutil.copy(other, trusted)
        proxy = self.start_proxy(*self.allow_all(), "--ssl-extra-ca-certs", str(trusted))
        url = self.origins.https_url("/echo")
        self.assert_problem(proxy, url, 502, "origin-tls")
        shutil.copy(self.origins.ca, trusted)
        self.hang_up(proxy, "configuration files reloaded")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        shutil.copy(other, trusted)
        self.hang_up(proxy, "configuration files reloaded")
        self.assert_problem(proxy, url, 502, "origin-tls")
