"""C{egress init}: writes a configuration file and a policy, from the choices of the user."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import attrs

from egress.cli.errors import CommandFailed, Misused
from egress.cli.init_files import ALWAYS, CONFIG, POLICY, Choices, config_text, detected_templates, next_steps
from egress.cli.output import add_json, write_file, write_json
from egress.cli.parser import epilog
from egress.cli.policy_new import new_policy
from egress.cli.upstream_variables import without_client_proxies
from egress.config.load import load_config
from egress.config.model import ConfigError, Mode
from egress.config.options import BY_NAME

_NONE: Final = "none"
_POLICY_DECIDES: Final = "policy"
_AGAIN: Final = "Try again, or press Ctrl-C."


@attrs.frozen
class _Prompt:
    """A prompt, and the option with the same value.

    @ivar option: the name of the option.
    @ivar text: the text of the prompt.
    @ivar check: returns the value for a text.  It raises L{CommandFailed} or L{ConfigError} if the text is not valid.
    @ivar help: the help text of the option.
    @ivar metavar: the placeholder in the help.
    """

    option: str
    text: str
    check: Callable[[str], Any]
    help: str
    metavar: str

    @property
    def dest(self) -> str:
        """The attribute of the parsed option."""
        return self.option.replace("-", "_")


def add_parser(commands: Any) -> None:
    """Add C{init} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "init",
        help="write a configuration file and a policy",
        description=f"Prompts for five settings, and writes {CONFIG} and {POLICY}. It replaces no file. "
        "An option replaces its prompt. Without a terminal, add --yes, or all of these options.",
        epilog=epilog(
            ("Enter the settings", "egress init"),
            ("Accept the defaults for this project", "egress init --yes"),
            ("Set options", "egress init --yes --templates npm,github --mode observe"),
            statuses={0: "the files are written", 2: "a file exists, or a setting is not valid"},
        ),
    )
    for prompt in _PROMPTS:
        parser.add_argument(f"--{prompt.option}", metavar=prompt.metavar, help=prompt.help)
    parser.add_argument("--yes", action="store_true", help="accept the defaults of the other settings")
    parser.add_argument(
        "--directory", metavar="DIR", default=".", help="the directory of the files [default: the working directory]"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    directory = Path(given.directory)
    config, policy = directory / CONFIG, directory / POLICY
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise Misused(f"--directory {given.directory!r}: {error.strerror}; specify an existing directory") from error
    for path in (config, policy):
        if path.name in names:
            raise Misused(f"{path}: exists: remove it, or specify another directory with --directory")
    # Prompts are no part of the JSON.
    choices = _choices(given, _defaults(names, environ), sys.stderr if given.json else out)
    text = new_policy([*choices.templates], {}) if choices.authz_url is None else None
    if text is not None:
        write_file(policy, text)
    write_file(config, config_text(choices))
    # Without the environment, which can change.
    load_config({"config": [str(config)]}, {})
    files = [config] if text is None else [config, policy]
    steps = next_steps(choices, shlex.quote(str(config)))
    if given.json:
        write_json(out, {"files": list(map(str, files)), "next": list(steps)})
        return
    print("wrote", " and ".join(map(str, files)), file=out)
    print(*steps, sep="\n", file=out)


def _choices(given: argparse.Namespace, defaults: Mapping[str, str], out: TextIO) -> Choices:
    settings: dict[str, Any] = {}
    missing = [prompt for prompt in _PROMPTS if getattr(given, prompt.dest) is None]
    if missing and not given.yes and not sys.stdin.isatty():
        options = ", ".join(f"--{prompt.option}" for prompt in missing)
        raise Misused(f"standard input is not a terminal: add --yes to accept the defaults, or the options {options}")
    if missing and not given.yes:
        print("Five settings. Press Enter to accept the default in brackets.\n", file=out)
    for number, prompt in enumerate(_PROMPTS, 1):
        text = getattr(given, prompt.dest)
        default = defaults[prompt.option]
        if text is None and not given.yes and not (prompt.dest == "templates" and settings["authz_url"] is not None):
            settings[prompt.dest] = _entered(number, prompt, default, out)
            continue
        try:
            settings[prompt.dest] = prompt.check(default if text is None else text)
        except (CommandFailed, ConfigError) as error:
            raise Misused(str(error)) from error
    return Choices(**settings)


def _entered(number: int, prompt: _Prompt, default: str, out: TextIO) -> Any:
    while True:
        print(f"{number}. {prompt.text}\n   [{default}]: ", end="", file=out, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise Misused("standard input ended before the last prompt; nothing is written")
        try:
            return prompt.check(line.strip() or default)
        except (CommandFailed, ConfigError) as error:
            print(f"   {' '.join(str(error).split())}. {_AGAIN}", file=out)


def _defaults(names: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    return {
        "authz-url": _POLICY_DECIDES,
        "templates": ",".join(detected_templates(sorted(names))) or _NONE,
        "mode": Mode.ENFORCE.value,
        "upstream-proxy": _proxy_of(environ),
        "ca-dir": BY_NAME["ca-dir"].default,
    }


def _proxy_of(environ: Mapping[str, str]) -> str:
    """Return the proxy that the environment names, unless it has a password, which does not belong in the file.

    In a shell behind the proxy, the environment names the proxy itself.
    """
    environ, _ = without_client_proxies({}, environ)
    for name in ("HTTPS_PROXY", "https_proxy"):
        url = environ.get(name, "").strip()
        if url and "@" not in url:
            try:
                return str(_checked_proxy(url))
            except ConfigError:
                continue
    return _NONE


def _checked(option: str, value: str) -> str:
    """Check a value as the proxy does.

    @raise ConfigError: if it is not valid.
    """
    load_config({option: [value]}, {})
    return value


def _checked_service(text: str) -> str | None:
    return None if text in (_POLICY_DECIDES, _NONE) else _checked("authz-url", text)


def _checked_templates(text: str) -> tuple[str, ...]:
    names = [] if text == _NONE else [name for name in text.replace(",", " ").split() if name != ALWAYS]
    new_policy([ALWAYS, *names], {})
    return (ALWAYS, *names)


def _checked_mode(text: str) -> str:
    return _checked("mode", text)


def _checked_proxy(text: str) -> str | None:
    if text == _NONE:
        return None
    _checked("upstream-proxy", text)
    if urlsplit(text).password is not None:
        raise ConfigError(
            "--upstream-proxy", "", "has a password: leave it out, and set the variable EGRESS_UPSTREAM_PROXY"
        )
    return text


def _checked_directory(text: str) -> str:
    return _checked("ca-dir", text)


_PROMPTS: Final = (
    _Prompt(
        "authz-url",
        "What decides on requests? Enter policy for a policy file, or the URL of your authorization service.",
        _checked_service,
        "the authorization service that decides; policy: a policy file decides",
        "URL",
    ),
    _Prompt(
        "templates",
        "What runs behind the proxy? Enter templates, as egress policy new --list lists them, or none.",
        _checked_templates,
        "the templates of the policy, separated by commas (egress policy new --list) [default: those for the files of "
        "the directory]",
        "NAMES",
    ),
    _Prompt(
        "mode",
        "Should the proxy enforce the decisions? Enter enforce, or observe to record requests first.",
        _checked_mode,
        "observe: forward and record what would be denied [default: enforce]",
        "enforce|observe",
    ),
    _Prompt(
        "upstream-proxy",
        "Do requests leave through another proxy? Enter its URL, or none.",
        _checked_proxy,
        "the proxy through which requests leave; none: they leave directly [default: the proxy in HTTPS_PROXY]",
        "URL",
    ),
    _Prompt(
        "ca-dir",
        "Where should the proxy store its CA? Enter a directory; the first start creates it.",
        _checked_directory,
        f"the directory of the CA; relative to {CONFIG} [default: {BY_NAME['ca-dir'].default}]",
        "DIR",
    ),
)
