"""Tests for L{egress.console.rendering}."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from jinja2 import TemplateNotFound, UndefinedError
from twisted.trial.unittest import SynchronousTestCase

from egress.console.rendering import Renderer, static_files

TEMPLATES = files("egress.console").joinpath("templates")
ERROR: dict[str, Any] = {"title": "T", "navigation": [], "role": None, "status": 500, "sign_in": False}


class RendererTests(SynchronousTestCase):
    """Templates escape, and reject what they do not know."""

    def test_escapes(self) -> None:
        page = Renderer().render("error.html", {**ERROR, "text": "<b>\"'&"}).decode()
        self.assertIn("&lt;b&gt;&#34;&#39;&amp;", page)

    def test_undefined(self) -> None:
        with self.assertRaises(UndefinedError):
            Renderer().render("error.html", ERROR)

    def test_unknown_template(self) -> None:
        for name in ("missing.html", "../page.py", "../templates/error.html/../../page.py"):
            with self.assertRaises(TemplateNotFound):
                Renderer().render(name, {})

    def test_lone_surrogates(self) -> None:
        self.assertIn(b"a?b", Renderer().render("error.html", {**ERROR, "text": "a\udc80b"}))

    def test_no_template_turns_escaping_off(self) -> None:
        """Only the macros, which escape their arguments, make markup."""
        for entry in TEMPLATES.iterdir():
            source = entry.read_text(encoding="utf-8")
            with self.subTest(entry.name):
                self.assertNotRegex(source, r"\|\s*safe\b|autoescape|Markup")
                self.assertNotRegex(source, r"(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)")
                self.assertNotRegex(source, r"https?://")

    def test_forms_have_the_token(self) -> None:
        """Every form that changes something has the token of the session; signing in has no session yet."""
        for entry in TEMPLATES.iterdir():
            for form in re.findall(r'<form[^>]*method="post".*?</form>', entry.read_text(encoding="utf-8"), re.DOTALL):
                with self.subTest(entry.name):
                    self.assertTrue("csrf" in form or "/sign-in" in form, form)


class StaticFilesTests(SynchronousTestCase):
    """The path of a file contains a hash of its content."""

    def test_paths(self) -> None:
        found = static_files()
        for name in ("console.css", "console.js", "icon.svg"):
            self.assertRegex(found[name].path, r"^/console/static/[a-z]+\.[0-9a-f]{16}\.(css|js|svg)$")

    def test_no_other_hosts(self) -> None:
        for name, file in static_files().items():
            text = file.content.decode("utf-8").replace("http://www.w3.org/2000/svg", "")
            with self.subTest(name):
                self.assertNotRegex(text, r"(?i)https?:|//[a-z0-9-]+\.[a-z]|@import|url\(")
