"""A shop's own transformations."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.transform.shaping import Event, Identify, Known, Shaped, Webhook, claims

VIP_MINOR = 100_000


def shape(webhook: Webhook, default: Shaped, known: Known) -> Shaped:
    """Our names, and a flag for those who spent much."""
    names = {"payment_completed": "Order Paid", "payment_failed": "Order Failed"}
    events = tuple(event.renamed(names.get(event.origin, event.name)) for event in default.events)
    identify = default.identify
    if identify is not None and known.spent_minor.get("USD", 0) >= VIP_MINOR:
        identify = identify.having(vip=True).without("phone")
    if webhook.type == "payment.succeeded" and known.payment_count == 1:
        events = (*events, Event("first_order", {"at": webhook.event_ms}))
    return Shaped(identify, events)


@claims("checkout.opened", "credit.deducted")
def opened(webhook: Webhook, default: Shaped, known: Known) -> Iterator[Event | Identify]:
    """A type of our own beta programme."""
    if default.identify is not None:
        yield default.identify
    yield from default.events
    if webhook.type == "checkout.opened":
        yield Event("checkout_opened", {"total": str(webhook.data.get("total_amount")), "known": known.is_known})
