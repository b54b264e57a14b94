"""Tests for L{egress.cli.init_files}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.cli.init_files import ALWAYS, Choices, config_text, detected_templates, next_steps
from egress.config.options import BY_NAME
from egress.model.toml import parse_toml
from egress.policy.templates.catalog import template_names

CHOICES = Choices(authz_url=None, templates=(ALWAYS, "npm"), mode="enforce", upstream_proxy=None, ca_dir="~/.egress/ca")


class DetectedTests(SynchronousTestCase):
    """L{detected_templates}."""

    def test_files(self) -> None:
        for names, expected in (
            ((), ()),
            (("README.md", "main.c"), ()),
            (("package.json",), ("npm",)),
            (("pyproject.toml", "setup.cfg", "requirements-dev.txt"), ("pypi",)),
            (("requirements.txt", "package.json", "Dockerfile", ".github"), ("npm", "pypi", "docker-build", "github")),
            (("build.gradle.kts",), ("gradle",)),
            (("Dockerfile.test",), ("docker-build",)),
            (("shop.postman_collection.json",), ("postman",)),
            (("my-package.json", "Cargo.toml.orig"), ()),
        ):
            with self.subTest(names):
                self.assertEqual(detected_templates(names), expected)

    def test_templates_exist(self) -> None:
        names = ("package.json", "setup.py", "Cargo.toml", "go.mod", "pom.xml", "build.gradle", "Gemfile", "a.sln")
        found = detected_templates((*names, "Containerfile", "a.postman_collection.json", ".github"))
        self.assertEqual(len(found), 11)
        self.assertLessEqual({*found, ALWAYS}, set(template_names()))


class ConfigTests(SynchronousTestCase):
    """L{config_text}."""

    def settings(self, **choices: Any) -> dict[str, Any]:
        """Return the settings in the text."""
        table = parse_toml(config_text(attrs.evolve(CHOICES, **choices)))
        self.assertLessEqual(table.keys(), BY_NAME.keys())
        return table

    def test_policy(self) -> None:
        expected = {"policy": "policy.toml", "mode": "enforce", "audit-log": "audit.jsonl", "ca-dir": "~/.egress/ca"}
        self.assertEqual(self.settings(), expected)

    def test_service(self) -> None:
        found = self.settings(authz_url="http://authz:9000", mode="observe", upstream_proxy="http://proxy:3128")
        expected = {
            "authz-url": "http://authz:9000",
            "mode": "observe",
            "audit-log": "audit.jsonl",
            "ca-dir": "~/.egress/ca",
            "upstream-proxy": "http://proxy:3128",
        }
        self.assertEqual(found, expected)

    def test_escapes(self) -> None:
        self.assertEqual(self.settings(ca_dir='a "b"\\c é')["ca-dir"], 'a "b"\\c é')


class NextStepsTests(SynchronousTestCase):
    """L{next_steps}."""

    def lines(self, **choices: Any) -> str:
        """Return the text."""
        return "\n".join(next_steps(attrs.evolve(CHOICES, **choices), "egress.toml"))

    def test_command(self) -> None:
        self.assertIn("egress run --config egress.toml -- npm ci\n", self.lines())
        self.assertIn("  egressproxy --config egress.toml", self.lines())
        self.assertIn("-- curl https://example.com/\n", self.lines(templates=(ALWAYS, "debian")))
        self.assertNotIn("learned", self.lines())

    def test_learning(self) -> None:
        self.assertIn("egress policy suggest audit.jsonl --output learned.toml", self.lines(mode="observe"))
        self.assertIn("egress run --learn learned.toml -- curl", self.lines(templates=(ALWAYS,)))
        self.assertNotIn("learn", self.lines(templates=(ALWAYS,), authz_url="http://authz:9000"))
