"""Tests for L{egress.config.notify_files}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.config.notify import NotifySettings
from egress.config.notify_files import FileContent, reread
from tests.config.test_notify_options import SECRET, SLACK
from tests.files import make_directory


class RereadTests(SynchronousTestCase):
    """Files are read again, and an error in them changes nothing."""

    def setUp(self) -> None:
        directory = make_directory(self).absolute()
        self.urls, self.secret = directory / "urls.txt", directory / "secret.txt"
        self.urls.write_text("https://a.example/\n", "ascii")
        self.secret.write_text(f"{SECRET}\n", "ascii")
        arguments = {"notify-url-file": [str(self.urls)], "notify-secret-file": [str(self.secret)]}
        self.settings = load_config(arguments, {}).notify

    def refused(self) -> ConfigError:
        error: ConfigError = self.assertRaises(ConfigError, reread, self.settings)
        return error

    def test_sources(self) -> None:
        self.assertEqual((self.settings.url_file_source, self.settings.secret_source), (self.urls, self.secret))
        self.assertEqual(reread(self.settings), self.settings)

    def test_changes(self) -> None:
        self.urls.write_text(f"https://b.example/\n{SLACK}\n", "ascii")
        self.secret.write_text(f"{SECRET.replace('M', 'N')}\n{SECRET}\n", "ascii")
        changed = reread(self.settings)
        self.assertEqual([str(each) for each in changed.targets], ["https://b.example", "https://hooks.example"])
        self.assertEqual((len(changed.secret), changed.secret[1:]), (2, self.settings.secret))

    def test_errors(self) -> None:
        """They name the option and the file, and no content of it."""
        self.urls.write_text("hunter2\n", "ascii")
        error = self.refused()
        self.assertEqual((error.option, error.value), ("--notify-url-file", str(self.urls)))
        self.assertIn("line 1 of the file", error.remedy)
        self.assertNotIn("hunter2", str(error))
        self.urls.write_text("https://a.example/\n", "ascii")
        self.secret.write_text("", "ascii")
        self.assertEqual(self.refused().option, "--notify-secret-file")
        self.secret.unlink()
        self.assertIn("must be a readable file: No such file", self.refused().remedy)

    def test_contradictions(self) -> None:
        """A new target must fit to the other options."""
        self.urls.write_text("http://a.example/hunter2\n", "ascii")
        error = self.refused()
        self.assertEqual(error.option, "--notify-url-file")
        self.assertIn("set --notify-allow-http", error.remedy)
        self.assertNotIn("hunter2", str(error))
        arguments = {"notify-url-file": [str(self.urls)]}
        self.urls.write_text(f"{SLACK}\n", "ascii")
        self.settings = load_config(arguments, {}).notify
        self.urls.write_text("https://a.example/\n", "ascii")
        self.assertEqual(self.refused().option, "--notify-secret-file")

    def test_no_files(self) -> None:
        settings = NotifySettings()
        self.assertEqual(reread(settings), settings)

    def test_no_secret_is_displayed(self) -> None:
        self.assertNotIn("hunter2", repr(FileContent(Path("secret.txt"), (b"hunter2",))))
