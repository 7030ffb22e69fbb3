"""A customer's subscriptions with the primary one first, in order, so that nobody reads them all.

They lie beside the summary, under keys of their own, and follow from the facts as it does: a webhook about one of
thousands moves one key, and what speaks next is the first of the rest. What a webhook moves is seen by later reads of
the same roster, and is kept with the webhook's facts.

| key, behind `customer NUL` | value |
|---|---|
| `s`, place of a subscription (`standing.order_of`) | empty |
| `p`, place of a product (`standing.product_order`) | how many active subscriptions it has, and its id |
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import orjson

from pipeline.statestore.store import KeyValueStore, overlaid
from pipeline.transform.customers.facts import prefix
from pipeline.transform.customers.shape import MAX_PRODUCTS
from pipeline.transform.customers.standing import OTHERS, RosterPlace, order_of, product_order, read_order
from pipeline.transform.customers.summary import Summary

SUBSCRIPTION: Final = b"s"
PRODUCT: Final = b"p"

_BEHIND: Final = b"\xff"
"""Behind every rank, and every product."""


class Roster:
    """The places of one customer's subscriptions; nothing is written until `keep`."""

    def __init__(self, store: KeyValueStore, customer: bytes) -> None:
        self._store = store
        self._begin = prefix(customer)
        self._moved: dict[bytes, bytes | None] = {}

    def move(self, before: RosterPlace | None, now: RosterPlace, summary: Summary) -> None:
        """A subscription stands elsewhere now, or is new; `summary` learns what is active."""
        if before is not None and before.order != now.order:
            self._moved[self._subscription(before.order)] = None
        if before is None or before.order != now.order:
            self._moved[self._subscription(now.order)] = b""
        was_active, was = (before.is_active, before.product) if before is not None else (False, None)
        summary.active += now.is_active - was_active
        if was != now.product:
            if now.product is not None and self._count(now.product, 1) == 1:
                insort(summary.products, now.product, key=product_order)
                del summary.products[MAX_PRODUCTS:]
            if was is not None and self._count(was, -1) == 0 and was in summary.products:
                was_full = len(summary.products) == MAX_PRODUCTS
                summary.products.remove(was)
                if was_full:
                    summary.products = self._products()

    def first(self, *, live: bool) -> str | None:
        """Who speaks for the person, of those that go on or of the others; None when there is none."""
        start, stop = (order_of_rank(0), order_of_rank(OTHERS)) if live else (order_of_rank(OTHERS), _BEHIND)
        found = next(self._scan(self._subscription(start), self._subscription(stop)), None)
        return None if found is None else read_order(found[0][len(self._subscription(b"")) :])[1]

    def oldest_since_ms(self, since_ms: int) -> int | None:
        """When the oldest one was created that goes on, of those created since then."""
        oldest = []
        for rank in range(OTHERS):
            start, stop = self._subscription(order_of_rank(rank)), self._subscription(order_of(rank, since_ms - 1))
            found = next(self._scan(start, stop, backwards=True), None)
            if found is not None:
                oldest.append(read_order(found[0][len(self._subscription(b"")) :])[0])
        return min(oldest, default=None)

    def anew(self, places: Iterable[RosterPlace]) -> None:
        """Have these places and no others."""
        told = list(places)
        wanted = {self._subscription(place.order): b"" for place in told}
        products = Counter(place.product for place in told if place.product is not None)
        wanted |= {self._product(product): orjson.dumps([count, product]) for product, count in products.items()}
        known = dict(self._store.derived_between(self._begin + PRODUCT, self._begin + SUBSCRIPTION + _BEHIND))
        self._moved = {key: None for key in known if key not in wanted}
        self._moved |= {key: value for key, value in wanted.items() if known.get(key) != value}

    def keep(self) -> None:
        """Keep what was moved."""
        for key, value in self._moved.items():
            self._store.put_derived(key, value)
        self._moved = {}

    def _scan(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        kept = self._store.derived_between(start, stop, backwards=backwards)
        mine = {key: (value, 0) for key, value in self._moved.items() if start <= key < stop}
        return overlaid(iter(kept), mine, backwards=backwards) if mine else iter(kept)

    def _count(self, product: str, more: int) -> int:
        key = self._product(product)
        value = self._moved[key] if key in self._moved else self._store.derived(key)
        count: int = (orjson.loads(value)[0] if value is not None else 0) + more
        self._moved[key] = orjson.dumps([count, product]) if count > 0 else None
        return count

    def _products(self) -> list[str]:
        entries = self._scan(self._begin + PRODUCT, self._begin + PRODUCT + _BEHIND)
        return [orjson.loads(value)[1] for _, value in islice(entries, MAX_PRODUCTS)]

    def _subscription(self, order: bytes) -> bytes:
        return self._begin + SUBSCRIPTION + order

    def _product(self, product: str) -> bytes:
        return self._begin + PRODUCT + product_order(product)


def order_of_rank(rank: int) -> bytes:
    """Before every subscription of that rank."""
    return b"%d" % rank
