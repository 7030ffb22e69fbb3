"""The sink's series: an observer of `events`, and gauges that are read at each scrape.

| series | labels | shows |
|---|---|---|
| `dodo_cio_operations_accepted_total` | | operations that Customer.io took |
| `dodo_cio_operations_passed_over_total` | | operations from before their person was forgotten, not sent |
| `dodo_cio_delivery_age_seconds` | | age of a batch's oldest record when it was accepted |
| `dodo_cio_batches_total` | cause | batches by why they were closed: full (bytes), nothing else waits (idle), barrier |
| `dodo_cio_batch_operations`, `dodo_cio_batch_fill_ratio` | | operations of a batch, its share of the largest body |
| `dodo_cio_requests_total` | outcome, status | requests by what came of them |
| `dodo_cio_request_seconds` | outcome | time of a request |
| `dodo_cio_request_bytes_total` | | bytes of bodies, every attempt |
| `dodo_cio_retries_total` | | requests that will be sent again |
| `dodo_cio_retry_delay_seconds` | | pause before a retry |
| `dodo_cio_batch_splits_total` | | batches that were halved |
| `dodo_cio_dead_letters_total` | class, stage | records given up, by class |
| `dodo_cio_holds_total` | cause | times that all lanes were held |
| `dodo_cio_held` | cause | 1 while lanes are held: credentials or region until a person acts, outage |
| `dodo_cio_handover_operations_total` | | operations left to their partition's next owner |
| `dodo_cio_lane_budget_bytes` | lane | byte budget of a lane's requests; below the largest body while the API is slow |
| `dodo_cio_request_budget_partitions` | | partitions whose part of the workspace's rate this sink has |
| `dodo_cio_request_budget_share_per_second` | | this sink's share of the workspace's rate |
| `dodo_cio_request_budget_lent_per_second` | | what of the share others may use |
| `dodo_cio_request_budget_borrowed_per_second` | | what others lend to this sink |
| `dodo_cio_request_budget_leases_total` | side | times that what is lent, or borrowed, changed |
| `dodo_cio_request_budget_per_second` | | what may be used: the share, less lent, plus borrowed, less after 429s |
| `dodo_cio_request_budget_used_per_second` | | requests that left in the last second |
| `dodo_cio_request_rate_factor` | | what 429s have left of the share, 0 to 1 |
| `dodo_cio_request_throttled_total` | | times that a 429 halved that factor |
| `dodo_cio_request_turn_seconds` | | wait of a request for its turn in the budget |
| `dodo_cio_memory_taken_bytes` | | memory of records that wait |
| `dodo_cio_oldest_undelivered_seconds` | | age of the oldest record that holds a partition back, 0 when none does |
"""

from __future__ import annotations

import time
from functools import partial
from typing import get_args

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink import events
from pipeline.sink.holds import HoldCause
from pipeline.sink.sink import Sink
from pipeline.watch.metrics import RECORDS, SECONDS, Metrics

FILL = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
AGE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)


