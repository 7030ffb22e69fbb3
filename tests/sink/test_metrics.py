"""The sink's series."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pipeline.kafka.fetched import FetchedRecord
from pipeline.sink import events
from pipeline.sink.metrics import observe_sink, show_sink
from pipeline.watch.metrics import Metrics

Virtual = Callable[[Any], Any]


def test_series(virtual: Virtual, api: Any, make: Any) -> None:
    """What happened is in the series, and so is the state of the sink at the scrape."""
    registry = Metrics("sink")
    observe_sink(registry, 2)
    api.script = [api.status(401)] * 4 + [
        api.status(429, headers={"Retry-After": "9"}),
        api.silent,
        api.refuse(0),
        api.ok,
    ]
    api.last = api.silent
    rig = make.rig(api, lanes=1)

    async def scenario() -> str:
        async with rig:
            rig.sink._observers = (*rig.sink._observers, registry)
            show_sink(registry, rig.sink)
            await rig.take(make.record("ann", 0), make.record("ann", 1))
            await asyncio.sleep(3)
            assert 'dodo_cio_held{cause="credentials"} 1.0' in registry.render()[0].decode()
            await rig.settled()
            await rig.take(make.record("ann", 2))
            await asyncio.sleep(1)
            return registry.render()[0].decode()

    lines = set(virtual(scenario()).splitlines())
    for line in (
        "dodo_cio_operations_accepted_total 1.0",
        'dodo_cio_requests_total{outcome="unauthorized",status="401"} 4.0',
        'dodo_cio_requests_total{outcome="retry",status="429"} 1.0',
        'dodo_cio_requests_total{outcome="unanswered",status="none"} 1.0',
        'dodo_cio_requests_total{outcome="partly-refused",status="207"} 1.0',
        'dodo_cio_batches_total{cause="idle"} 2.0',
        'dodo_cio_dead_letters_total{class="refused",stage="sink"} 1.0',
        'dodo_cio_holds_total{cause="credentials"} 1.0',
        'dodo_cio_holds_total{cause="retry-after"} 1.0',
        'dodo_cio_held{cause="credentials"} 0.0',
        'dodo_cio_held{cause="outage"} 0.0',
        'dodo_cio_lane_budget_bytes{lane="0"} 499998.0',
        "dodo_cio_request_budget_share_per_second 1000.0",
        "dodo_cio_request_budget_per_second 550.0",
        "dodo_cio_request_rate_factor 0.55",
        "dodo_cio_request_throttled_total 1.0",
        "dodo_cio_request_turn_seconds_count 9.0",
    ):
        assert line in lines, line
    taken = next(float(line.split()[1]) for line in lines if line.startswith("dodo_cio_memory_taken_bytes"))
    assert taken > 0
    oldest = next(float(line.split()[1]) for line in lines if line.startswith("dodo_cio_oldest_undelivered_seconds"))
    assert oldest >= 0


def test_leases() -> None:
    """What is lent and what is borrowed are counted apart, each time that it changes."""
    registry = Metrics("sink")
    observe_sink(registry, 1)
    for lent, borrowed in ((20.0, 0.0), (20.0, 5.0), (0.0, 9.0), (0.0, 0.0)):
        registry(events.LeasesChanged(lent, borrowed, 25.0 - lent + borrowed))
    counted = registry.registry.get_sample_value
    assert counted("dodo_cio_request_budget_leases_total", {"side": "lent"}) == 2
    assert counted("dodo_cio_request_budget_leases_total", {"side": "borrowed"}) == 3


def test_every_event_is_counted() -> None:
    """Every event of the sink moves a series, but for two that only say that something goes on."""
    registry = Metrics("sink")
    observe_sink(registry, 1)
    counted = {kind.__name__ for kind in registry._handlers}
    assert {kind.__name__ for kind in events.SinkEvent.__args__} - counted == {"StillHeld", "MembershipAwaited"}


def test_how_long_operations_took() -> None:
    """Each accepted operation counts once since its webhook's reception and once since its record; headers that other
    producers wrote, or none, spoil nothing."""  # noqa: D205, D209 - one promise
    registry = Metrics("sink")
    observe_sink(registry, 1)
    now_ms = int(time.time() * 1000)

    def record(received_at: bytes | None, written_ms: int, before: int = 0) -> Any:
        headers: list[Any] = [("webhook-id", b"msg_1"), *[("op-id", b"1790000000000")] * before]
        if received_at is not None:
            headers.append(("received-at", received_at))
        return FetchedRecord("operations", 0, 0, written_ms, 0, b"k", b"{}", headers)

    records = [
        record(b"%d" % (now_ms - 40_000), now_ms - 20_000),
        record(b"%d" % (now_ms + 9_000), now_ms - 20_000),
        record(None, now_ms - 4_000),
        record(b"yesterday", -1),
        record(b"17", -1),
        record(b"%d" % (now_ms - 50_000), -1, before=3),
        FetchedRecord("operations", 0, 0, -1, 0, b"k", b"{}", [("received-at", None)]),  # type: ignore[list-item]
        record(b"%d" % (now_ms - 50_000), -1, before=1),
    ]
    registry(events.OperationsAccepted(0, len(records), 40.0, records))
    value = registry.registry.get_sample_value
    for name, count, bounds in (
        ("webhook_to_accepted", 4, {"0.01": 1, "30.0": 1, "60.0": 4}),
        ("operation_to_accepted", 3, {"2.5": 0, "5.0": 1, "10.0": 1, "30.0": 3}),
    ):
        assert value(f"dodo_cio_{name}_seconds_count") == count
        for bound, expected in bounds.items():
            assert value(f"dodo_cio_{name}_seconds_bucket", {"le": bound}) == expected, (name, bound)
