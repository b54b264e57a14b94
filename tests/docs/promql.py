"""Reads the queries of the dashboard and of the alert rules, and the metrics and labels in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import yaml

GRAFANA = Path(__file__).parent.parent.parent / "deploy" / "grafana"
DASHBOARD = GRAFANA / "dashboard.json"
ALERTS = GRAFANA / "alerts.yaml"

# The metrics of this project, of its processes, and of Prometheus itself.
_NAME = re.compile(r"\b(?:egress|process)_\w+|\bup\b")
_SELECTOR = re.compile(r"(?P<name>(?:egress|process)_\w+|\bup\b)(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)")
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")


@attrs.frozen
class Selector:
    """A metric in a query.

    @ivar values: the values of labels, by label; empty for a variable.
    """

    name: str
    values: dict[str, set[str]]


def selectors(query: str) -> list[Selector]:
    """Return the metrics in a query, with the values to which their labels are compared."""
    found = []
    for match in _SELECTOR.finditer(query):
        values = {}
        for label, _, value in _MATCHER.findall(match["matchers"] or ""):
            values[label] = set() if _VARIABLE.fullmatch(value) else set(value.split("|"))
        found.append(Selector(match["name"], values))
    return found


def groupings(query: str) -> set[str]:
    """Return the labels by which a query groups or joins."""
    return {label.strip() for labels in _GROUPED.findall(query) for label in labels.split(",") if label.strip()}


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show data."""
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Yield the title and the query of each target of the dashboard, and of its variables and annotations."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        values = re.fullmatch(r"label_values\((.*), \w+\)", variable.get("definition", ""))
        if values is not None:
            yield variable["name"], values[1]


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
