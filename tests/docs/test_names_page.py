"""The reference of names contains every metric, record key, error code and log event, as it is in the code."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from pathlib import Path

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.approvals import Approvals
from egress.authz.breaker import Breaker
from egress.authz.distribution.metrics import CheckStats, PolicyCheckMetrics
from egress.authz.distribution.poller import FAILED, UNCHANGED, UPDATED
from egress.authz.limiter import LimitedAuthorizer
from egress.authz_service.metrics import AuthzServiceMetrics
from egress.config.notify import ALL_EVENTS
from egress.model.comparison import ShadowComparison, ShadowResult
from egress.model.decision import Decision, Stage, Verdict
from egress.model.errors import OUTCOMES
from egress.model.message_counts import MessageCounts
from egress.model.phases import PHASES
from egress.model.revocation import RevocationKind
from egress.model.statistics import (
    BudgetStats,
    CacheStats,
    PolicyInUse,
    PolicyReloadStats,
    SharedCacheStats,
    SpoolStats,
)
from egress.notify.metrics import NotificationMetrics
from egress.observability.audit_log import audit_line
from egress.observability.metrics import Metrics
from egress.observability.shadow_log import ShadowLog
from egress.resources import POLICY, SHADOW_POLICY
from egress.shared.ca_fingerprints import count_mismatches
from egress.workers.parent_metrics import parent_metrics
from tests.authz.fakes import REQUEST
from tests.docs import log_events
from tests.observability.records import ALLOWED

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "names.md"
CODE = re.compile(r"`([\w-]+)`")
VERDICTS = {outcome.verdict for outcome in OUTCOMES.values()}


def section(title: str) -> str:
    """Return the text of a section."""
    text = PAGE.read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str) -> dict[str, list[str]]:
    """Return the table of a section: by the first cell of each row, the other cells."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


Family = tuple[str, dict[str, set[str]]]
"""A metric: its type, and the values of each label."""


def table(title: str) -> dict[str, Family]:
    """Return a table of metrics; a label whose values the table does not list has none."""
    found = {}
    for name, (kind, labels, _) in rows(title).items():
        names, _, values = labels.partition(": ")
        found[name.strip("`")] = kind, {label: set(CODE.findall(values)) for label in CODE.findall(names)}
    return found


def samples_of(*registries: CollectorRegistry) -> dict[str, Family]:
    """Return the metrics of registries by name."""
    found: dict[str, Family] = {}
    for registry in registries:
        for metric in registry.collect():
            if metric.name.startswith(("process_", "python_")):
                continue
            kind = {"info": "gauge"}.get(metric.type, metric.type)
            name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
            labels: defaultdict[str, set[str]] = defaultdict(set)
            for sample in metric.samples:
                for label, value in sample.labels.items():
                    if label != "le":
                        labels[label].add(value)
            found[name] = kind, dict(labels)
    return found


def proxy_metrics() -> dict[str, Family]:
    """Return the metrics of a proxy with all of its parts, with every value of each label."""
    metrics = Metrics()
    for verdict in sorted({"allow", *VERDICTS}):
        metrics.write(attrs.evolve(ALLOWED, verdict=verdict))
    for status in (None, 100, 200, 300, 400, 500, 600):
        metrics.write(attrs.evolve(ALLOWED, status=status))
    clock = Clock()
    limiter = LimitedAuthorizer(clock, None, Breaker(1, 1, float), deadline=1, max_concurrency=1, max_queue=1)  # type: ignore[arg-type]
    metrics.set_authorizer_source(limiter.stats, lambda: 0)
    metrics.set_cache_source(lambda: CacheStats(0, 0, 0, 0, 0))
    shared = SharedCacheStats(hits=0, misses=0, stale=0, waited=0, failed=0, rejected=0)
    metrics.set_shared_source(lambda: shared, lambda: True, lambda: ("redis.test:6379", 0))
    count_mismatches(metrics.registry, lambda: 0)
    budgets = BudgetStats(buckets=0, exhausted=0, unavailable=0, alone=0, failed=0)
    metrics.set_budget_source(lambda: budgets)
    metrics.set_policy_source(lambda: PolicyReloadStats(0), lambda: PolicyInUse("", 0.0))
    metrics.set_store_queue_source(lambda: 0)
    metrics.set_spool_source(lambda: SpoolStats(reached=True, records=0, size=0, oldest=0.0))
    metrics.set_telemetry_source(lambda: dict.fromkeys(("traces", "logs", "metrics"), 0))
    metrics.set_approvals_source(lambda: 0, Approvals(clock, clock.seconds, timeout=1, limit=1, is_open=True).counts)
    metrics.set_revocations_source(lambda: {kind.value: 0 for kind in RevocationKind})
    metrics.set_messages_source(MessageCounts())
    metrics.registry.register(ShadowLog(clock.seconds, clock.seconds))
    metrics.registry.register(NotificationMetrics(ALL_EVENTS, lambda: 0))
    checks = CheckStats(dict.fromkeys((UPDATED, UNCHANGED, FAILED), 0), 0.0)
    metrics.registry.register(PolicyCheckMetrics(lambda: dict.fromkeys((POLICY, SHADOW_POLICY), checks)))
    return samples_of(metrics.registry, parent_metrics(2, lambda: 2, lambda: 0)[0])


