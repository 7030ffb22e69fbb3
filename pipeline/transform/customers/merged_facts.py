"""The facts of one customer at one webhook: as they were, with the webhook's, and what they come to."""

from __future__ import annotations

from typing import Final

from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.emitted import Emitted
from pipeline.transform.customers.facts import Fact, Kind, decode, encode, key, merge_facts, prefix, short
from pipeline.transform.customers.named import PaymentFact, RefundFact, SubscriptionFact
from pipeline.transform.customers.observations import Observation
from pipeline.transform.customers.roster import Roster
from pipeline.transform.customers.standing import OTHERS, in_trial, is_charged, place_by, place_of, standing_of
from pipeline.transform.customers.summary import Folded, Summary, fold

SUMMED: Final = frozenset({"payment", "refund", "charge", "card", "subscription", "dispute"})
"""Kinds that the summary knows of."""


class MergedFacts:
    """One customer's facts; nothing is written until `keep`.

    Attributes:
        told: fact by key as it was (None: not known) and as it is with this webhook's.
        summary: the summary with this webhook's facts.
        roster: where the subscriptions stand, with this webhook's; made when it is first needed.
        changed: whether that is another one than was kept.
        is_money: whether a payment or refund is among them, which stands for its own event.
    """

    def __init__(self, store: KeyValueStore, customer: bytes, tellings: list[Observation]) -> None:
        self.told: dict[bytes, tuple[Fact | None, Fact]] = {}
        self._read: dict[bytes, Fact | None] = {}  # several rules ask for the same subscription
        kept = Summary.decode(store.derived(customer))
        self._is_new = kept is None and _is_nobody(store, customer)
        self.summary = kept or (Summary() if self._is_new else summary_of(store, customer))
        self._roster: Roster | None = None
        self.changed = False
        self.is_money = False
        self._store = store
        self._customer = customer
        if self._is_new:
            self.roster.anew(())  # an earlier version forgets a customer without it
        for telling in tellings:
            self.take(telling)

    @property
    def roster(self) -> Roster:
        """See above."""
        if self._roster is None:
            self._roster = Roster(self._store, self._customer)
        return self._roster

    def both(self, kind: Kind, id_: str) -> tuple[Fact | None, Fact | None]:
        """A fact before this webhook, and with it where the webhook has it."""
        fact_key = key(self._customer, kind, id_)
        mine = self.told.get(fact_key)
        if mine is not None:
            return mine
        if fact_key not in self._read:
            self._read[fact_key] = decode(kind, self._store.get(fact_key))
        return self._read[fact_key], None

    def now(self, kind: Kind, id_: str) -> Fact | None:
        """A fact with this webhook."""
        known, mine = self.both(kind, id_)
        return known if mine is None else mine

    def subscription(self, subscription_id: str) -> SubscriptionFact | None:
        """A subscription with this webhook."""
        fact = self.now("subscription", subscription_id)
        return None if fact is None else SubscriptionFact.of(fact)

    def payment(self, payment_id: str) -> PaymentFact | None:
        """A payment with this webhook."""
        fact = self.now("payment", payment_id)
        return None if fact is None else PaymentFact.of(fact)

    def refunds(self, payment_id: str, without: bytes | None = None) -> list[RefundFact]:
        """Those of a payment, with this webhook's; the one with the key `without` left out."""
        begins = prefix(self._customer, "refund", payment_id)
        found = {name: decode("refund", value) for name, value in self._store.scan(begins)}
        found |= {name: fact for name, (_, fact) in self.told.items() if name.startswith(begins)}
        return [RefundFact.of(fact) for name, fact in found.items() if fact is not None and name != without]

    def take(self, telling: Observation) -> None:
        """Merge this webhook's facts, or those of what it emits."""
        kind, ids, told = telling.kind, telling.ids, telling.fact
        fact_key = key(self._customer, kind, *ids)
        known: Fact | None
        if fact_key in self.told:
            stored, known = self.told[fact_key]
        else:
            stored = known = None if self._is_new else decode(kind, self._store.get(fact_key))
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
        summary = self.summary
        match kind:
            case "payment":
                refunds = self.refunds(ids[0]) if summary.refunds else ()
                before = None if known is None else PaymentFact.of(known)
                return summary.pay(short(ids[0]), before, PaymentFact.of(fact), refunds)
            case "refund":
                others = self.refunds(ids[0], without=key(self._customer, kind, *ids))
                now = [*others, RefundFact.of(fact)]
                if known is not None:
                    others.append(RefundFact.of(known))
                payment = decode("payment", self._store.get(key(self._customer, "payment", ids[0])))
                return summary.refund(None if payment is None else PaymentFact.of(payment), others, now)
            case "subscription":
                stood = None if known is None else SubscriptionFact.of(known)
                return self._subscribe(short(ids[0]), stood, SubscriptionFact.of(fact))
            case "charge":
                subscription = self.subscription(ids[0])
                is_over = subscription is not None and is_charged(fact, subscription)
                return summary.charge(short(ids[0])) if is_over else True
            case "card":
                summary.card = fact
            case "dispute":
                summary.lost = True
        return True

    def _subscribe(self, subscription_id: str, known: SubscriptionFact | None, fact: SubscriptionFact) -> bool:
        """A subscription has this state now; False when a place is taken of which there is no fact."""
        summary, standing = self.summary, self._standing(subscription_id, fact)
        place = place_of(standing)
        self.roster.move(None if known is None else place_by(subscription_id, known), place, summary)
        is_live = place.rank < OTHERS
        try:
            summary.live = self._ahead(summary.live, standing if is_live else None, subscription_id, live=True)
            summary.rest = self._ahead(summary.rest, standing if not is_live else None, subscription_id, live=False)
        except LookupError:
            return False
        return True

    def _ahead(self, ahead: Fact | None, standing: Fact | None, subscription_id: str, *, live: bool) -> Fact | None:
        """Who is first, of those that go on or of the others, once a subscription is among them as it stands now.

        No `standing`: it is not among them.

        Raises:
            LookupError: the one that is first by its place has no fact.
        """
        if standing is not None and (ahead is None or place_of(standing).order <= place_of(ahead).order):
            return standing
        if ahead is None or ahead[0] != subscription_id:
            return ahead
        first = self.roster.first(live=live)
        if first == subscription_id:
            return standing
        if first is None:
            return None
        fact = self.subscription(first)
        if fact is None:
            raise LookupError(first)
        return self._standing(first, fact)

    def _standing(self, subscription_id: str, fact: SubscriptionFact) -> Fact:
        charged = in_trial(fact) and is_charged(self.now("charge", subscription_id), fact)
        return standing_of(subscription_id, fact, charged=charged)

    def standing(self, subscription_id: str) -> Fact | None:
        """What is shown of a subscription, of those that go on or of the others the newest; None: nothing is."""
        for ahead in (self.summary.live, self.summary.rest):
            if ahead is not None and ahead[0] == subscription_id:
                return ahead
        fact = self.subscription(subscription_id)
        if fact is None:
            return None
        standing = self._standing(short(subscription_id), fact)
        return standing if place_of(standing).rank < OTHERS else None

    def keep(self) -> None:
        """Keep the summary and what lies beside it."""
        if self._roster is not None:
            self._roster.keep()
        self._store.put_derived(self._customer, self.summary.encode())

    def _fold(self) -> None:
        mine = {fact_key: encode(fact) for fact_key, (_, fact) in self.told.items()}
        facts = dict(self._store.scan(prefix(self._customer)))
        # Which events a webhook emits is unknown before it is settled.
        self.summary, places, _ = fold(sorted((facts | mine).items()))
        self.roster.anew(places)
        self.changed = True


def _is_nobody(store: KeyValueStore, customer: bytes) -> bool:
    """Whether there is no fact of the customer at all: then none is worth looking for."""
    return next(iter(store.scan(prefix(customer))), None) is None


def summary_of(store: KeyValueStore, customer: bytes) -> Summary:
    """The customer's summary, made anew and kept when it is missing."""
    summary = Summary.decode(store.derived(customer))
    if summary is None:
        folded = fold(store.scan(prefix(customer)))
        keep(store, customer, folded)
        summary = folded.summary
    return summary


def keep(store: KeyValueStore, customer: bytes, folded: Folded) -> None:
    """Keep a summary, and beside it what belongs to it and nothing else."""
    roster = Roster(store, customer)
    roster.anew(folded.places)
    roster.keep()
    Emitted(store, customer).anew(folded.events)
    store.put_derived(customer, folded.summary.encode())
