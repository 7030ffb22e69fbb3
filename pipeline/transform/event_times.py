"""The two clocks of a webhook: when its event happened, and when its data was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.transform.timestamps import plausible_ms
from pipeline.transform.verdicts import Delivery

MIN_SECONDS: Final = 1_000_000_000
MAX_SECONDS: Final = 100_000_000_000
"""A `webhook-timestamp` outside 2001 to 5138 is no unix time in seconds."""


@dataclass(slots=True, init=False)
class EventTimes:
    """When things were.

    `occurred_ms` is the body's own time, None when it is unusable. `event_ms` is what the event goes out with: that
    time, else the attempt's, else the reception's. `snapshot_s` is the moment that `data` shows, since the body is read
    anew at each delivery attempt. Where nothing had a time `event_ms` is None and `snapshot_s` 0.
    """

    occurred_ms: int | None
    event_ms: int | None
    snapshot_s: int

    def __init__(self, occurred_ms: int | None, event_ms: int | None, snapshot_s: int) -> None:
        self.occurred_ms = occurred_ms
        self.event_ms = event_ms
        self.snapshot_s = snapshot_s


def event_times_of(timestamp: str | None, delivery: Delivery) -> EventTimes:
    """The times of a webhook whose body has this `timestamp`."""
    occurred_ms = plausible_ms(timestamp)
    attempt_s = delivery.attempt_at_s
    if attempt_s is not None and MIN_SECONDS <= attempt_s < MAX_SECONDS:
        delivered_ms: int | None = attempt_s * 1000
    else:
        delivered_ms = delivery.received_at_ms
        if delivered_ms is not None and not MIN_SECONDS <= delivered_ms // 1000 < MAX_SECONDS:
            delivered_ms = None
    event_ms = occurred_ms if occurred_ms is not None else delivered_ms
    snapshot_ms = delivered_ms if delivered_ms is not None else occurred_ms
    return EventTimes(occurred_ms, event_ms, (snapshot_ms or 0) // 1000)
