"""What the shop's webhooks must become, worked out offline and apart from the running chain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.demo.reconcile import Expected
from pipeline.dodo.envelope import parse
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import WEBHOOK_ID, WEBHOOK_TIMESTAMP
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations

TOLD_BEFORE: Final = frozenset({"suppressed-event", "unchanged-identify"})
"""Notes of what the state held back."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A webhook as it will lie in its topic, as far as the decision reads it."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    key: bytes | None = None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


def expect(shop: Shop, deliveries: Sequence[Delivery], policy: Policy, *, state: bool) -> Expected:
    """Count what must happen to `deliveries`, all of which the shop has already entered in its ledger.

    A customer's webhooks arrive in this order, so one store for all of them knows what each worker's will.
    """
    expected = Expected(sent=len(deliveries), forged=shop.ledger.kinds["forged"], payments=dict(shop.ledger.payments))
    if state:
        expected.spent = {
            customer: {currency: paid - refunded for currency, (paid, refunded) in purse.items()}
            for customer, purse in shop.ledger.spent.items()
        }
    store = MemoryStore(int(time.time() * 1000)) if state else None
    for delivery in deliveries:
        if delivery.kind == "forged":
            continue
        try:
            parse(delivery.body)
        except UnreadableBodyError:
            expected.unreadable += 1
            expected.dead_letters["ingest unreadable"] += 1
            continue
        headers = ((WEBHOOK_ID, delivery.webhook_id.encode()), (WEBHOOK_TIMESTAMP, b"%d" % delivery.timestamp))
        match decide(_Arrived(delivery.body, headers), policy, map_webhook, store).verdict:
            case Operations(operations=operations, notes=notes):
                expected.operations += len(operations)
                events = [op.op_id for op in operations if op.kind == "event"]
                if events and delivery.kind == "redelivery" and events[0] not in expected.event_ids:
                    expected.said_later.add(delivery.webhook_id)
                expected.event_ids.update(events)
                expected.held_back.update(note for note in notes if note in TOLD_BEFORE)
            case Dropped(reason=reason):
                expected.dropped[reason] += 1
            case DeadLettered(class_=class_):
                expected.dead_letters[f"transform {class_}"] += 1
    return expected
