"""One Prometheus registry a process, filled by observers.

The core of a room builds one frozen record of what happened and hands it to its observers; `Metrics` is such an
observer. A room registers, by the record's class, a small handler that turns it into series. No counter is touched
inside logic, and a room without a handler costs nothing.

Every process has `dodo_cio_build_info` (version, stage), `dodo_cio_ready` and `dodo_cio_live` (the probes' verdicts,
1 or 0), `dodo_cio_event_loop_lag_seconds` (`loop`), `dodo_cio_observer_failures_total` (event_class: observers that
raised over such an event; the log says which), `dodo_cio_background_task_failures_total` by task (`tasks`) and the
standard `process_*` and `python_gc_*`. Workers have the series of `transport`; each stage documents its own in its
`metrics` module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from pipeline import __version__
from pipeline.observers import ObserverFailed
from pipeline.settings import Stage
from pipeline.tasks import TaskFailed

NAMESPACE: Final = "dodo_cio"
"""Prefix of every series of ours; `process_*` and `python_gc_*` keep the names that dashboards know."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RECORDS: Final = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)

R = TypeVar("R")


class Metrics:
    """The registry of one process, and the observer that feeds it.

    Call it with a record of what happened: the handlers registered for the record's class run, others do not. A handler
    runs on the event loop and must not block.
    """

    def __init__(self, stage: Stage) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which Prometheus does not need
        self.stage = stage
        self.registry = CollectorRegistry()
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        failures = self.counter("background_task_failures", "Background tasks that ended untold, by task.", ["task"])
        self.on(TaskFailed, lambda event: failures.labels(event.task).inc())
        Info("build", "Version and stage of this process.", namespace=NAMESPACE, registry=self.registry).info(
            {"version": __version__, "stage": stage}
        )
        failures = self.counter("observer_failures", "Observers that raised, by class of event.", ["event_class"])
        self.on(ObserverFailed, lambda event: failures.labels(event.event_class).inc())

    def __call__(self, record: object) -> None:
        """Count what happened."""
        for handle in self._handlers.get(type(record), ()):
            handle(record)

    def on(self, kind: type[R], handle: Callable[[R], None]) -> None:
        """Let `handle` see every record of exactly the class `kind`."""
        self._handlers.setdefault(kind, []).append(handle)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A counter `dodo_cio_<name>_total`."""
        return Counter(name, text, labels, namespace=NAMESPACE, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A gauge `dodo_cio_<name>`."""
        return Gauge(name, text, labels, namespace=NAMESPACE, registry=self.registry)

    def histogram(self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
        """A histogram `dodo_cio_<name>`; the unit is the name's last word."""
        return Histogram(name, text, labels, namespace=NAMESPACE, registry=self.registry, buckets=buckets)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in the format that the `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
