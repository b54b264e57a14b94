"""Writes C{docs/reference/proxy-config.md}: the fields of the configuration, from the classes and the options.

Run C{python -m tests.docs.proxy_config} after a change of either.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from egress.config.model import Limits, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.options import OPTIONS
from egress.config.shared import SharedSettings

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "proxy-config.md"
_HEAD = """# ProxyConfig

`egress.config.model.ProxyConfig` is the configuration of a proxy that an application embeds, and `Limits`, in the same
module, is its field `limits`. `egress.config.notify.NotifySettings` is its field `notify`, and
`egress.config.shared.SharedSettings` is its field `shared`. All fields are keyword arguments.
[Embed the proxy](../how-to/embedding.md#configuration) describes the types that each field accepts, and
[Configuration](configuration.md) describes the options of the command line.

`python -m tests.docs.proxy_config` writes this page from the code; a test compares the two.
"""
_FIELD = re.compile(r"^@ivar (\w+): (.+?)(?=^@|\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"[LC]\{(?:egress\.[\w.]+\.)?([^}]*)\}")
_LIMITS = "limits."
_NOTIFY = "notify."
_SHARED = "shared."
# A default that depends on the user.
_COMPUTED = {
    "ca_dir": "~/.egressproxy/ca",
    "bypass": "no host",
    "limits": "Limits()",
    "notify": "NotifySettings()",
    "shared": "SharedSettings()",
    "events": "all",
}


def _meanings(cls: type) -> dict[str, str]:
    """Return the descriptions of the fields in the docstring of a class."""
    found = {name: " ".join(text.split()) for name, text in _FIELD.findall(inspect.getdoc(cls) or "")}
    return {name: _LINK.sub(r"`\1`", text).removesuffix(".") for name, text in found.items()}


def _options() -> dict[str, str]:
    """Return the option for each field."""
    found: dict[str, list[str]] = {}
    for option in OPTIONS:
        fields = [*option.fields, *(name for one in option.variables for name in one.fields or ())]
        for name in dict.fromkeys(fields):
            found.setdefault(name, []).append(f"`--{option.name}`")
    return {name: ", ".join(options) for name, options in found.items()}


def _default(field: attrs.Attribute[Any]) -> str:
    if field.name in _COMPUTED:
        return _COMPUTED[field.name]
    value = field.default
    assert not isinstance(value, attrs.Factory), field.name  # type: ignore[arg-type]
    return repr(value.value if isinstance(value, enum.Enum) else value)


def _rows(cls: type, prefix: str = "") -> Iterator[str]:
    meanings, options = _meanings(cls), _options()
    yield "| Field | Type | Default | Option | Meaning |\n| --- | --- | --- | --- | --- |\n"
    for field in attrs.fields(cls):
        kind = str(field.type if isinstance(field.type, str) else getattr(field.type, "__name__", field.type))
        cells = [f"`{field.name}`", f"`{kind}`", f"`{_default(field)}`"]
        cells += [options.get(prefix + field.name, ""), meanings[field.name]]
        yield "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |\n"


def page() -> str:
    """Write the page from the code."""
    return "".join(
        [
            *(_HEAD, "\n## ProxyConfig fields\n\n", *_rows(ProxyConfig)),
            *("\n## Limits fields\n\n", *_rows(Limits, _LIMITS)),
            *("\n## NotifySettings fields\n\n", *_rows(NotifySettings, _NOTIFY)),
            *("\n## SharedSettings fields\n\n", *_rows(SharedSettings, _SHARED)),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