def observe_sink(metrics: Metrics, lanes: int) -> None:
    """Register the sink's series that are fed by events."""
    accepted = metrics.counter("operations_accepted", "Operations that Customer.io took.")
    age = metrics.histogram("delivery_age_seconds", "Age of a batch's oldest record when accepted.", buckets=AGE)

    def on_accepted(event: events.OperationsAccepted) -> None:
        accepted.inc(event.operations)
        if event.oldest_age_s is not None:
            age.observe(event.oldest_age_s)

    metrics.on(events.OperationsAccepted, on_accepted)

    _observe_passed_over(metrics)

    batches = metrics.counter("batches", "Batches by why they were closed.", ["cause"])
    size = metrics.histogram("batch_operations", "Operations of a batch.", buckets=RECORDS)
    fill = metrics.histogram("batch_fill_ratio", "A batch's share of the largest body.", buckets=FILL)

    def on_closed(event: events.BatchClosed) -> None:
        batches.labels(event.cause).inc()
        size.observe(event.operations)
        fill.observe(event.fill)

    metrics.on(events.BatchClosed, on_closed)

    requests = metrics.counter("requests", "Requests by what came of them.", ["outcome", "status"])
    took = metrics.histogram("request_seconds", "Time of a request.", ["outcome"], buckets=SECONDS)
    sent = metrics.counter("request_bytes", "Bytes of bodies, every attempt.")

    def on_request(event: events.RequestEnded) -> None:
        requests.labels(event.outcome, str(event.status or "none")).inc()
        took.labels(event.outcome).observe(event.took_s)
        sent.inc(event.body_bytes)

    metrics.on(events.RequestEnded, on_request)

    retries = metrics.counter("retries", "Requests that will be sent again.")
    delay = metrics.histogram("retry_delay_seconds", "Pause before a retry.", buckets=SECONDS)

    def on_retry(event: events.RetryPlanned) -> None:
        retries.inc()
        delay.observe(event.delay_s)

    metrics.on(events.RetryPlanned, on_retry)

    splits = metrics.counter("batch_splits", "Batches that were halved.")
    metrics.on(events.BatchSplit, lambda _: splits.inc())
    letters = metrics.counter("dead_letters", "Records given up, by class.", ["class", "stage"])
    metrics.on(events.RecordDeadLettered, lambda event: letters.labels(event.class_, metrics.stage).inc())
    given_up = metrics.counter("handover_operations", "Operations left to their partition's next owner.")
    metrics.on(events.WorkGivenUp, lambda event: given_up.inc(event.operations))

    holds = metrics.counter("holds", "Times that all lanes were held.", ["cause"])
    held = metrics.gauge("held", "1 while all lanes are held until the cause is gone.", ["cause"])
    for cause in get_args(HoldCause):
        held.labels(cause).set(0)

    def on_held(event: events.LanesHeld) -> None:
        holds.labels(event.cause).inc()
        if event.cause != "retry-after":
            held.labels(event.cause).set(1)

    metrics.on(events.LanesHeld, on_held)
    metrics.on(events.LanesReleased, lambda event: held.labels(event.cause).set(0))

    _observe_budget(metrics)
    budget = metrics.gauge("lane_budget_bytes", "Byte budget of a lane's requests.", ["lane"])
    for lane in range(lanes):
        budget.labels(str(lane)).set(BODY_MAX_BYTES)
    metrics.on(events.ByteBudgetChanged, lambda event: budget.labels(str(event.lane)).set(event.budget_bytes))


def _observe_passed_over(metrics: Metrics) -> None:
    passed_over = metrics.counter("operations_passed_over", "Operations from before their person was forgotten.")
    metrics.on(events.PassedOver, lambda event: passed_over.inc(event.operations))


def _observe_budget(metrics: Metrics) -> None:
    partitions = metrics.gauge("request_budget_partitions", "Partitions whose part of the rate this sink has.")
    metrics.on(events.BudgetShared, lambda event: partitions.set(event.own))
    leases = metrics.counter("request_budget_leases", "Times that what is lent or borrowed changed.", ["side"])
    before = {"lent": 0.0, "borrowed": 0.0}

    def on_leases(event: events.LeasesChanged) -> None:
        for side, per_second in (("lent", event.lent_per_second), ("borrowed", event.borrowed_per_second)):
            if per_second != before[side]:
                before[side] = per_second
                leases.labels(side).inc()

    metrics.on(events.LeasesChanged, on_leases)
    throttled = metrics.counter("request_throttled", "Times that a 429 halved the rate of requests.")
    turn = metrics.histogram("request_turn_seconds", "Wait of a request for its turn.", buckets=SECONDS)

    def on_factor(event: events.RateFactorChanged) -> None:
        if event.cause == "throttled":
            throttled.inc()

    metrics.on(events.RateFactorChanged, on_factor)
    metrics.on(events.TurnTaken, lambda event: turn.observe(event.waited_s))


def show_sink(metrics: Metrics, sink: Sink) -> None:
    """Register the series that are read from `sink` at each scrape."""
    metrics.gauge("memory_taken_bytes", "Memory of records that wait.").set_function(lambda: sink.memory.taken_bytes)
    for name, text, read in (
        ("request_budget_share_per_second", "This sink's share of the workspace's rate.", "share_per_second"),
        ("request_budget_lent_per_second", "What of the share others may use.", "lent_per_second"),
        ("request_budget_borrowed_per_second", "What others lend to this sink.", "borrowed_per_second"),
        ("request_budget_per_second", "What may be used of the workspace's rate.", "per_second"),
        ("request_budget_used_per_second", "Requests that left in the last second.", "used_per_second"),
        ("request_rate_factor", "What 429s have left of the share, 0 to 1.", "factor"),
    ):
        metrics.gauge(name, text).set_function(partial(getattr, sink.budget, read))

    def oldest_s() -> float:
        oldest_ms = sink.acks.oldest_ms
        return max(time.time() - oldest_ms / 1000, 0.0) if oldest_ms is not None else 0.0

    metrics.gauge(
        "oldest_undelivered_seconds", "Age of the oldest record that holds a partition back, 0 when none does."
    ).set_function(oldest_s)