class MetricsTests(SynchronousTestCase):
    """The tables of metrics."""

    def compare(self, title: str, found: dict[str, Family]) -> None:
        documented = table(title)
        self.assertEqual(set(documented), set(found))
        for name, (kind, labels) in found.items():
            with self.subTest(name):
                documented_kind, documented_labels = documented[name]
                self.assertEqual((documented_kind, set(documented_labels)), (kind, set(labels)))
                for label, values in documented_labels.items():
                    if values:
                        self.assertEqual(values, labels[label])

    def test_proxy(self) -> None:
        self.compare("Metrics", proxy_metrics())

    def test_authorization_service(self) -> None:
        metrics = AuthzServiceMetrics()
        metrics.set_policy_source(lambda: PolicyReloadStats(0), lambda: PolicyInUse("", 0.0))
        for verdict in (*(each.value for each in Verdict), "unavailable"):
            metrics.write(attrs.evolve(ALLOWED, verdict=verdict))
        for kind in rejections():
            metrics.reject(kind)
        found = samples_of(metrics.registry)
        shared = {name for name in found if not name.startswith("egressauthz_")}
        self.assertLessEqual(shared, set(table("Metrics")))
        own = {name: value for name, value in found.items() if name not in shared}
        self.compare("Metrics of egressauthz", own)


def rejections() -> set[str]:
    """Return the kinds of rejected requests of the authorization service, from its code."""
    found = set()
    for path in (ROOT / "egress" / "authz_service").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                position = {"_Rejection": 1, "rejected": 0, "_rejected": 0}.get(name)
                if position is not None and isinstance(node.args[position], ast.Constant):
                    found.add(ast.literal_eval(node.args[position]))
    return found


class RecordsTests(SynchronousTestCase):
    """The tables of records."""

    def test_audit_record(self) -> None:
        documented = {name.strip("`"): CODE.findall(value) for name, (value,) in rows("Audit records").items()}
        self.assertEqual(list(documented), list(json.loads(audit_line(ALLOWED))))
        self.assertEqual(set(documented["verdict"]), {*VERDICTS, *(verdict.value for verdict in Verdict)})
        self.assertEqual(set(documented["stage"]) - {"CONNECT"}, {stage.value for stage in Stage})

    def test_phases(self) -> None:
        self.assertEqual([name.strip("`") for name in rows("Phases")], list(PHASES))

    def test_shadow_record(self) -> None:
        path = Path(self.mktemp())
        log = ShadowLog(Clock().seconds, Clock().seconds, path)
        decision = Decision(Verdict.ALLOW, "", "")
        log.write(ShadowComparison(REQUEST, decision, decision, ShadowResult.STRICTER))
        log.close()
        documented = CODE.findall(section("Shadow records").partition(" The keys ")[2].partition(" have ")[0])
        documented += [name for first in rows("Shadow records") for name in CODE.findall(first)]
        self.assertEqual(sorted(documented), sorted(json.loads(path.read_text("utf-8"))))


class ErrorCodesTests(SynchronousTestCase):
    """The table of error codes."""

    def test_codes(self) -> None:
        documented = {verdict.strip("`"): CODE.findall(codes) for verdict, (codes,) in rows("Error codes").items()}
        expected: dict[str, list[str]] = {}
        for outcome in OUTCOMES.values():
            expected.setdefault(outcome.verdict, []).append(outcome.code)
        self.assertEqual(documented, expected)


class LogEventsTests(SynchronousTestCase):
    """The table of log events."""

    def test_table(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        self.assertEqual(text, log_events.page(text), "run: python -m tests.docs.log_events")
