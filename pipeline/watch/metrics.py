"""One Prometheus registry a process, filled by observers.

The core of a room builds one frozen record of what happened and hands it to its observers; `Metrics` is such an
observer. A room registers, by the record's class, a small handler that turns it into series. No counter is touched
inside logic, and a record without a handler costs next to nothing.

A labelled series that appears with its first event begins at 1, and neither `increase` nor `rate` sees that event. So
where the values of a label are known, they are passed as `begins`, and the series exist at 0 from the start.

A label must have few values, whatever is sent to us: a value from outside (types, statuses, kinds of facts) is a label
if it is known, else it is counted under `OTHER`.

Each process has the standard `process_*` and `python_gc_*` beside its own. `dodo-cio metrics` prints all of them, and
docs/metrics.md is made of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pipeline import __version__
from pipeline.observers import ObserverFailed
from pipeline.settings import Stage
from pipeline.tasks import ASYNCIO, DECLARED, TaskFailed

NAMESPACE: Final = "dodo_cio"
"""Prefix of every series of ours; `process_*` and `python_gc_*` keep the names that dashboards know."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RECORDS: Final = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)

OTHER: Final = "other"
"""The label for all unknown values: a label's values must be few, whatever a sender writes."""

Kind = Literal["counter", "gauge", "histogram", "info"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Series:
    """A metric as it is scraped: its whole name, what it measures, and its labels."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


class Metrics:
    """The registry of one process, and the observer that feeds it.

    Call it with a record of what happened: the handlers registered for the record's class run, others do not. A handler
    runs on the event loop and must not block.
    """

    def __init__(self, stage: Stage) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which Prometheus does not need
        self.stage = stage
        self.registry = CollectorRegistry()
        self.series: list[Series] = []
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        text = "Version and stage of this process."
        Info("build", text, namespace=NAMESPACE, registry=self.registry).info({"version": __version__, "stage": stage})
        self._declare("build_info", "info", text, ("version", "stage"))
        ended = self.counter(
            "background_task_failures",
            "Background tasks that ended untold, by task; they are started again, or the process ends.",
            ["task"],
            begins=[(task,) for task in sorted({ASYNCIO, *DECLARED})],
        )
        self._failures = self.counter(
            "observer_failures",
            "Observers that raised over an event, by its class: bugs in what watches; the log says which observer.",
            ["event_class"],
        )
        self.on(TaskFailed, lambda event: ended.labels(event.task).inc())
        self.on(ObserverFailed, lambda event: self._failures.labels(event.event_class).inc())

    def __call__(self, record: object) -> None:
        """Count what happened."""
        for handle in self._handlers.get(type(record), ()):
            handle(record)

    def on(self, kind: type[R], handle: Callable[[R], None]) -> None:
        """Call `handle` with every record of exactly the class `kind`."""
        self._handlers.setdefault(kind, []).append(handle)
        self._failures.labels(kind.__name__)

    def counter(
        self, name: str, text: str, labels: Sequence[str] = (), *, begins: Iterable[Sequence[str]] = ()
    ) -> Counter:
        """A counter `dodo_cio_<name>_total`; those of its series whose label values are `begins` exist at 0."""
        self._declare(f"{name}_total", "counter", text, labels)
        counter = Counter(name, text, labels, namespace=NAMESPACE, registry=self.registry)
        # Each look-up takes a lock and makes texts of all values; a counter's series never go.
        counter.labels = lru_cache(maxsize=None, typed=True)(counter.labels)  # type: ignore[method-assign]
        for values in begins:
            counter.labels(*values)
        return counter

    def gauge(self, name: str, text: str, labels: Sequence[str] = (), *, begins: Iterable[Sequence[str]] = ()) -> Gauge:
        """A gauge `dodo_cio_<name>`; `begins` as for a counter."""
        self._declare(name, "gauge", text, labels)
        gauge = Gauge(name, text, labels, namespace=NAMESPACE, registry=self.registry)
        for values in begins:
            gauge.labels(*values)
        return gauge

    def histogram(self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
        """A histogram `dodo_cio_<name>`; the unit is the name's last word."""
        self._declare(name, "histogram", text, labels)
        return Histogram(name, text, labels, namespace=NAMESPACE, registry=self.registry, buckets=buckets)

    def collect(self, collector: Collector, *series: Series) -> None:
        """Series that `collector` reads at each scrape; their names come with the prefix (`NAMESPACE`)."""
        self.registry.register(collector)
        self.series += series

    def _declare(self, name: str, kind: Kind, text: str, labels: Sequence[str]) -> None:
        self.series.append(Series(f"{NAMESPACE}_{name}", kind, text, tuple(labels)))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in the format that the `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
