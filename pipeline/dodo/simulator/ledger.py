"""The shop's own ledger: what was delivered, and which amounts, to reconcile a pipeline with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.dodo.simulator.scene import Booking


@dataclass(slots=True)
class Ledger:
    """Counts and sums over everything that was delivered so far."""

    kinds: Counter[str] = field(default_factory=Counter)
    """Deliveries by kind: `first`, `redelivery`, `forged`, `unreadable`."""

    types: Counter[str] = field(default_factory=Counter)
    """First deliveries by webhook type."""

    payments: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Currency → how many payments completed, and their sum in minor units; no zero payments, no stored cards."""

    refunds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Currency → how many refunds succeeded, and their sum in minor units, the ones with a null amount included."""

    spent: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Customer → currency → (paid, refunded) in minor units."""

    sequences: dict[str, list[str]] = field(default_factory=dict)
    """Customer → webhook ids in the order of their first delivery, which is the order of events."""

    def enter(self, webhook_id: str, type_: str, customer_id: str | None, booking: Booking | None) -> None:
        """Enter a webhook that was delivered for the first time."""
        self.kinds["first"] += 1
        self.types[type_] += 1
        if customer_id is None:
            return
        self.sequences.setdefault(customer_id, []).append(webhook_id)
        if booking is None:
            return
        account = self.payments if booking.account == "payment" else self.refunds
        times, total = account.get(booking.currency, (0, 0))
        account[booking.currency] = (times + 1, total + booking.minor)
        purse = self.spent.setdefault(customer_id, {})
        paid, refunded = purse.get(booking.currency, (0, 0))
        purse[booking.currency] = (
            (paid + booking.minor, refunded) if booking.account == "payment" else (paid, refunded + booking.minor)
        )
