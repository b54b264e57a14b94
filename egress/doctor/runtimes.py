"""The runtimes that are examined: how each makes a request, and how its output shows that the proxy responded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

# The beginning of the two forms of the response, and a field of it in the logs of git and cargo.
_RESPONSE: Final = re.compile(
    r"urn:egressproxy:proxy-addressed|egressproxy: Response of the proxy \(200\)|proxy-status: egressproxy; details=",
    re.IGNORECASE,
)
# These parse the response, so their messages show that they received it.  The certificate was verified.
_OF_GO: Final = re.compile(r"@v/list: 200 ")
_OF_PIP: Final = re.compile(r'egressproxy\.invalid:\d+ "GET [^"]*" 200 |got Content-Type: application/json')
_OF_UV: Final = re.compile(r"Unsupported `Content-Type` .application/json.")

LIBRARY_MISSING: Final = re.compile(r"^not installed: ", re.MULTILINE)
"""Matches the output of the probe for Python if a library is not installed."""

# A Java of version 8, or one without a compiler.
_NO_JAVA_SOURCE: Final = re.compile(
    r"Could not find or load main class|module jdk\.compiler not found|Unable to locate a Java Runtime", re.IGNORECASE
)
_OLD_NODE: Final = re.compile(r"fetch is not defined")

_SECONDS: Final = "8"


@attrs.frozen(kw_only=True)
class Place:
    """The files of one probe.

    @ivar program: the program.
    @ivar url: the address of the proxy, with a slash at the end.
    @ivar files: the directory with the programs of the probes.
    @ivar scratch: an empty directory.
    @ivar root: whether the user is root.
    @ivar browser_flags: the flags that C{egress run} gives to a browser; empty for a running proxy.
    """

    program: str
    url: str
    files: Path
    scratch: Path
    root: bool
    browser_flags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Runtime:
    """A program that makes a request.

    @ivar name: the name of the check.
    @ivar programs: its names; the first one in C{PATH} is used.
    @ivar arguments: returns the arguments, without the program.
    @ivar variables: variables that make it print more, or do less.
    @ivar response: matches the output after a response of the proxy.
    @ivar unusable: matches the output if there is nothing to examine.
    @ivar seconds: the timeout.
    """

    name: str
    programs: tuple[str, ...]
    arguments: Callable[[Place], Sequence[str]]
    variables: Mapping[str, str] = attrs.field(factory=dict)
    response: re.Pattern[str] = _RESPONSE
    unusable: re.Pattern[str] | None = None
    seconds: float = 10.0


def _python(library: str) -> Runtime:
    return Runtime(
        name=library,
        programs=("python3", "python"),
        arguments=lambda place: (str(place.files / "probe.python"), library, place.url),
        unusable=LIBRARY_MISSING,
    )


def _chromium(place: Place) -> Sequence[str]:
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-extensions"]
    # No requests of its own.
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-default-apps"]
    flags += ["--disable-sync", "--disable-domain-reliability", "--disable-client-side-phishing-detection"]
    if place.root:
        flags.append("--no-sandbox")  # it refuses to start otherwise
    return [*flags, *place.browser_flags, f"--user-data-dir={place.scratch}", "--dump-dom", place.url]


RUNTIMES: Final[tuple[Runtime, ...]] = (
    # The slowest first, so that they do not run last.
    Runtime(
        name="java",
        programs=("java",),
        arguments=lambda place: (str(place.files / "Probe.java"), place.url),
        unusable=_NO_JAVA_SOURCE,
        seconds=15.0,
    ),
    Runtime(
        name="chromium",
        programs=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        arguments=_chromium,
        seconds=15.0,
    ),
    Runtime(
        name="pip",
        programs=("pip", "pip3"),
        arguments=lambda place: (
            *("download", "-vvv", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--no-input"),
            *("--retries", "0", "--timeout", _SECONDS, "--dest", str(place.scratch)),
            *("--index-url", f"{place.url}simple", "egressproxy-probe"),
        ),
        response=_OF_PIP,
    ),
    Runtime(
        name="npm",
        programs=("npm",),
        arguments=lambda place: (
            *("ping", "--registry", place.url, "--no-update-notifier", "--logs-max=0"),
            *("--fetch-retries=0", f"--fetch-timeout={_SECONDS}000"),
        ),
    ),
    _python("requests"),
    _python("httpx"),
    _python("aiohttp"),
    _python("urllib"),
    Runtime(
        name="curl",
        programs=("curl",),
        arguments=lambda place: ("-sS", "--max-time", _SECONDS, place.url),
    ),
    Runtime(
        name="wget",
        programs=("wget",),
        arguments=lambda place: ("-nv", "-O", "-", "--tries=1", f"--timeout={_SECONDS}", place.url),
    ),
    Runtime(
        name="git",
        programs=("git",),
        arguments=lambda place: ("ls-remote", place.url),
        variables={"GIT_TERMINAL_PROMPT": "0", "GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"},
    ),
    Runtime(
        name="node",
        programs=("node", "nodejs"),
        arguments=lambda place: (str(place.files / "probe.js"), place.url),
        unusable=_OLD_NODE,
    ),
    Runtime(
        name="go",
        programs=("go",),
        arguments=lambda place: ("list", "-m", "-x", "-versions", "egressproxy.invalid/probe"),
        variables={
            "GOPROXY": "{url}",
            "GOFLAGS": "-mod=mod",
            "GOSUMDB": "off",
            "GOPRIVATE": "",
            "GONOPROXY": "none",
            "GOTOOLCHAIN": "local",
            "GO111MODULE": "on",
        },
        response=_OF_GO,
    ),
    Runtime(
        name="uv",
        programs=("uv",),
        arguments=lambda place: (
            *("pip", "compile", "--no-cache", "--no-python-downloads", "--index-url", f"{place.url}simple"),
            str(place.files / "requirements.in"),
        ),
        variables={"UV_HTTP_TIMEOUT": _SECONDS, "UV_HTTP_RETRIES": "0"},
        response=_OF_UV,
    ),
    Runtime(
        name="cargo",
        programs=("cargo",),
        arguments=lambda place: ("search", "--index", f"sparse+{place.url}", "egressproxy-probe"),
        variables={"CARGO_NET_RETRY": "0", "CARGO_HTTP_DEBUG": "true", "CARGO_LOG": "network=trace"},
    ),
)


def command_of(runtime: Runtime, place: Place) -> list[str]:
    """Return the command of a probe."""
    return [place.program, *runtime.arguments(place)]


def variables_of(runtime: Runtime, place: Place) -> dict[str, str]:
    """Return the variables that the probe sets, in addition to the environment of the user."""
    variables = {name: value.replace("{url}", place.url) for name, value in runtime.variables.items()}
    # The messages of programs, and not their translations, are parsed.
    return {**variables, "LC_ALL": "C", "LANGUAGE": "C"}
