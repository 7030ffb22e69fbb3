"""What the shop's webhooks must become, worked out offline and apart from the running chain."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.demo.reconcile import Expected
from pipeline.dodo.envelope import parse
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.errors import UnreadableBodyError
from pipeline.transform import verdicts
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy


def expect(shop: Shop, deliveries: Sequence[Delivery], policy: Policy) -> Expected:
    """Count what must happen to `deliveries`, all of which the shop has already entered in its ledger."""
    expected = Expected(sent=len(deliveries), forged=shop.ledger.kinds["forged"], payments=dict(shop.ledger.payments))
    for delivery in deliveries:
        if delivery.kind == "forged":
            continue
        try:
            envelope = parse(delivery.body)
        except UnreadableBodyError:
            expected.unreadable += 1
            expected.dead_letters["ingest unreadable"] += 1
            continue
        arrived = verdicts.Delivery(
            webhook_id=delivery.webhook_id,
            attempt_at_s=delivery.timestamp,
        )
        match map_webhook(envelope, arrived, policy):
            case verdicts.Operations(operations=operations):
                expected.operations += len(operations)
                expected.event_ids.update(op.op_id for op in operations if op.kind == "event")
            case verdicts.Dropped(reason=reason):
                expected.dropped[reason] += 1
            case verdicts.DeadLettered(class_=class_):
                expected.dead_letters[f"transform {class_}"] += 1
    return expected
