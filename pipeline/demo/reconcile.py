"""Compares what must have happened with what was observed: pure functions.

`Expected` comes from the shop (its own ledger) and from mapping each accepted webhook offline; `Seen` is counted at
ingest's answers, in the topics, and in the sandbox. A row that differs is a fault of the pipeline, never rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Expected:
    """What the shop knows, and what its webhooks mean."""

    sent: int = 0
    forged: int = 0
    unreadable: int = 0
    operations: int = 0
    event_ids: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    payments: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Currency → (completed payments, their sum in minor units), from the shop's ledger."""

    spent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Customer → currency → minor units paid and not refunded, from the shop's ledger; nothing without a state."""

    said_later: set[str] = field(default_factory=set)
    """Webhooks of which only a redelivery, read at its own time, had an event to send."""

    held_back: Counter[str] = field(default_factory=Counter)
    """What the state knows as sent already, by the mapping's code."""

    @property
    def accepted(self) -> int:
        """Webhooks that ingest must answer with 200."""
        return self.sent - self.forged


@dataclass(slots=True)
class Seen:
    """What ingest answered, the topics hold and the sandbox took."""

    answers: Counter[int] = field(default_factory=Counter)
    webhook_records: int = 0
    operation_records: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    accepted_operations: int = 0
    refused_operations: int = 0
    absorbed: int = 0
    event_ids: Counter[str] = field(default_factory=Counter)
    payments: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    spent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Person → currency → `total_spent_…_minor` on the profile."""

    order_violations: int = 0
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    expected: Any
    seen: Any
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the two counts are the same."""
        return bool(self.expected == self.seen)


def reconcile(expected: Expected, seen: Seen) -> list[Check]:
    """Every row of the table, in the order that data walks."""
    distinct = len(expected.event_ids)
    rows = [
        Check("webhooks sent", expected.sent, seen.answers.total(), "each got one final answer"),
        Check("refused as forged or stale", expected.forged, seen.answers[401], "401"),
        Check("accepted", expected.accepted, seen.answers[200], "200 after acks=all"),
        Check("webhook records", expected.accepted - expected.unreadable, seen.webhook_records, "in the topic"),
        Check("operation records", expected.operations, seen.operation_records, "against an offline mapping"),
        Check("operations accepted", expected.operations, seen.accepted_operations, "by the sandbox"),
        Check("operations refused", 0, seen.refused_operations, "by the sandbox"),
        Check("distinct events", distinct, len(seen.event_ids), "by ULID"),
        Check("events with a wrong id", 0, len(set(expected.event_ids) ^ set(seen.event_ids)), "missing or unknown"),
        Check("repeated deliveries absorbed", expected.event_ids.total() - distinct, seen.absorbed, "same ULID"),
    ]
    rows += [
        Check(f"dead letters: {name}", expected.dead_letters[name], seen.dead_letters[name])
        for name in sorted(expected.dead_letters | seen.dead_letters)
    ]
    nothing = (0, 0)
    rows += [
        Check(
            f"payments completed, {currency}",
            expected.payments.get(currency, nothing),
            seen.payments.get(currency, nothing),
            "count and minor units, the shop's ledger",
        )
        for currency in sorted({*expected.payments, *seen.payments})
    ]
    if expected.spent:
        rows.append(
            Check(
                "customers with a wrong total",
                0,
                sum(seen.spent.get(customer, {}) != purse for customer, purse in expected.spent.items()),
                f"total_spent of {len(expected.spent):,} against the shop's ledger",
            )
        )
    rows += [
        Check("order violations", 0, seen.order_violations, "first deliveries, per customer"),
        Check("lag left", 0, seen.lag, "records, both groups"),
    ]
    return rows


def count_order_violations(sent: Mapping[str, Sequence[str]], arrived: Iterable[tuple[str, str]]) -> int:
    """How many times a customer's event arrived before one of an earlier webhook.

    Args:
        sent: customer → webhook ids in the order of their first delivery.
        arrived: (customer, webhook id) of each accepted event, in order of arrival, repeats left out.
    """
    position = {customer: {wid: n for n, wid in enumerate(ids)} for customer, ids in sent.items()}
    last: dict[str, int] = {}
    violations = 0
    for customer, webhook_id in arrived:
        at = position.get(customer, {}).get(webhook_id)
        if at is None:
            continue
        violations += at < last.get(customer, -1)
        last[customer] = max(at, last.get(customer, -1))
    return violations


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]
