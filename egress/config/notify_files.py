"""The files with the targets and the secrets of notifications, which are read again on a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from egress.config import parsers as values
from egress.config.contradictions import Contradicted
from egress.config.notify import NotifySettings
from egress.config.parsers import BadValue, ParseContext
from egress.model.converters import ConfigError
from egress.model.webhook import WebhookTarget, webhook_secret

_T = TypeVar("_T")

_MAX_LINES: Final = 16
_MAX_FILE: Final = 64 * 1024
# The fields of the settings, and the names of their options.
_NAMES: Final = {
    "url": "--notify-url",
    "url_file": "--notify-url-file",
    "secret": "--notify-secret-file",
    "allow_http": "--notify-allow-http",
}


@attrs.frozen
class FileContent:
    """The content of a file that is read again on a reload.

    A field with the suffix C{_source} gets the path.

    @ivar path: the file.
    @ivar content: the value of the field.
    """

    path: Path
    content: Any = attrs.field(repr=False)


def target_file(text: str, place: ParseContext) -> FileContent:
    """Read a file with one target on each line."""
    return _content(values.readable_file(text, place), _targets)


def secret_file(text: str, place: ParseContext) -> FileContent:
    """Read a file with one secret on each line."""
    return _content(values.readable_file(text, place), _secrets)


def reread(settings: NotifySettings) -> NotifySettings:
    """Return the settings with the current content of their files.

    @raise ConfigError: naming the error in a file.
    """
    changes: dict[str, Any] = {}
    for field, path, read in (
        ("url_file", settings.url_file_source, _targets),
        ("secret", settings.secret_source, _secrets),
    ):
        if path is not None:
            try:
                changes[field] = read(values.readable_file(str(path), ParseContext(path.parent)))
            except BadValue as error:
                raise ConfigError(_NAMES[field], str(path), error.remedy) from error
    try:
        return attrs.evolve(settings, **changes)
    except Contradicted as error:
        remedy = error.contradiction.remedy_for(lambda field: _NAMES[field.removeprefix("notify.")])
        raise ConfigError(_NAMES[error.option.removeprefix("notify.")], "", remedy) from error


def _content(path: Path, read: Callable[[Path], Any]) -> FileContent:
    return FileContent(path, read(path))


def _targets(path: Path) -> tuple[WebhookTarget, ...]:
    return _lines(path, WebhookTarget.parse, "URL")


def _secrets(path: Path) -> tuple[bytes, ...]:
    return _lines(path, webhook_secret, "secret")


def _lines(path: Path, parse: Callable[[str], _T], kind: str) -> tuple[_T, ...]:
    """Parse the lines of a file, without empty lines and comments."""
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    try:
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
    except UnicodeDecodeError as error:
        raise BadValue("the file must contain only ASCII characters") from error
    found = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not 0 < len(found) <= _MAX_LINES or len(data) > _MAX_FILE:
        raise BadValue(f"the file must contain 1 to {_MAX_LINES} lines, each with one {kind}")
    parsed = []
    for number, line in found:
        try:
            parsed.append(parse(line))
        except BadValue as error:
            raise BadValue(f"line {number} of the file: {error.remedy}") from error
    return tuple(parsed)
