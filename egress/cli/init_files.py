"""The contents of the files that C{egress init} writes, from the choices of the user."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import attrs

CONFIG: Final = "egress.toml"
POLICY: Final = "policy.toml"
AUDIT_LOG: Final = "audit.jsonl"

ALWAYS: Final = "metadata"
"""The template that is part of every policy, because it only denies."""

# The files of a project, by pattern, and the templates for the programs that use them.
_DETECTED: Final = (
    ("package.json", "npm"),
    ("pyproject.toml", "pypi"),
    ("requirements*.txt", "pypi"),
    ("setup.cfg", "pypi"),
    ("setup.py", "pypi"),
    ("Pipfile", "pypi"),
    ("Cargo.toml", "crates"),
    ("go.mod", "go"),
    ("pom.xml", "maven"),
    ("build.gradle*", "gradle"),
    ("settings.gradle*", "gradle"),
    ("Gemfile", "rubygems"),
    ("*.csproj", "nuget"),
    ("*.sln", "nuget"),
    ("Dockerfile*", "docker-build"),
    ("Containerfile", "docker-build"),
    ("*postman_collection.json", "postman"),
    (".github", "github"),
)

# A command to try first, by template.
_COMMANDS: Final = {
    "npm": "npm ci",
    "pypi": "pip download --no-deps --dest /tmp/wheels six",
    "crates": "cargo fetch",
    "go": "go mod download",
    "maven": "mvn dependency:go-offline",
    "gradle": "gradle dependencies",
    "rubygems": "bundle install",
    "nuget": "dotnet restore",
    "postman": "newman run collection.json",
}
_ANY_COMMAND: Final = "curl https://example.com/"


@attrs.frozen(kw_only=True)
class Choices:
    """The choices of the user.

    @ivar authz_url: the URL of the authorization service; C{None}: the embedded policy decides.
    @ivar templates: the names of the templates of the policy.
    @ivar mode: C{enforce} or C{observe}.
    @ivar upstream_proxy: the URL of the upstream proxy; C{None}: requests leave directly.
    @ivar ca_dir: the directory of the CA.
    """

    authz_url: str | None
    templates: tuple[str, ...]
    mode: str
    upstream_proxy: str | None
    ca_dir: str


def detected_templates(names: Collection[str]) -> tuple[str, ...]:
    """Return the templates for the programs that a project uses.

    @param names: the names of the files in its directory.
    """
    found = (template for pattern, template in _DETECTED if any(fnmatchcase(name, pattern) for name in names))
    return tuple(dict.fromkeys(found))


def config_text(choices: Choices) -> str:
    """Write the configuration file."""
    return "\n\n".join("\n".join(section) for section in _sections(choices)) + "\n"


def _sections(choices: Choices) -> Iterator[list[str]]:
    yield [
        "# The configuration of the egress proxy, written by egress init.",
        "# Relative paths are relative to this file. To list all options: twistd egressproxy --help-all",
    ]
    if choices.authz_url is None:
        yield [f"# The rules that decide. To test them: egress policy check {POLICY}", _setting("policy", POLICY)]
    else:
        yield ["# The service that decides on each request.", _setting("authz-url", choices.authz_url)]
    yield [
        "# enforce: requests that are not allowed are denied. observe: they are forwarded, and recorded.",
        _setting("mode", choices.mode),
    ]
    yield [
        "# One line of JSON for each decision. To write a policy from it: egress policy suggest FILE",
        _setting("audit-log", AUDIT_LOG),
    ]
    yield ["# The directory of the CA. Clients must trust ca.pem in it.", _setting("ca-dir", choices.ca_dir)]
    if choices.upstream_proxy is None:
        yield ["# The proxy through which requests leave.", '# upstream-proxy = "http://proxy.example.com:3128"']
    else:
        yield ["# The proxy through which requests leave.", _setting("upstream-proxy", choices.upstream_proxy)]
    yield [
        "# Where clients connect. egress run uses a free port instead.",
        '# listen = ["tcp:8080:interface=127.0.0.1"]',
    ]


def _setting(key: str, value: str) -> str:
    # TOML strings have the same escapes as JSON.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def next_steps(choices: Choices, config: str) -> Iterator[str]:
    """Write what the user does next, in lines.

    @param config: the path of the configuration file, for a shell.
    """
    yield "Next, run a command behind the proxy:"
    yield f"  egress run --config {config} -- {_command(choices.templates)}"
    yield "or start the proxy for several programs:"
    yield f"  egressproxy --config {config}"
    if choices.mode == "observe":
        yield 'The proxy forwards every request. To write rules from what it recorded, and then set mode = "enforce":'
        yield f"  egress policy suggest {AUDIT_LOG} --output learned.toml"
    elif choices.authz_url is None and set(choices.templates) <= {ALWAYS}:
        yield "The policy denies every request. To write rules from the requests of a command:"
        yield f"  egress run --learn learned.toml -- {_ANY_COMMAND}"


def _command(templates: Iterable[str]) -> str:
    return next((_COMMANDS[name] for name in templates if name in _COMMANDS), _ANY_COMMAND)
