"""The facts of one customer at one webhook: as they were, with the webhook's, and what they come to."""

from __future__ import annotations

from typing import Final

from pipeline.transform.state.facts import Fact, Kind, decode, encode, key, merge_facts, prefix, short
from pipeline.transform.state.gather import Telling
from pipeline.transform.state.sheet import PLANS_END, Sheet, fold, is_charged
from pipeline.transform.state.shelf import Shelf

SUMMED: Final = frozenset({"payment", "refund", "charge", "card", "subscription", "dispute"})
"""Kinds that the summary knows of."""


class Known:
    """One customer's facts; nothing is written.

    Attributes:
        told: fact by key as it was (None: not known) and as it is with what was told now.
        sheet: the summary with what was told now.
        changed: whether that is another one than was kept.
        is_money: whether a payment or refund was told, which stands for its own event.
    """

    def __init__(self, shelf: Shelf, customer: bytes, tellings: list[Telling]) -> None:
        self.told: dict[bytes, tuple[Fact | None, Fact]] = {}
        kept = Sheet.decode(shelf.sheet(customer))
        self._is_new = kept is None and _is_nobody(shelf, customer)
        self.sheet = kept or (Sheet() if self._is_new else summary(shelf, customer))
        self.changed = False
        self.is_money = False
        self._shelf = shelf
        self._customer = customer
        for telling in tellings:
            self.take(telling)

    def both(self, kind: Kind, id_: str) -> tuple[Fact | None, Fact | None]:
        """A fact before this webhook, and with it where the webhook tells it."""
        fact_key = key(self._customer, kind, id_)
        mine = self.told.get(fact_key)
        return mine if mine is not None else (decode(kind, self._shelf.get(fact_key)), None)

    def now(self, kind: Kind, id_: str) -> Fact | None:
        """A fact with this webhook."""
        known, mine = self.both(kind, id_)
        return known if mine is None else mine

    def refunds(self, payment_id: str, without: bytes | None = None) -> list[Fact]:
        """Those of a payment, with this webhook's; the one with the key `without` left out."""
        begins = prefix(self._customer, "refund", payment_id)
        found = {name: decode("refund", value) for name, value in self._shelf.scan(begins)}
        found |= {name: fact for name, (_, fact) in self.told.items() if name.startswith(begins)}
        return [fact for name, fact in found.items() if fact is not None and name != without]

    def take(self, telling: Telling) -> None:
        """Merge what was told now, or said because of it."""
        kind, ids, told = telling
        fact_key = key(self._customer, kind, *ids)
        known: Fact | None
        if fact_key in self.told:
            stored, known = self.told[fact_key]
        else:
            stored = known = None if self._is_new else decode(kind, self._shelf.get(fact_key))
        fact = told if known is None else (merge_facts(kind, known, told) or told)
        self.told[fact_key] = (stored, fact)
        if kind in {"payment", "refund"}:
            self.is_money = True
        if fact == known:
            return
        if self._sum_up(kind, ids, known, fact):
            self.changed = self.changed or kind in SUMMED
        else:
            self._fold()

    def _sum_up(self, kind: Kind, ids: tuple[str, ...], known: Fact | None, fact: Fact) -> bool:
        sheet = self.sheet
        match kind:
            case "payment":
                refunds = self.refunds(ids[0]) if sheet.refunds else ()
                return sheet.pay(short(ids[0]), known, fact, refunds)
            case "refund":
                before = self.refunds(ids[0], without=key(self._customer, kind, *ids))
                now = [*before, fact]
                if known is not None:
                    before.append(known)
                payment = decode("payment", self._shelf.get(key(self._customer, "payment", ids[0])))
                return sheet.refund(payment, before, now)
            case "subscription":
                in_trial = fact[PLANS_END:] and fact[PLANS_END] is not None  # only then it matters
                charges = self.now("charge", ids[0]) if in_trial else None
                charged = charges is not None and is_charged(charges)
                return sheet.subscribe(short(ids[0]), fact, charged=charged)
            case "charge":
                return sheet.charge(short(ids[0])) if is_charged(fact) else True
            case "card":
                sheet.card = fact
            case "dispute":
                sheet.lost = True
        return True

    def _fold(self) -> None:
        mine = {fact_key: encode(fact) for fact_key, (_, fact) in self.told.items()}
        facts = dict(self._shelf.scan(prefix(self._customer)))
        self.sheet, self.changed = fold(sorted((facts | mine).items())), True


def _is_nobody(shelf: Shelf, customer: bytes) -> bool:
    """Whether there is no fact of the customer at all: then none is worth looking for."""
    return next(iter(shelf.scan(prefix(customer))), None) is None


def summary(shelf: Shelf, customer: bytes) -> Sheet:
    """The customer's summary, made anew and kept when it is missing."""
    sheet = Sheet.decode(shelf.sheet(customer))
    if sheet is None:
        sheet = fold(shelf.scan(prefix(customer)))
        shelf.keep(customer, sheet.encode())
    return sheet
