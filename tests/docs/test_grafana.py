"""The dashboard and the alert rules use metrics and labels that exist, and each alert has a place in the docs."""

from __future__ import annotations

import json
import re

from prometheus_client import CollectorRegistry, ProcessCollector
from twisted.trial.unittest import SynchronousTestCase

from tests.docs import promql
from tests.docs.test_names_page import ROOT, Family, proxy_metrics

# The labels that Prometheus adds, and those of histograms and of the processes of a proxy with workers.
TARGET = {"job", "instance"}
PARTS = re.compile(r"_(?:bucket|sum|count)$")


def known_metrics() -> dict[str, Family]:
    """Return the metrics of a proxy, of its processes and of Prometheus."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    found = {"up": ("gauge", dict[str, set[str]]()), **proxy_metrics()}
    for metric in registry.collect():
        for sample in metric.samples:
            found[sample.name] = metric.type, {"worker": set()}
    return found


class QueryTests(SynchronousTestCase):
    """Each query of the dashboard and of the alert rules."""

    def setUp(self) -> None:
        self.metrics = known_metrics()

    def check(self, title: str, query: str) -> None:
        selectors = promql.selectors(query)
        self.assertTrue(selectors, f"{title}: {query}: no metric")
        permitted = {*TARGET}
        for selector in selectors:
            name = selector.name if selector.name in self.metrics else PARTS.sub("", selector.name)
            self.assertIn(name, self.metrics, title)
            kind, labels = self.metrics[name]
            self.assertEqual(kind == "histogram", selector.name != name, title)
            permitted |= {*labels, *(["le"] if kind == "histogram" else [])}
            for label, values in selector.values.items():
                self.assertIn(label, {*labels, *TARGET}, f"{title}: {query}")
                # The registry has every value of a label whose values are a fixed list.
                self.assertLessEqual(values, labels.get(label, values), f"{title}: {query}")
        self.assertLessEqual(promql.groupings(query), permitted, f"{title}: {query}")

    def test_dashboard(self) -> None:
        queries = list(promql.dashboard_queries())
        self.assertGreater(len(queries), 40)
        for title, query in queries:
            with self.subTest(title):
                self.check(title, query)

    def test_alerts(self) -> None:
        for rule in promql.alerts():
            with self.subTest(rule["alert"]):
                self.check(rule["alert"], rule["expr"])

    def test_unknown_names_are_found(self) -> None:
        """The check itself fails for each kind of mistake."""
        for query in (
            "sum(rate(egress_decision_total[5m]))",
            'sum(rate(egress_decisions_total{verdikt="deny"}[5m]))',
            'sum(rate(egress_decisions_total{verdict="denied"}[5m]))',
            "sum by (rule) (rate(egress_decisions_total[5m]))",
            "rate(egress_decisions_total_bucket[5m])",
            "rate(egress_exchange_seconds[5m])",
            "vector(1)",
        ):
            with self.subTest(query):
                self.assertRaises(self.failureException, self.check, "a mistake", query)


class DashboardTests(SynchronousTestCase):
    """The dashboard is complete."""

    def test_panels(self) -> None:
        """Each panel has a unit, a description and the data source that the user selects; panels do not overlap."""
        dashboard = json.loads(promql.DASHBOARD.read_text("utf-8"))
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
        for panel in promql.panels():
            with self.subTest(panel["title"]):
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"]["uid"], "${datasource}")
                    self.assertIn('job=~"$job", instance=~"$instance"', target["expr"])

    def test_every_metric_is_shown(self) -> None:
        """A new metric gets a panel, or a reason why it needs none."""
        shown = {
            PARTS.sub("", selector.name)
            for _, query in promql.dashboard_queries()
            for selector in promql.selectors(query)
        }
        unshown = {
            "egress_observed_total",  # --mode observe is temporary; egress policy suggest reads the records
            *("egress_policy_rules", "egress_policy_reloads_total", "egress_policy_reload_failures_total"),
            *("egress_authorizer_breaker_opened_total", "egress_authorizer_retries_total"),
            *("egress_authorizer_cache_entries", "egress_build_info"),
            "egress_telemetry_dropped_total",  # the proxy logs the reason, and its requests are not affected
        }
        self.assertEqual(set(proxy_metrics()) - shown, unshown)


class AlertTests(SynchronousTestCase):
    """Each alert names the problem and its fix."""

    def test_annotations(self) -> None:
        page = ROOT / "docs" / "how-to" / "monitoring.md"
        headings = re.findall(r"^### (\w+)$", page.read_text("utf-8"), re.MULTILINE)
        names = [rule["alert"] for rule in promql.alerts()]
        self.assertEqual(headings, names)
        self.assertIn(f"  SUCCESS: {len(names)} rules found\n", page.read_text("utf-8"))
        for rule in promql.alerts():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                notes = rule["annotations"]
                self.assertEqual(set(notes), {"summary", "description", "runbook_url"})
                self.assertEqual(notes["runbook_url"], f"docs/how-to/monitoring.md#{rule['alert'].lower()}")
                self.assertTrue(notes["description"].endswith("."))
