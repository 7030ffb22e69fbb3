"""What is expected of the demo is what its stages do, whatever the shell has."""

from __future__ import annotations

import pytest

from pipeline.demo.chain import settings_of
from pipeline.settings import Settings


def test_the_callers_settings_are_not_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment the way to the brokers and to the collector count, and nothing else, right or wrong."""
    expected = settings_of({"SINK_GROUP": "demo-1"})
    for name, value in {
        "PERSON_ID": "email", "RULES": "/nowhere/rules.yaml", "MERGE_ON_EMAIL_CHANGE": "true", "LANES": "-3",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092", "TRACE_RATIO": "0.25",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PIPELINE_{name}", value)
    found = settings_of({"SINK_GROUP": "demo-1"})
    changed = {name for name in Settings.model_fields if getattr(found, name) != getattr(expected, name)}
    assert changed == {"kafka_bootstrap_servers", "trace_ratio"}
    assert (found.kafka_bootstrap_servers, found.trace_ratio, found.sink_group) == ("kafka-1:9092", 0.25, "demo-1")
