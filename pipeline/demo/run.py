"""Conducts one run: start, send, wait until nothing is left to deliver, count, compare."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

from pipeline.demo.chain import Chain
from pipeline.demo.expect import expect
from pipeline.demo.observe import SandboxView, dead_letters, end_offsets
from pipeline.demo.reconcile import Expected, Seen, count_order_violations, percentile, reconcile
from pipeline.demo.report import Report, Speed, Step
from pipeline.demo.traffic import Sent, send
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.transform.policy import Policy

SEED = 20_261_014
"""One shop for every run: two people who compare their tables compare the same webhooks."""

QUIET_S = 60.0
"""Without any progress for so long, the run ends and the table shows what is missing."""

POLL_S = 0.2
SHOW_S = 0.5

SHOWING: Final = BackgroundTask("progress bar", OnEnd.RESTART)

JOURNEY_STEPS = 14
JOURNEY_ATTRIBUTES = (
    "payment_amount",
    "refund_amount",
    "amount",
    "currency",
    "subscription_status",
    "failure_category",
    "cancelled_by",
    "is_trial_conversion",
)


class Progress(Protocol):
    """Where the run reports its progress."""

    def sent(self, count: int) -> None:
        """So many webhooks have their answer."""

    def delivered(self, count: int) -> None:
        """So many operations were accepted."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as the sandbox took it."""

    person: str
    webhook_id: str
    op_id: str
    name: str
    at_ms: float
    timestamp_s: int | None
    attributes: Mapping[str, Any]


async def run(chain: Chain, webhooks: int, progress: Callable[[int], Progress]) -> Report:
    """Send `webhooks` deliveries through the running `chain` and report what was found.

    `progress` is called with the number of operations that are due, once that is known.
    """
    began = time.monotonic()
    shop = Shop(SEED, datetime.now(UTC))
    deliveries = list(shop.deliveries(webhooks))
    expected = expect(shop, deliveries, Policy.of(chain.settings), state=chain.settings.state)
    shown = progress(expected.operations)
    count = 0

    def answered() -> None:
        nonlocal count
        count += 1
        shown.sent(count)

    view = SandboxView(chain.addresses.sandbox)
    tasks = Tasks()
    tasks.start(SHOWING, partial(_show_accepted, view, shown))
    try:
        sent = await send(f"{chain.addresses.ingest}/webhooks/dodo", deliveries, chain.secret, on_answer=answered)
        # A run that takes its time is ordered by when each was signed: of two states the later delivery counts.
        signed = [replace(delivery, timestamp=sent.signed_s[place]) for place, delivery in enumerate(deliveries)]
        expected = expect(shop, signed, Policy.of(chain.settings), state=chain.settings.state)
        lag = await _delivered(chain, view, expected)
        arrivals = [_arrival(event) async for event in view.events()]
        stats = await view.stats()
        shown.delivered(stats["accepted"])
        totals = await view.totals()
        customer = _telling_customer(deliveries, arrivals)
        profile = await view.profile(customer) if customer else {}
    finally:
        await tasks.stop()
        await view.close()
    in_order = [arrival for arrival in arrivals if arrival.webhook_id not in expected.said_later]
    seen = await _seen(chain, sent, stats, arrivals, totals, lag=lag)
    seen.order_violations = count_order_violations(
        shop.ledger.sequences, ((arrival.person, arrival.webhook_id) for arrival in in_order)
    )
    return Report(
        checks=reconcile(expected, seen),
        dropped=dict(expected.dropped),
        held_back=dict(expected.held_back),
        speed=_speed(sent, seen, arrivals, time.monotonic() - began),
        customer=customer or "nobody",
        journey=_journey(arrivals, customer),
        profile=profile,
    )


async def _show_accepted(view: SandboxView, shown: Progress) -> None:
    """Keep the second bar up to date, until cancelled."""
    while True:
        shown.delivered((await view.stats())["accepted"])
        await asyncio.sleep(SHOW_S)


