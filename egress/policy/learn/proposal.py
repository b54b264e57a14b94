"""The proposal of a rule for one recorded request: as narrow as its reader chooses, as text to edit."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Collection
from typing import Final

import attrs

from egress.model.decision import Stage
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.path_templates import REST, pattern_of, shape_of
from egress.policy.match.paths import compile_path, readings
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
_WILD: Final = re.compile(r"[*?#]")
_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM: Final = 52


class Scope(enum.Enum):
    """The paths of a proposed rule.

    @cvar PATH: only the path of the request.
    @cvar SIMILAR: paths that differ only in an identifier.
    @cvar BELOW: the paths below the parent of the path.
    @cvar HOST: all paths of the host.
    """

    PATH = "path"
    SIMILAR = "similar"
    BELOW = "below"
    HOST = "host"


class Methods(enum.Enum):
    """The methods of a proposed rule.

    @cvar SAME: only the method of the request.
    @cvar SAFE: GET, HEAD and OPTIONS.
    @cvar ALL: all methods.
    """

    SAME = "same"
    SAFE = "safe"
    ALL = "all"


@attrs.frozen
class Choice:
    """What a rule is about.

    @ivar action: C{"allow"}, C{"deny"} or C{"ask"}.
    @ivar scope: the paths.
    @ivar methods: the methods.
    @ivar this_client: whether the rule is only for the client of the request.
    """

    action: str
    scope: Scope
    methods: Methods = Methods.SAME
    this_client: bool = False


def path_patterns(line: AuditLine) -> dict[Scope, tuple[str, ...]]:
    """Return the path patterns of each scope that is possible for a request; the narrowest scope is the first one.

    A request is in several patterns if servers read its path in several ways: a permission has to match all of them.
    """
    scopes: dict[Scope, tuple[str, ...]] = {}
    if line.stage is Stage.REQUEST:
        try:
            found = readings(line.path, WorkBudget())
        except TooMuchWork:
            found = ()
        shapes = [tuple(reading[1:].split("/")) for reading in found if reading.startswith("/")]
        exact = tuple(map(_pattern, shapes))
        # If no pattern matches a path with certainty, no other scope than the host has a meaning.
        if shapes and len(shapes) == len(found) and all(map(_is_valid, exact)):
            scopes[Scope.PATH] = exact
            similar = tuple(dict.fromkeys(pattern_of(shape_of(reading)) for reading in found))
            if similar != exact:
                scopes[Scope.SIMILAR] = similar
            if all(len(shape) > 1 for shape in shapes):
                scopes[Scope.BELOW] = tuple(dict.fromkeys(f"{_pattern(shape[:-1])}/{REST}" for shape in shapes))
    scopes[Scope.HOST] = ()
    return scopes


def _pattern(segments: tuple[str, ...]) -> str:
    return "/" + "/".join(map(_escaped, segments))


def _escaped(segment: str) -> str:
    # In a pattern, these characters have another meaning.
    return _WILD.sub(lambda match: f"%{ord(match[0]):02X}", segment)


def _is_valid(pattern: str) -> bool:
    try:
        compile_path(pattern, broad=False)
    except ValueError:
        return False
    return pattern.isprintable()


def method_choices(line: AuditLine) -> tuple[Methods, ...]:
    """Return the possible methods of a rule, the narrowest first."""
    if line.stage is Stage.TUNNEL:
        return (Methods.SAME,)
    choices = (Methods.SAME, Methods.SAFE, Methods.ALL) if line.method in _SAFE else (Methods.SAME, Methods.ALL)
    return choices if _METHOD.fullmatch(line.method) else (Methods.ALL,)


def propose(line: AuditLine, choice: Choice, taken: Collection[str], note: str) -> str:
    """Return the text of a rule for a request.

    @param line: the request.
    @param choice: what the rule is about; an impossible scope or method becomes the next wider one.
    @param taken: the names of the rules of the policy.
    @param note: a comment of one line, before the rule.
    """
    authority = line.origin.authority
    tunnel = line.stage is Stage.TUNNEL
    scopes = path_patterns(line)
    scope = choice.scope if choice.scope in scopes else next(iter(scopes))
    methods = choice.methods if choice.methods in method_choices(line) else method_choices(line)[0]
    lines = [f"# {note}"] if note else []
    lines += ["[[rules]]", f"name = {_text(_name(line, choice.action, taken))}", f"action = {_text(choice.action)}"]
    if choice.action != "allow":
        reason = f"{'tunnels' if tunnel else 'requests'} to {authority.host} "
        lines.append(f"reason = {_text(reason + ('are denied' if choice.action == 'deny' else 'require approval'))}")
    lines += [f"hosts = [{_text(authority.host)}]", f"ports = [{authority.port}]"]
    call = line.call
    if call is not None and choice.action == "allow" and methods is Methods.SAME and scope is not Scope.HOST:
        # Other rules have paths: a server can accept the call with another content type.
        method = "" if scope is Scope.BELOW else f", method = {_text(call.method)}"
        lines.append(f"schemes = [{_text(line.origin.scheme)}]")
        lines.append(f"grpc = {{ service = {_text(call.service)}{method} }}")
    else:
        lines += _of_request(line, methods, scopes[scope])
    if choice.this_client:
        lines.append(f"clients = [{_text(line.client if line.identity is None else line.identity)}]")
    return "\n".join(lines) + "\n"


def _of_request(line: AuditLine, methods: Methods, paths: tuple[str, ...]) -> list[str]:
    lines = []
    if line.stage is Stage.TUNNEL:
        lines.append('methods = ["CONNECT"]')
    else:
        lines.append(f"schemes = [{_text(line.origin.scheme)}]")
        if methods is not Methods.ALL:
            lines.append(_list("methods", _SAFE if methods is Methods.SAFE else [line.method]))
    if paths:
        lines.append(_list("paths", paths))
    return lines


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(key: str, values: Collection[str]) -> str:
    return f"{key} = [{', '.join(map(_text, values))}]"


def _name(line: AuditLine, action: str, taken: Collection[str]) -> str:
    """Return a name that no other rule has, as in C{allow-api.example.com-orders}."""
    words = [action, line.origin.authority.host]
    if line.stage is Stage.REQUEST:
        words += [segment for segment in shape_of(line.path.partition("?")[0])[:2] if "*" not in segment]
    stem = _NAME.sub("-", "-".join(filter(None, words)))[:_MAX_STEM].strip("-._") or "rule"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name
