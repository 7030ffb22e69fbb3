"""What a customer's script works with: a clock, a source of ids and chance, and the events that it yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Literal

from pipeline.dodo.simulator.people import Customer

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Booking:
    """The entry that an event makes in the shop's ledger."""

    account: Literal["payment", "refund"]
    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, and the state of its object."""

    type: str
    at_us: int
    data: dict[str, Any]
    booking: Booking | None = None


Life = Iterator[Happening]


class Scene:
    """The clock and the random numbers of one script.

    Waiting never passes `until_us`: the nearer it is, the shorter the wait, so that a life ends before the present.
    """

    def __init__(self, rng: Random, customer: Customer, *, begin_us: int, until_us: int) -> None:
        self.rng = rng
        self.customer = customer
        self.now_us = begin_us
        self._until_us = until_us

    def wait(self, least_s: float, most_s: float) -> None:
        """Move the clock forward by a random time between these bounds."""
        wanted = int((least_s + (most_s - least_s) * self.rng.random()) * SECOND_US)
        self.now_us += max(1, min(wanted, (self._until_us - self.now_us) // 8))

    def id(self, prefix: str) -> str:
        """A new id of Dodo's form."""
        return f"{prefix}_0N{self.rng.getrandbits(76):019x}"

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def tell(self, type_: str, data: dict[str, Any], booking: Booking | None = None) -> Happening:
        """An event that happens now; the envelope's time is some milliseconds after the object's."""
        self.now_us += 1000 + self.rng.getrandbits(17)
        return Happening(type_, self.now_us, data, booking)


def iso(at_us: int) -> str:
    """RFC 3339 with `Z` and six digits, as real deliveries have."""
    return f"{(EPOCH + timedelta(microseconds=at_us)).isoformat(timespec='microseconds')[:-6]}Z"
