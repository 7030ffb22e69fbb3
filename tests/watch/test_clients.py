"""What a scrape shows of the connections to the brokers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka.throttling import Throttling
from pipeline.settings import Settings
from pipeline.watch.clients import CERTIFICATE, THROTTLED, show_clients
from pipeline.watch.metrics import Metrics
from tests.kafka.conftest import Authority


def test_throttled_seconds() -> None:
    """By kind of request, from 0 on."""
    quotas, metrics = Throttling(), Metrics("sink")
    show_clients(metrics, Settings.load(), quotas)
    assert metrics.registry.get_sample_value(THROTTLED.name, {"request": "produce"}) == 0
    quotas.answered(MetadataRequest([]), SimpleNamespace(throttle_time_ms=1500), "dodo-cio")
    assert metrics.registry.get_sample_value(THROTTLED.name, {"request": "other"}) == 1.5


def test_the_certificate(tmp_path: Path) -> None:
    """Its end, of the file as it is at the scrape; no series without mutual TLS."""
    authority, metrics, without = Authority(tmp_path / "authority"), Metrics("sink"), Metrics("sink")
    one = authority.issue("one")
    show_clients(metrics, Settings.load(kafka_security_protocol="SSL", kafka_ssl_certfile=one.pem))
    show_clients(without, Settings.load())
    ends_s = one.certificate.not_valid_after_utc.timestamp()
    assert metrics.registry.get_sample_value(CERTIFICATE.name) == ends_s
    assert without.registry.get_sample_value(CERTIFICATE.name) is None
