"""The state of a sandbox, which a reset clears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.faults import FaultScript
from pipeline.customerio.sandbox.rates import SlidingSecond
from pipeline.customerio.sandbox.requests import RequestLog
from pipeline.customerio.sandbox.workspace import Workspace

WORST_PEOPLE: Final = 20
"""People named in the statistics when their order went backwards."""


class Sandbox:
    """The state of one sandbox; `closing` ends every pause that a fault script or latency makes."""

    def __init__(self, config: SandboxConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.clock = clock
        self.script = FaultScript(config.faults)
        self.closing = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Forget people, events, requests and counts; the fault script stays as it stands."""
        self.started_s = time.time()
        self.workspace = Workspace(self.config)
        self.requests = RequestLog(self.config.keep_requests)
        self.rate = SlidingSecond()

    def stats(self) -> dict[str, Any]:
        """Counts of everything since the start or the last reset.

        `operations` counts every operation of the requests that were processed, repetitions included; `accepted` and
        `refused` add up to it. `duplicates` are events whose id was known. `order_violations` are first deliveries with
        a lower value of `order_by` than an earlier one of the same person.
        """
        requests, workspace = self.requests, self.workspace
        events = workspace.events
        return {
            "uptime_s": round(time.time() - self.started_s, 3),
            "requests": requests.total,
            "statuses": {str(status): count for status, count in sorted(requests.statuses.items())},
            "dropped": requests.dropped,
            "bytes": requests.size_bytes,
            "operations": requests.operations,
            "accepted": requests.accepted,
            "refused": requests.refused,
            "refusals": dict(requests.reasons.most_common()),
            "actions": dict(workspace.actions.most_common()),
            "events": events.stored,
            "events_kept": len(events),
            "event_names": dict(events.names.most_common()),
            "duplicates": events.duplicates,
            "identifies_ignored": workspace.people.ignored_as_older,
            "suppressed_ignored": workspace.ignored_as_suppressed,
            "people": len(workspace.people),
            "objects": len(workspace.objects),
            "deliveries": workspace.deliveries,
            "order_by": self.config.order_by,
            "order_violations": events.backwards.total(),
            "order_violations_by_person": dict(events.backwards.most_common(WORST_PEOPLE)),
            "max_requests_per_second": self.rate.most,
            "largest_batch": requests.largest_batch,
            "largest_body_bytes": requests.largest_body_bytes,
            "hints": dict(workspace.hints.most_common()),
        }
