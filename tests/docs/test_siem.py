"""The recipe for security information systems covers every key of an audit record."""

from __future__ import annotations

import re
from typing import Any

import attrs
import yaml
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.model.change import Actor, Change, ChangeKind
from egress.model.grpc_result import GrpcResult
from egress.observability.audit_log import audit_line
from egress.observability.ocsf import ocsf_event
from tests.docs.ottl import parsed, transform
from tests.docs.test_names_page import ROOT
from tests.observability.records import ALLOWED
from tests.observability.test_ocsf import fields_of, records

CONFIG = ROOT / "deploy" / "siem" / "otel-collector.yaml"
PAGE = ROOT / "docs" / "how-to" / "siem.md"


def paths_in(value: Any, prefix: str = "") -> set[str]:
    """Return the paths of the attributes of an event."""
    if not isinstance(value, dict):
        return {prefix}
    return {path for key, one in value.items() for path in paths_in(one, f"{prefix}.{key}".lstrip("."))}


class MappingTests(SynchronousTestCase):
    """The table on the page."""

    def test_table(self) -> None:
        """It has every key, and attributes that events have."""
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
        self.assertEqual([key for key, _ in rows], list(fields_of(ALLOWED)))
        events = [ocsf_event(fields_of(record), __version__) for record in records()]
        existing = set().union(*map(paths_in, events))
        existing |= {path.rpartition(".")[0] for path in existing}
        for key, text in rows:
            attributes = re.findall(r"`([\w.]+)`", text)
            self.assertTrue(attributes, key)
            self.assertLessEqual(set(attributes), existing, key)


class CollectorTests(SynchronousTestCase):
    """The configuration of the collector."""

    def setUp(self) -> None:
        self.config: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
        (block,) = self.config["processors"]["transform/ocsf"]["log_statements"]
        self.statements: list[str] = block["statements"]

    def test_components(self) -> None:
        """The pipeline uses the components that are configured, and no others."""
        (pipeline,) = self.config["service"]["pipelines"].values()
        for kind in ("receivers", "processors", "exporters"):
            self.assertEqual(set(pipeline[kind]), set(self.config[kind]))
        self.assertEqual(self.config["service"]["extensions"], list(self.config["extensions"]))

    def test_changes(self) -> None:
        """The records of changes by administrators, which are no HTTP activity, are left out."""
        (operator,) = [each for each in self.config["receivers"]["filelog"]["operators"] if each["type"] == "filter"]
        (key, value) = re.findall(r'^attributes\.(\w+) == "(\w+)"$', operator["expr"])[0]
        change = Change(ChangeKind.RULE_ADDED, "a rule", Actor(role="admin", place="console"))
        self.assertEqual(fields_of(change.record(1.0, "a"))[key], value)
        self.assertNotIn(value, {fields_of(record)[key] for record in records()})

    def test_every_key(self) -> None:
        used = set(re.findall(r'attributes\["(\w+)"\]', "\n".join(self.statements))) - {"ocsf"}
        self.assertEqual(used, set(fields_of(ALLOWED)) | {"grpc"})

    def test_same_events(self) -> None:
        """The events are those of C{egress logs export ocsf}, except for header fields and unusual endpoints."""
        number = 0
        for record in records():
            fields = fields_of(record)
            if not re.search(r"[\d\]]:\d+$", fields["client"]) or "[" in f"{record.upstream}{record.url}":
                continue
            number += 1
            record = attrs.evolve(record, request_headers=None, response_headers=None)
            expected = ocsf_event(fields_of(record), __version__)
            del expected["metadata"]["product"]["version"]
            line = audit_line(record)
            self.assertEqual(transform(self.statements, parsed(line), line.decode()), expected)
            # By OTLP, the body is a map without nulls.
            body = {key: value for key, value in fields_of(record).items() if value is not None}
            self.assertEqual(transform(self.statements, {}, body), expected)
        self.assertGreater(number, 40)

    def test_grpc(self) -> None:
        call = GrpcResult("a.B", "C", "OK")
        event = transform(self.statements, parsed(audit_line(attrs.evolve(ALLOWED, grpc=call))), "")
        self.assertEqual(event["unmapped"]["grpc"], attrs.asdict(call))

    def test_header_fields(self) -> None:
        record = attrs.evolve(ALLOWED, request_headers=(("a", "b"),))
        event = transform(self.statements, parsed(audit_line(record)), "")
        self.assertEqual(event["unmapped"]["requestHeaders"], [["a", "b"]])
