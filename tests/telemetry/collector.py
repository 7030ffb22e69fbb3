"""A stand-in for an OpenTelemetry collector: takes traces by OTLP over HTTP, as the protocol's own messages say."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATH = "/v1/traces"


@dataclass(frozen=True)
class Seen:
    """A span that arrived, and the service that sent it."""

    service: str
    span: Span

    @property
    def trace(self) -> str:
        """The trace's id, in hexadecimal digits."""
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, str | int | bool]:
        """By name."""
        return {
            one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in self.span.attributes
        }


@dataclass
class Collector:
    """What arrived so far; `status` is what it answers."""

    url: str = ""
    status: int = 200
    spans: list[Seen] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    raw: bytes = b""
    close: Callable[[], None] = lambda: None

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.paths.add(path)
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Seen(names["service.name"], span) for span in scope.spans]

    def of(self, trace: str) -> list[Seen]:
        """The spans of one trace."""
        return [one for one in self.spans if one.trace == trace]


@contextmanager
def collecting() -> Iterator[Collector]:
    """One on a free port; `close` ends it early, and its port refuses connections from then on."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.status == 200:
                collector.take(self.path, body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def close() -> None:
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    collector.close = close
    try:
        yield collector
    finally:
        close()
