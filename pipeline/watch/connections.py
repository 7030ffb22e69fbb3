"""The series of a process's HTTP port."""

from __future__ import annotations

from typing import get_args

from pipeline.http.events import ConnectionEnded, ConnectionsCounted, DescriptorsExhausted, Reason
from pipeline.watch.metrics import Metrics


def observe_connections(metrics: Metrics) -> None:
    """Register the handlers of the HTTP server's records."""
    opened = metrics.gauge("http_connections", "Connections that are open at the HTTP port.")
    most = metrics.gauge("http_connections_limit", "How many there may be.")
    ended = metrics.counter(
        "http_connections_ended",
        "Connections that we ended before their client did: one made room for another (evicted), came too late, …",
        ["reason"],
        begins=[(reason,) for reason in get_args(Reason)],
    )
    failed = metrics.counter("http_accept_failures", "Connections that found no file descriptor.")

    def count(event: ConnectionsCounted) -> None:
        opened.set(event.open)
        most.set(event.limit)

    metrics.on(ConnectionsCounted, count)
    metrics.on(ConnectionEnded, lambda event: ended.labels(event.reason).inc())
    metrics.on(DescriptorsExhausted, lambda _: failed.inc())
