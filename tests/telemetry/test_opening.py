"""Off is off: without an endpoint nothing of OpenTelemetry is imported, and without the SDK an endpoint is a fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.telemetry.counts import SpanCounts
from pipeline.telemetry.opening import counts_of, open_traces

ENDPOINT = "http://127.0.0.1:4318"
WIRED = """
import sys
from pipeline.cli.metrics import metrics_of
for stage in ("ingest", "transform", "sink"):
    metrics_of(stage)
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_without_an_endpoint_the_sdk_is_not_imported() -> None:
    """All three stages are wired, and no module of OpenTelemetry is there."""
    done = subprocess.run([sys.executable, "-c", WIRED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert open_traces(Settings.load(), "sink") is None
    assert counts_of(None) == SpanCounts()


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.exporter.otlp.proto.http.trace_exporter"])
def test_an_endpoint_without_the_sdk_is_a_fault(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named, and what to install."""
    monkeypatch.delitem(sys.modules, "pipeline.telemetry.traces", raising=False)
    for name in [name for name in sys.modules if name.startswith(missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match=r"PIPELINE_OTLP_ENDPOINT.*pip install 'dodo-customerio\[otel\]'"):
        open_traces(Settings.load(otlp_endpoint=ENDPOINT), "ingest")


@pytest.mark.parametrize("value", ["collector:4318", "grpc://collector:4317", "http://", "http:// x"])
def test_an_endpoint_is_an_address(value: str) -> None:
    """Anything else is refused at the start, by the setting's name."""
    with pytest.raises(SettingsError, match="PIPELINE_OTLP_ENDPOINT"):
        Settings.load(otlp_endpoint=value)


@pytest.mark.parametrize("value", ["-0.1", "1.1", "1%"])
def test_a_ratio_is_a_share(value: str) -> None:
    """From 0 to 1."""
    with pytest.raises(SettingsError, match="PIPELINE_TRACE_RATIO"):
        Settings.load(trace_ratio=value)
