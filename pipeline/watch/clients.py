"""Series of the connections to the brokers: how long quotas throttled them, and when their certificate expires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.kafka.certificates import end_of
from pipeline.kafka.throttling import Throttling, throttling
from pipeline.settings import Settings
from pipeline.watch.metrics import NAMESPACE, Metrics, Series

THROTTLED: Final = Series(
    f"{NAMESPACE}_kafka_throttled_seconds_total",
    "counter",
    "How long the brokers said that they held this process back, since its user or client id is over a quota.",
    ("request",),
)
CERTIFICATE: Final = Series(
    f"{NAMESPACE}_kafka_certificate_ends_timestamp_seconds",
    "gauge",
    "When the client certificate in its file ends, in unix seconds; only with mutual TLS.",
)


class _Clients(Collector):
    """Reads the values at each scrape: from all clients of the process, and from the certificate's file."""

    def __init__(self, certfile: Path | None, quotas: Throttling) -> None:
        self._certfile = certfile
        self._quotas = quotas

    def describe(self) -> Iterable[Metric]:
        return self._families({}, None)

    def collect(self) -> Iterable[Metric]:
        return self._families(self._quotas.seconds, end_of(self._certfile))

    def _families(self, throttled: Mapping[str, float], ends: datetime | None) -> Iterable[Metric]:
        seconds = CounterMetricFamily(THROTTLED.name, THROTTLED.text, labels=THROTTLED.labels)
        for request, value in throttled.items():
            seconds.add_metric([request], value)
        certificate = GaugeMetricFamily(CERTIFICATE.name, CERTIFICATE.text)
        if ends is not None:
            certificate.add_metric([], ends.timestamp())
        return [seconds, certificate]


def show_clients(metrics: Metrics, settings: Settings, quotas: Throttling = throttling) -> None:
    """Register the series."""
    metrics.collect(_Clients(settings.kafka_ssl_certfile, quotas), THROTTLED, CERTIFICATE)
