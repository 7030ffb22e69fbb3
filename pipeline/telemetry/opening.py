"""Turns tracing on where an endpoint is set: only then is the SDK imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.extras import OTEL
from pipeline.settings import Settings, Stage
from pipeline.telemetry.counts import SpanCounts

if TYPE_CHECKING:
    from pipeline.telemetry.traces import Traces

OF_THE_EXTRA: Final = ("opentelemetry", "google", "requests")
"""Top-level packages that the extra installs."""


def open_traces(settings: Settings, stage: Stage) -> Traces | None:
    """The process's spans; None where no endpoint is set.

    Raises:
        SettingsError: an endpoint is set, and the SDK is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from pipeline.telemetry.traces import Traces
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_THE_EXTRA:
            raise
        raise OTEL.lacking() from None
    return Traces(settings, stage)


def counts_of(traces: Traces | None) -> SpanCounts:
    """The counts of spans; all 0 where tracing is off."""
    return SpanCounts() if traces is None else traces.counts
