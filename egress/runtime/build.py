"""The modules of the hot path that mypyc compiles, and the build of this installation.

C{setup.py} runs this file before the dependencies are installed, so it imports only the standard library.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Final

COMPILED: Final = (
    "egress.http.body",
    "egress.http.connection_auth",
    "egress.http.events",
    "egress.http.field_lines",
    "egress.http.heads",
    "egress.http.hop_by_hop",
    "egress.http.max_forwards",
    "egress.http.readers",
    "egress.http.request_target",
    "egress.http.sniff",
    "egress.http.upgrade",
    "egress.http.writers",
    "egress.model.authority",
    "egress.model.client_queues",
    "egress.model.decision",
    "egress.model.limit_key",
    "egress.model.phases",
    "egress.model.record",
    "egress.model.recorded_headers",
    "egress.model.redact",
    "egress.model.route",
    "egress.model.trace",
    "egress.observability.exchange_counters",
    "egress.observability.rule_counters",
    "egress.policy.match.paths",
    "egress.policy.match.request_view",
    "egress.policy.match.work_budget",
    "egress.policy.reason_template",
    "egress.policy.rule",
    "egress.policy.rules",
    "egress.proxy.addressed_session",
    "egress.proxy.body_collector",
    "egress.proxy.client_auth",
    "egress.proxy.client_session",
    "egress.proxy.connect_tunnel",
    "egress.proxy.connection_registry",
    "egress.proxy.delimited_heads",
    "egress.proxy.destination",
    "egress.proxy.exchange",
    "egress.proxy.exchange_report",
    "egress.proxy.exchange_state",
    "egress.proxy.forwarder",
    "egress.proxy.grpc_outcome",
    "egress.proxy.grpc_streams",
    "egress.proxy.http1_stream",
    "egress.proxy.inspecting_forwarder",
    "egress.proxy.lease",
    "egress.proxy.listener_session",
    "egress.proxy.outgoing_request",
    "egress.proxy.request_body",
    "egress.proxy.session_refusal",
    "egress.proxy.session_state",
    "egress.proxy.socks_session",
    "egress.proxy.state_machine",
    "egress.proxy.transaction",
    "egress.proxy.transparent",
    "egress.proxy.tunnel_authorization",
    "egress.proxy.tunnel_binding",
    "egress.relay.relay",
    "egress.transport.dialed",
    "egress.transport.event_dispatch",
    "egress.transport.fair_turns",
    "egress.transport.lingering_close",
    "egress.transport.producer_membrane",
    "egress.transport.tcp",
    "egress.transport.tls_layer",
    "egress.transport.tls_records",
    "egress.transport.tls_session",
    "egress.transport.watchdog",
    "egress.transport.write_batch",
    "egress.transport.write_through",
    "egress.upstream.address_guard",
    "egress.upstream.authenticated_connections",
    "egress.upstream.connector",
    "egress.upstream.dial",
    "egress.upstream.fair_slots",
    "egress.upstream.happy_eyeballs",
    "egress.upstream.lookups",
    "egress.upstream.origin_connection",
    "egress.upstream.origin_versions",
    "egress.upstream.origins",
    "egress.upstream.pool",
    "egress.upstream.shared_dials",
    "egress.upstream.upstream_tunnel",
)
"""The compiled modules.  All other modules remain Python source in every build."""


def build_name() -> str:
    """Return the build of this installation: C{"compiled"}, C{"pure"}, or C{"mixed"}, which no installer makes."""
    specs = map(find_spec, COMPILED)
    kinds = {spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES)) for spec in specs}
    if len(kinds) > 1:
        return "mixed"
    return "compiled" if kinds == {True} else "pure"
