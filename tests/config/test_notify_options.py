"""Tests for L{egress.config.notify_options}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.config.notify import ALL_EVENTS, NotifyEvent, NotifySettings
from egress.config.notify_options import NOTIFY_OPTIONS
from egress.config.options import OPTIONS
from egress.model.webhook import WebhookFormat

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLACK = "slack:https://hooks.example/services/hunter2"


class NotifyOptionsTests(SynchronousTestCase):
    """The options for notifications."""

    def file(self, *lines: str) -> str:
        """Write a file, and return its name."""
        path = Path(self.mktemp())
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    def load(self, environ: dict[str, str] | None = None, **given: str) -> NotifySettings:
        """Load options; underscores in names stand for dashes."""
        arguments = {f"notify-{name}".replace("_", "-"): [text] for name, text in given.items()}
        return load_config(arguments, environ or {}).notify

    def refused(self, environ: dict[str, str] | None = None, **given: str) -> ConfigError:
        """Return the error of options."""
        error: ConfigError = self.assertRaises(ConfigError, self.load, environ, **given)
        return error

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(NOTIFY_OPTIONS), set(OPTIONS))
        # The path of a file comes with its content.
        names = [field.name for field in attrs.fields(NotifySettings) if not field.name.endswith("_source")]
        fields = {f"notify.{name}" for name in names}
        self.assertEqual({field for option in NOTIFY_OPTIONS for field in option.fields}, fields)

    def test_defaults(self) -> None:
        settings = self.load(url=SLACK)
        self.assertEqual((settings.interval, settings.events), (300.0, ALL_EVENTS))

    def test_targets(self) -> None:
        name = self.file("# the operators", "", SLACK, "json:https://hooks.example/a")
        settings = self.load(url="teams:https://b.example/", url_file=name, secret_file=self.file(SECRET))
        self.assertEqual(
            [str(each) for each in settings.targets], ["https://b.example", *["https://hooks.example"] * 2]
        )
        self.assertEqual(
            [settings.format_of(each) for each in settings.targets],
            [WebhookFormat.TEAMS, WebhookFormat.SLACK, WebhookFormat.JSON],
        )

    def test_secrets(self) -> None:
        settings = self.load(url="https://a.example/", secret_file=self.file(SECRET, SECRET.replace("M", "N")))
        self.assertEqual(len(settings.secret), 2)
        environ = {"EGRESS_NOTIFY_SECRET": SECRET, "EGRESS_NOTIFY_URL": "https://a.example/ https://b.example/"}
        settings = self.load(environ)
        self.assertEqual((len(settings.secret), len(settings.targets)), (1, 2))

    def test_variables_without_effect(self) -> None:
        """A variable may be set permanently, and notifications only sometimes."""
        environ = {"EGRESS_NOTIFY_SECRET": SECRET, "EGRESS_CONSOLE_URL": "https://c.example"}
        self.assertEqual(self.load(environ), NotifySettings())

    def test_events(self) -> None:
        self.assertEqual(self.load(url=SLACK, events="ca, denial,ca").events, (NotifyEvent.CA, NotifyEvent.DENIAL))
        self.assertEqual(self.load(url=SLACK, events="all").events, ALL_EVENTS)
        self.assertIn("or all", self.refused(url=SLACK, events="denials").remedy)

    def test_no_message_displays_a_secret(self) -> None:
        for error in (
            self.refused(url="slack:https://hooks.example:0/hunter2"),
            self.refused(url="https://hooks.example/hunter2"),
            self.refused(url="http://hooks.example/hunter2", format="slack"),
            self.refused(url_file=self.file("slack:https://hooks.example:0/hunter2")),
            self.refused(url="https://a.example/", secret_file=self.file("whsec_hunter2")),
            self.refused({"EGRESS_NOTIFY_SECRET": "hunter2"}, url="https://a.example/"),
            self.refused({"EGRESS_NOTIFY_URL": "https://hooks.example/hunter2"}),
        ):
            with self.subTest(error.remedy):
                self.assertNotIn("hunter2", str(error))

    def test_files(self) -> None:
        """An error names the line of the file."""
        error = self.refused(url_file=self.file("# comment", SLACK, "hooks.example"))
        self.assertEqual(error.option, "--notify-url-file")
        self.assertIn("line 3 of the file", error.remedy)
        self.assertIn("1 to 16 lines", self.refused(url_file=self.file("# comment")).remedy)
        self.assertIn("1 to 16 lines", self.refused(url_file=self.file(*[SLACK] * 17)).remedy)
        self.assertIn("1 to 16 lines", self.refused(url_file=self.file(SLACK, "#" * 70_000)).remedy)
        self.assertIn("ASCII", self.refused(url_file=self.file("\u00e9")).remedy)

    def test_spelling(self) -> None:
        """An error about several options names them as the user knows them."""
        error = self.refused(url="slack:http://hooks.example/")
        self.assertEqual(error.option, "--notify-url")
        self.assertIn("--notify-allow-http", error.remedy)
        self.assertEqual(self.refused(url="https://hooks.example/").option, "--notify-secret-file")
        self.assertIn("set --notify-url", self.refused(interval="5s").remedy)
        arguments = {"console-url": ["ftp://c.example"], "notify-url": [SLACK]}
        self.assertEqual(self.assertRaises(ConfigError, load_config, arguments, {}).option, "--console-url")
