"""Tests for L{egress.cli.proxy_options}."""

from __future__ import annotations

import argparse

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.proxy_options import add_proxy_options, add_selected_options, given_options, reworded
from egress.config.model import ConfigError


class ProxyOptionsTests(SynchronousTestCase):
    """The options of the proxy in another command."""

    def test_options(self) -> None:
        parser = argparse.ArgumentParser()
        add_proxy_options(parser)
        given = parser.parse_args(["--allow-ports", "1", "--allow-ports=2", "--authz-via-upstream"])
        self.assertEqual(given_options(given), {"allow-ports": ["1", "2"], "authz-via-upstream": ["true"]})
        self.assertEqual(given_options(parser.parse_args([])), {})

    def test_selected(self) -> None:
        """Some options, with the description of the proxy's help."""
        parser = argparse.ArgumentParser()
        add_selected_options(parser, ["ca-dir", "config"])
        self.assertEqual(parser.parse_args(["--ca-dir", "x"]), argparse.Namespace(ca_dir="x", config=None))
        text = " ".join(parser.format_help().split())
        self.assertIn(
            "options of the proxy: --ca-dir DIR The directory of the CA [default: ~/.egressproxy/ca; "
            "environment: EGRESS_CA_DIR]",
            text,
        )

    def test_reworded(self) -> None:
        """An error names the variable that has the value."""
        parser = argparse.ArgumentParser()
        add_proxy_options(parser)
        error = ConfigError("--policy", "x", "rule 3 has no reason")
        for arguments, expected in (([], "EGRESS_POLICY"), (["--policy", "x"], "--policy")):
            given = parser.parse_args(arguments)
            self.assertEqual(reworded(error, given, {"EGRESS_POLICY": "x"}).option, expected)

    def test_without(self) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        add_proxy_options(parser, without=("admin", "admin-token-file"))
        self.assertEqual(parser.parse_known_args(["--admin", "tcp:1"])[1], ["--admin", "tcp:1"])
        self.assertNotIn("--policy", parser.format_help())

    def test_without_an_alias(self) -> None:
        """The option keeps its own name."""
        parser = argparse.ArgumentParser(allow_abbrev=False)
        add_proxy_options(parser, without=("proxy",))
        given, rest = parser.parse_known_args(["--upstream-proxy", "http://a.test:1", "--proxy", "x"])
        self.assertEqual((given_options(given), rest), ({"upstream-proxy": ["http://a.test:1"]}, ["--proxy", "x"]))