async def _delivered(chain: Chain, view: SandboxView, expected: Expected) -> int | None:
    """Wait until both groups have no lag and everything due was accepted; the lag that is left."""
    last: tuple[int, int | None] = (-1, None)
    moved = time.monotonic()
    while True:
        stats = await view.stats()
        lag = await _lag(chain)
        if lag == 0 and stats["accepted"] + stats["refused"] >= expected.operations:
            return lag
        if (stats["accepted"], lag) != last:
            last, moved = (stats["accepted"], lag), time.monotonic()
        if time.monotonic() - moved > QUIET_S:
            return lag
        await asyncio.sleep(POLL_S)


async def _lag(chain: Chain) -> int | None:
    """Records that either group has not committed; None when it is unknown."""
    found = [partition.records for partition in await read_lag(chain.settings)]
    return None if not found or None in found else sum(records or 0 for records in found)


async def _seen(
    chain: Chain,
    sent: Sent,
    stats: Mapping[str, Any],
    arrivals: Sequence[Arrival],
    totals: Mapping[str, Mapping[str, int]],
    *,
    lag: int | None,
) -> Seen:
    settings = chain.settings
    payments: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for arrival in arrivals:
        if arrival.name == "payment_completed":
            currency = arrival.attributes["currency"]
            times, total = payments[currency]
            payments[currency] = (times + 1, total + arrival.attributes["payment_amount_minor"])
    return Seen(
        answers=sent.answers,
        webhook_records=sum((await end_offsets(settings, settings.webhooks_topic)).values()),
        operation_records=sum((await end_offsets(settings, settings.operations_topic)).values()),
        dead_letters=await dead_letters(settings),
        accepted_operations=stats["accepted"],
        refused_operations=stats["refused"],
        absorbed=stats["duplicates"],
        event_ids=Counter(arrival.op_id for arrival in arrivals),
        payments=dict(payments),
        spent=totals,
        lag=lag,
    )


def _arrival(event: Mapping[str, Any]) -> Arrival:
    attributes = event["attributes"]
    return Arrival(
        person=event["person"],
        webhook_id=attributes.get("webhook_id", ""),
        op_id=event["id"],
        name=event["name"],
        at_ms=event["arrived_at_ms"],
        timestamp_s=event["timestamp"],
        attributes=attributes,
    )


def _speed(sent: Sent, seen: Seen, arrivals: Sequence[Arrival], seconds: float) -> Speed:
    latencies: dict[str, float] = {}
    for arrival in arrivals:
        posted = sent.first_post_ms.get(arrival.webhook_id)
        if posted is not None:
            latencies.setdefault(arrival.webhook_id, arrival.at_ms - posted)
    span = max((arrival.at_ms for arrival in arrivals), default=0) / 1000 - sent.began
    ordered = list(latencies.values())
    return Speed(
        webhooks_per_second=seen.answers[200] / span if span > 0 else None,
        records_per_second=(seen.webhook_records + seen.operation_records) / span if span > 0 else None,
        latency_p50_ms=percentile(ordered, 0.5),
        latency_p99_ms=percentile(ordered, 0.99),
        seconds=seconds,
    )


def _telling_customer(deliveries: Sequence[Delivery], arrivals: Sequence[Arrival]) -> str | None:
    """The customer whose events have the most different names; of those the one with the fewest events."""
    names: dict[str, list[str]] = defaultdict(list)
    for arrival in arrivals:
        names[arrival.person].append(arrival.name)
    known = {delivery.customer_id for delivery in deliveries}
    candidates = [person for person in names if person in known]
    return max(candidates, key=lambda person: (len(set(names[person])), -len(names[person]), person), default=None)


def _journey(arrivals: Sequence[Arrival], customer: str | None) -> list[Step]:
    return [
        Step(
            at=datetime.fromtimestamp(arrival.timestamp_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
            if arrival.timestamp_s is not None
            else "unknown",
            name=arrival.name,
            shown={key: arrival.attributes[key] for key in JOURNEY_ATTRIBUTES if key in arrival.attributes},
        )
        for arrival in arrivals
        if arrival.person == customer
    ][:JOURNEY_STEPS]
