"""The shop: runs many customers' scripts at once, and turns their events into deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

import orjson

from pipeline.dodo.simulator.buyers import purchase
from pipeline.dodo.simulator.deck import HOURS, deal
from pipeline.dodo.simulator.delivery import FORGERIES, Delivery
from pipeline.dodo.simulator.ledger import Ledger
from pipeline.dodo.simulator.people import customer
from pipeline.dodo.simulator.scene import EPOCH, Happening, Life, Scene, iso

BUSINESS_ID: Final = "bus_0NSimulatorShop000001"

AT_ONCE: Final = 48
"""Scripts at the same time: enough to spread a customer's webhooks, few enough that rare scripts come soon."""

REDELIVERED: Final = 0.02
FORGED: Final = 0.005
UNREADABLE: Final = 0.002

REDELIVERED_AFTER: Final = (5, 400)
"""How many deliveries lie between a webhook and its redelivery."""

REREAD: Final = 0.3
"""Share of redelivered payments whose body has changed: Dodo reads the object anew at each attempt."""

UNREADABLES: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda body: body[: len(body) // 2],
    lambda body: b"[" + body + b"]",
    lambda body: body.replace(b'"type":', b"'type':"),
    lambda body: b"\xff\xfe" + body,
    lambda _: b"",
    lambda _: b"null",
    lambda _: b"type=payment.succeeded&data=",
)


class Shop:
    """A shop and its customers.

    Args:
        seed: another seed, another shop; the same one, the same deliveries.
        now: the present, time zone included: events lie within the 27 hours before it, attempts within a minute after.
    """

    def __init__(self, seed: int, now: datetime) -> None:
        self.ledger = Ledger()
        self._rng = Random(f"lives of {seed}")  # noqa: S311 - a simulation must be repeatable
        self._post = Random(f"deliveries of {seed}")  # noqa: S311 - likewise
        self._now_us = int((now - EPOCH).total_seconds()) * 1_000_000
        self._deck = deal(self._rng)
        self._customers = 0
        self._delivered = 0
        self._again: list[tuple[int, str, int, Happening, str | None]] = []
        self._lives = [self._next_life() for _ in range(AT_ONCE)]

    def deliveries(self, count: int) -> Iterator[Delivery]:
        """The next `count` deliveries of every kind; the ledger holds each from the moment it is given."""
        for _ in range(count):
            yield self._next()
            self._delivered += 1

    def _next(self) -> Delivery:
        if self._again and self._again[0][0] <= self._delivered:
            return self._redelivered()
        fate = self._post.random()
        if fate < UNREADABLE:
            return self._unreadable()
        if fate < UNREADABLE + FORGED:
            return self._forged()
        happening, customer_id = self._happen()
        webhook_id = self._webhook_id()
        at = self._seconds()
        self.ledger.enter(webhook_id, happening.type, customer_id, happening.booking)
        if self._post.random() < REDELIVERED:
            due = self._delivered + self._post.randint(*REDELIVERED_AFTER)
            heappush(self._again, (due, webhook_id, at, happening, customer_id))
        return Delivery(self._body(happening), webhook_id, at, "first", happening.type, customer_id)

    def _redelivered(self) -> Delivery:
        _, webhook_id, at, happening, customer_id = heappop(self._again)
        self.ledger.kinds["redelivery"] += 1
        changed: dict[str, Any] = {}
        if happening.type == "payment.succeeded" and self._post.random() < REREAD:
            changed = {"updated_at": iso(self._now_us)}
        again = Happening(happening.type, happening.at_us, happening.data | changed)
        at += self._post.randint(5, 60)
        return Delivery(self._body(again), webhook_id, at, "redelivery", happening.type, customer_id)

    def _forged(self) -> Delivery:
        """A forger's delivery: a body of the right shape about a customer that does not exist."""
        self.ledger.kinds["forged"] += 1
        scene = self._scene(HOURS)
        victim = scene.customer.customer_id
        happening = next(purchase(scene))
        forgery = self._post.choice(FORGERIES)
        return Delivery(
            self._body(happening), self._webhook_id(), self._seconds(), "forged", happening.type, victim, forgery
        )

    def _unreadable(self) -> Delivery:
        self.ledger.kinds["unreadable"] += 1
        body = self._body(next(purchase(self._scene(HOURS))))
        broken = self._post.choice(UNREADABLES)(body)
        return Delivery(broken, self._webhook_id(), self._seconds(), "unreadable", None, None)

    def _happen(self) -> tuple[Happening, str | None]:
        while True:
            place = self._rng.randrange(AT_ONCE)
            life, customer_id = self._lives[place]
            happening = next(life, None)
            if happening is not None:
                return happening, None if happening.type.startswith("payout.") else customer_id
            self._lives[place] = self._next_life()

    def _next_life(self) -> tuple[Life, str]:
        script, hours = next(self._deck)
        scene = self._scene(hours)
        return script(scene), scene.customer.customer_id

    def _scene(self, hours: int) -> Scene:
        self._customers += 1
        begin_us = self._now_us - int((hours - self._rng.random() / 2) * 3_600_000_000)
        return Scene(self._rng, customer(self._rng, self._customers), begin_us=begin_us, until_us=self._now_us)

    def _body(self, happening: Happening) -> bytes:
        """Compact JSON in one of the two key orders that were seen in real deliveries."""
        if self._post.getrandbits(1):
            wire = {"business_id": BUSINESS_ID, "data": happening.data, "timestamp": iso(happening.at_us)}
            return orjson.dumps(wire | {"type": happening.type})
        wire = {"data": happening.data, "type": happening.type, "timestamp": iso(happening.at_us)}
        return orjson.dumps(wire | {"business_id": BUSINESS_ID})

    def _webhook_id(self) -> str:
        return f"msg_{self._post.getrandbits(108):027x}"

    def _seconds(self) -> int:
        return self._now_us // 1_000_000
