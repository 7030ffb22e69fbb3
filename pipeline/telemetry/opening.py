"""Whether spans are made at all: the SDK is imported where an endpoint is set, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.extras import OTEL
from pipeline.settings import Settings, Stage
from pipeline.telemetry.counts import SpanCounts

if TYPE_CHECKING:
    from pipeline.telemetry.traces import Traces

OF_THE_EXTRA: Final = ("opentelemetry", "google", "requests")
"""Roots of what the extra installs."""


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
    """What became of spans; nothing where there are none."""
    return SpanCounts() if traces is None else traces.counts
