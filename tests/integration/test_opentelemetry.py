"""The export of traces, metrics and logs to a collector, with OTLP over HTTP."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.processes import free_port

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
CLIENT = ("-H", f"traceparent: {TRACEPARENT}", "-H", "tracestate: vendor=1")


class Server:
    """An HTTP server of a test."""

    def __init__(self, respond: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, bytes]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                status, body = respond(self, content)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # The proxy may have ended while this server did not respond.
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Collector(Server):
    """Receives OTLP over HTTP.

    @ivar metrics: the last metrics of each process, by the name of the metric.
    @ivar release: a collector that hangs waits for this event.
    """

    def __init__(self, *, hangs: bool = False) -> None:
        self.spans: list[Span] = []
        self.logs: list[Any] = []
        self.metrics: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.resources: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.requests = 0
        self.release = Event()
        self._hangs = hangs
        super().__init__(self._receive)

    def _receive(self, handler: BaseHTTPRequestHandler, content: bytes) -> tuple[int, bytes]:
        self.requests += 1
        if self._hangs:
            self.release.wait(60)
            return 200, b""
        self.headers.append(handler.headers)
        message: Any
        if handler.path == "/v1/traces":
            message = ExportTraceServiceRequest.FromString(content)
            for resource in message.resource_spans:
                self._keep(resource.resource)
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif handler.path == "/v1/logs":
            message = ExportLogsServiceRequest.FromString(content)
            for resource in message.resource_logs:
                self._keep(resource.resource)
                self.logs += [record for scope in resource.scope_logs for record in scope.log_records]
        else:
            message = ExportMetricsServiceRequest.FromString(content)
            for resource in message.resource_metrics:
                self._keep(resource.resource)
                process = self.metrics[attributes(resource.resource)["service.instance.id"]]
                process.update({each.name: each for scope in resource.scope_metrics for each in scope.metrics})
        return 200, b""

    def _keep(self, resource: Any) -> None:
        self.resources.append(attributes(resource))


def value_of(value: Any) -> Any:
    """Return a value of OTLP as a value of Python."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {each.key: value_of(each.value) for each in value.kvlist_value.values}
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def attributes(message: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource."""
    return {each.key: value_of(each.value) for each in message.attributes}


class TelemetryTests(IntegrationTestCase):
    """A collector receives the spans, the metrics and the logs of requests."""

    def collector(self, **options: bool) -> Collector:
        collector = Collector(**options)
        self.addCleanup(collector.stop)
        self.addCleanup(collector.release.set)
        return collector

    def start_traced(self, collector: Collector, *options: str, **env: str) -> Proxy:
        """Start a proxy that exports to a collector."""
        timing = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50"}
        given: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **timing, **env}
        return self.start_proxy(*options, **given)

    def authorizer(self) -> tuple[str, list[Any]]:
        """Start an authorization service that allows everything.

        @return: its URL, and the header fields of its requests.
        """
        seen: list[Any] = []

        def allow(handler: BaseHTTPRequestHandler, content: bytes) -> tuple[int, bytes]:
            seen.append(handler.headers)
            return 200, b'{"allowed": true, "reason": "yes"}'

        server = Server(allow)
        self.addCleanup(server.stop)
        return server.url, seen

    def spans(self, collector: Collector, number: int) -> dict[str, Span]:
        """Return the spans by name, as soon as there are this many."""
        self.wait_until(lambda: len(collector.spans) >= number, f"{number} spans")
        self.assertEqual(len(collector.spans), number, [span.name for span in collector.spans])
        # The span of the exchange and the span of the request to the origin have one name.
        return {f"{span.name} {Span.SpanKind.Name(span.kind)[10:].lower()}": span for span in collector.spans}

    def echoed(self, proxy: Proxy, *arguments: str) -> dict[str, str]:
        """Send a request to an origin that returns the header fields that it received."""
        status, content = self.fetch(proxy, self.origins.https_url("/echo?token=hunter2"), *CLIENT, *arguments)
        self.assertEqual(status, 200)
        headers: dict[str, str] = json.loads(content)["headers"]
        return headers

    def test_spans_of_a_request(self) -> None:
        collector = self.collector()
        url, asked = self.authorizer()
        proxy = self.start_traced(collector, "--authz-url", url, OTEL_EXPORTER_OTLP_HEADERS="x-key=secret")
        before = time.time_ns()
        received = self.echoed(proxy)
        spans = self.spans(collector, 6)
        names = ["GET server", "decision client", "dns internal", "connect internal", "tls internal", "GET client"]
        self.assertEqual(list(spans), names)
        server = spans["GET server"]
        self.assertEqual((server.parent_span_id.hex(), server.trace_state), (PARENT, "vendor=1"))
        for span in spans.values():
            self.assertEqual(span.trace_id.hex(), TRACE)
            if span is not server:
                self.assertEqual(span.parent_span_id, server.span_id)
            self.assertLessEqual(server.start_time_unix_nano, span.start_time_unix_nano)
            self.assertLessEqual(span.start_time_unix_nano, span.end_time_unix_nano)
            self.assertLessEqual(span.end_time_unix_nano, server.end_time_unix_nano)
        self.assertLessEqual(before, server.start_time_unix_nano)
        self.assertLess(server.end_time_unix_nano, time.time_ns())
        ends = [(spans[name].start_time_unix_nano, spans[name].end_time_unix_nano) for name in names[1:]]
        self.assertEqual(ends, sorted(ends))
        self.assertTrue(all(start < end for start, end in ends), ends)
        found = attributes(server)
        self.assertEqual(found["url.full"], self.origins.https_url("/echo?token=REDACTED"))
        self.assertEqual((found["http.request.method"], found["http.response.status_code"]), ("GET", 200))
        self.assertEqual((found["server.address"], found["server.port"]), ("localhost", self.origins.https))
        self.assertEqual((found["egress.verdict"], found["egress.reason"]), ("allow", "yes"))
        (record,) = self.records(proxy, 1)
        self.assertEqual(found["egress.request.id"], record["requestId"])
        # The authorization service continues the trace; the origin receives what the client sent.
        parent = f"00-{TRACE}-{spans['decision client'].span_id.hex()}-01"
        self.assertEqual([(each["traceparent"], each["tracestate"]) for each in asked], [(parent, "vendor=1")])
        self.assertEqual((received["traceparent"], received["tracestate"]), (TRACEPARENT, "vendor=1"))
        self.assertEqual(collector.headers[0]["x-key"], "secret")
        resource = collector.resources[0]
        self.assertEqual(resource["service.name"], "egressproxy")
        self.assertTrue(resource["service.instance.id"])

    def test_propagation_to_the_origin(self) -> None:
        collector = self.collector()
        proxy = self.start_traced(collector, *self.allow_all(), "--trace-propagate", OTEL_SERVICE_NAME="build-egress")
        received = self.echoed(proxy)
        spans = self.spans(collector, 6)
        self.assertEqual(received["traceparent"], f"00-{TRACE}-{spans['GET client'].span_id.hex()}-01")
        self.assertEqual(received["tracestate"], "vendor=1")
        self.assertIn("decision internal", spans)
        self.assertEqual(collector.resources[0]["service.name"], "build-egress")

    def test_denied(self) -> None:
        """A denial is no error; a failed connection is one."""
        collector = self.collector()
        policy = self.write("deny.toml", 'version = 1\n[[rules]]\nid = "no"\naction = "deny"\nreason = "no"\n')
        proxy = self.start_traced(collector, "--policy", str(policy))
        self.assert_problem(proxy, self.origins.http_url("/"), 403, "authz")
        spans = self.spans(collector, 2)
        server = attributes(spans["GET server"])
        self.assertEqual((server["egress.rule.id"], server["error.type"]), ("no", "denied"))
        self.assertEqual(spans["GET server"].status.code, Status.STATUS_CODE_UNSET)
        self.assertEqual(spans["GET server"].parent_span_id, b"")

    def test_not_sampled(self) -> None:
        collector = self.collector()
        options = (*self.allow_all(), "--trace-propagate")
        proxy = self.start_traced(collector, *options, OTEL_LOGS_EXPORTER="otlp", OTEL_TRACES_SAMPLER="always_off")
        received = self.echoed(proxy)
        self.wait_until(lambda: collector.logs, "log records")
        self.assertRegex(received["traceparent"], f"00-{TRACE}-[0-9a-f]{{16}}-00")
        proxy.process.stop()
        self.assertEqual(collector.spans, [])

    def test_metrics_and_logs(self) -> None:
        collector = self.collector()
        proxy = self.start_traced(
            collector, *self.allow_all(), OTEL_LOGS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="100"
        )
        self.echoed(proxy)
        self.wait_until(lambda: collector.logs, "log records")
        (log,) = collector.logs
        (record,) = self.records(proxy, 1)
        body = value_of(log.body)
        self.assertEqual(
            {name: body[name] for name in ("requestId", "url", "verdict", "status", "durationMs")},
            {name: record[name] for name in ("requestId", "url", "verdict", "status", "durationMs")},
        )
        server = next(span for span in self.spans(collector, 6).values() if span.kind == Span.SPAN_KIND_SERVER)
        self.assertEqual((log.trace_id.hex(), log.span_id), (TRACE, server.span_id))
        self.assertEqual((log.severity_text, log.event_name), ("INFO", "egress.exchange"))

        def families(name: str) -> list[Any]:
            """Return a metric of each process."""
            return [found[name] for found in list(collector.metrics.values()) if name in found]

        def counted() -> float:
            points = [point for each in families("egress_decisions") for point in each.sum.data_points]
            return sum(float(point.as_double) for point in points if attributes(point).get("verdict") == "allow")

        self.wait_until(lambda: counted() == 1, "metrics")
        # With workers, the supervisor exports its own metrics, too.
        processes = 1 + len(proxy.workers)
        self.wait_until(lambda: len(collector.metrics) == processes, "metrics of each process")
        self.assertEqual(len(families("egress_workers")), 1 if proxy.workers else 0)
        histograms = families("egress_exchange_seconds")
        self.assertEqual({each.unit for each in histograms}, {"s"})
        self.assertEqual(sum(each.histogram.data_points[0].count for each in histograms), 1)

    def test_a_hanging_collector(self) -> None:
        """It costs spans, and neither requests nor the end of the proxy."""
        collector = self.collector(hangs=True)
        metrics_port = free_port()
        proxy = self.start_traced(
            collector,
            *self.allow_all(),
            "--metrics-port",
            str(metrics_port),
            OTEL_BSP_MAX_QUEUE_SIZE="2",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1",
            OTEL_METRICS_EXPORTER="none",
        )
        self.echoed(proxy)
        self.wait_until(lambda: collector.requests, "an export")
        begun = time.monotonic()
        urls = [self.origins.https_url("/files/hello.txt")] * 40
        done = self.curl(proxy, *urls)
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n" * 40))
        self.assertLess(time.monotonic() - begun, 10)
        self.wait_until(lambda: self.dropped(metrics_port) >= 30, "dropped spans")
        begun = time.monotonic()
        proxy.process.stop()
        self.assertLess(time.monotonic() - begun, 8)

    def dropped(self, port: int) -> float:
        """Return the metric of spans that were not exported."""
        done = self.run_program("curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}/metrics")
        lines = [line for line in done.stdout.splitlines() if line.startswith("egress_telemetry_dropped_total{")]
        return sum(float(line.split()[-1]) for line in lines if 'signal="traces"' in line)

    def test_an_absent_collector(self) -> None:
        collector = Collector()
        collector.stop()
        proxy = self.start_traced(collector, *self.allow_all(), OTEL_EXPORTER_OTLP_TIMEOUT="1")
        self.echoed(proxy)
        self.wait_until(lambda: "OpenTelemetry: traces were not exported" in proxy.process.output(), "the message")

    def test_off(self) -> None:
        """A proxy that exports nothing does not import the SDK."""
        collector = self.collector()
        program = (
            "import sys; from twisted.internet import reactor; from egress.config.model import ProxyConfig; "
            "from egress.service import EgressProxyService as S; from egress.model.trace import Otel; "
            f"S(reactor, ProxyConfig(ca_dir={str(self.directory / 'ca')!r}, otel=Otel(sys.argv[1]))); "
            "print(any(name.startswith('opentelemetry') for name in sys.modules))"
        )
        cases: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("auto", {}, "False"),
            ("off", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, "False"),
            ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SDK_DISABLED": "true"}, "False"),
            ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, "True"),
        )
        for mode, env, expected in cases:
            with self.subTest(mode, **env):
                done = self.run_program(sys.executable, "-c", program, mode, PYTHONPATH=".", **env)
                self.assertEqual((done.stdout.strip(), done.stderr), (expected, ""))
