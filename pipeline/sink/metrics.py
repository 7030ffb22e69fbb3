"""The sink's series: an observer of `events`, and gauges that are read at each scrape."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, get_args

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.deadletters.envelope import CLASSES
from pipeline.kafka.records import END_MS, FIRST_MS, MAX_DIGITS, RECEIVED_AT, WEBHOOK_ID, Record, text_header
from pipeline.sink import events
from pipeline.sink.batching import BatchCause
from pipeline.sink.holds import HoldCause
from pipeline.sink.sink import Sink
from pipeline.watch.latency import Latency
from pipeline.watch.letters import observe_letters
from pipeline.watch.metrics import OTHER, RECORDS, SECONDS, Metrics

NOWHERE: Final = sys.maxsize
"""The place of a header that is not there."""

STATUSES: Final = frozenset({*(status.value for status in HTTPStatus), *range(520, 528), None})
"""What is counted by itself: the registered statuses, those that Cloudflare answers for a server behind it, and none.
Whoever answers in Customer.io's place, a proxy as a rule, has a thousand to choose from."""

FILL = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
AGE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)
"""From an idle chain's tens of milliseconds to the day after an outage; 0.1 s to 2.5 s is where a target lies."""


def observe_sink(metrics: Metrics, lanes: int) -> None:
    """Register the sink's series that are fed by events."""
    _observe_accepted(metrics)
    _observe_passed_over(metrics)

    batches = metrics.counter(
        "batches",
        "Batches by why they were closed: full (bytes), nothing else waits (idle), barrier.",
        ["cause"],
        begins=[(cause,) for cause in get_args(BatchCause)],
    )
    size = metrics.histogram("batch_operations", "Operations of a batch.", buckets=RECORDS)
    fill = metrics.histogram("batch_fill_ratio", "A batch's share of the largest body.", buckets=FILL)

    def on_closed(event: events.BatchClosed) -> None:
        batches.labels(event.cause).inc()
        size.observe(event.operations)
        fill.observe(event.fill)

    metrics.on(events.BatchClosed, on_closed)

    requests = metrics.counter(
        "requests",
        "Requests to Customer.io by what came of them; statuses that nobody has registered are `other`.",
        ["outcome", "status"],
        begins=[("accepted", "200"), ("partly-refused", "207"), ("unauthorized", "401"), ("retry", "429")],
    )
    took = metrics.histogram("request_seconds", "Time of a request.", ["outcome"], buckets=SECONDS)
    sent = metrics.counter("request_bytes", "Bytes of bodies, every attempt.")

    def on_request(event: events.RequestEnded) -> None:
        status = str(event.status or "none") if event.status in STATUSES else OTHER
        requests.labels(event.outcome, status).inc()
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
    given_up_as = observe_letters(metrics, CLASSES)
    metrics.on(events.RecordDeadLettered, lambda event: given_up_as(event.class_, 1))
    given_up = metrics.counter("handover_operations", "Operations left to their partition's next owner.")
    metrics.on(events.WorkGivenUp, lambda event: given_up.inc(event.operations))

    holds = metrics.counter(
        "holds",
        "Times that all lanes were held.",
        ["cause"],
        begins=[(cause,) for cause in (*get_args(HoldCause), "retry-after")],
    )
    held = metrics.gauge(
        "held",
        "1 while all lanes are held: credentials or region until a person acts, outage until it is over.",
        ["cause"],
        begins=[(cause,) for cause in get_args(HoldCause)],
    )

    def on_held(event: events.LanesHeld) -> None:
        holds.labels(event.cause).inc()
        if event.cause != "retry-after":
            held.labels(event.cause).set(1)

    metrics.on(events.LanesHeld, on_held)
    metrics.on(events.LanesReleased, lambda event: held.labels(event.cause).set(0))

    _observe_budget(metrics)
    budget = metrics.gauge(
        "lane_budget_bytes", "Byte budget of a lane's requests; below the largest body while the API is slow.", ["lane"]
    )
    for lane in range(lanes):
        budget.labels(str(lane)).set(BODY_MAX_BYTES)
    metrics.on(events.ByteBudgetChanged, lambda event: budget.labels(str(event.lane)).set(event.budget_bytes))


def _observe_accepted(metrics: Metrics) -> None:
    accepted = metrics.counter("operations_accepted", "Operations that Customer.io took.")
    age = metrics.histogram("delivery_age_seconds", "Age of a batch's first record when it was accepted.", buckets=AGE)
    whole: Latency[Record] = Latency(
        metrics,
        "webhook_to_accepted_seconds",
        "From a webhook's reception at ingest until Customer.io accepted an operation of it, each operation counted. "
        "What was replayed or brought back counts from its first reception.",
        buckets=AGE, label="webhook_id", value=_webhook_id,
    )  # fmt: skip
    sink: Latency[Record] = Latency(
        metrics,
        "operation_to_accepted_seconds",
        "From an operation's record in Kafka, by its time, until Customer.io accepted it.",
        buckets=AGE, label="webhook_id", value=_webhook_id,
    )  # fmt: skip

    def on_accepted(event: events.OperationsAccepted) -> None:
        accepted.inc(event.operations)
        if event.oldest_age_s is not None:
            age.observe(event.oldest_age_s)
        now_s = time.time()
        sink.observe(*_known([one.timestamp for one in event.records], event.records), now_s)
        whole.observe(*_known(_received_ms(event.records), event.records), now_s)

    metrics.on(events.OperationsAccepted, on_accepted)


def _known(at_ms: list[int], records: Sequence[Record]) -> tuple[list[int], Sequence[Record]]:
    """The times that a clock can have shown, with their records; nearly always all."""
    if not at_ms or (min(at_ms) >= FIRST_MS and max(at_ms) < END_MS):
        return at_ms, records
    known = [(at, one) for at, one in zip(at_ms, records, strict=True) if FIRST_MS <= at < END_MS]
    return [at for at, _ in known], [one for _, one in known]


def _received_ms(records: Sequence[Record]) -> list[int]:
    """When the webhook of each was received, unix ms; 0 where it is unknown.

    One writer has the header always at the same place: it is looked for there first.
    """
    found, place = [], 0
    for record in records:
        headers = record.headers
        if place >= len(headers) or headers[place][0] != RECEIVED_AT:
            place = next((index for index, (name, _) in enumerate(headers) if name == RECEIVED_AT), NOWHERE)
        value = (headers[place][1] if place < NOWHERE else None) or b""  # a header may have none
        found.append(int(value) if len(value) <= MAX_DIGITS and value.isdigit() else 0)
    return found


def _webhook_id(record: Record) -> str | None:
    return text_header(record.headers, WEBHOOK_ID)


def _observe_passed_over(metrics: Metrics) -> None:
    passed_over = metrics.counter("operations_passed_over", "Operations from before their person was forgotten.")
    metrics.on(events.PassedOver, lambda event: passed_over.inc(event.operations))


def _observe_budget(metrics: Metrics) -> None:
    partitions = metrics.gauge("request_budget_partitions", "Partitions whose part of the rate this sink has.")
    metrics.on(events.BudgetShared, lambda event: partitions.set(event.own))
    leases = metrics.counter(
        "request_budget_leases",
        "Times that what is lent or borrowed changed.",
        ["side"],
        begins=[("lent",), ("borrowed",)],
    )
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
