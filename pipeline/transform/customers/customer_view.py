"""One customer as the mapping sees them at one webhook, and what the webhook leaves behind.

The view is the profile (`transform.profile`): with this webhook's facts merged in, beside what was there before it. It
writes nothing until `settle`, which the decision calls for a webhook that was mapped, and never for a dead letter.

It is one class since every answer reads the same merged facts, and since each webhook asks for several: as parts, each
answer would cost a further call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.statestore.store import KeyValueStore
from pipeline.transform import fields
from pipeline.transform.customers import cancelling, identity, turns
from pipeline.transform.customers.emitted import Emitted
from pipeline.transform.customers.facts import (
    NOTE,
    TURNS,
    Fact,
    Kind,
    Source,
    charges_of,
    decode,
    encode,
    forgotten_until_ms,
    identity_key,
    in_this_form,
    key,
    short,
)
from pipeline.transform.customers.merged_facts import MergedFacts
from pipeline.transform.customers.named import (
    NO_WEBHOOK,
    CardTold,
    FlagSeen,
    PaymentFact,
    RefundFact,
    SubscriptionFact,
    SubscriptionPlan,
)
from pipeline.transform.customers.observations import Observation, Observations
from pipeline.transform.customers.standing import CREATED
from pipeline.transform.customers.summary import Summary, refunded
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.profile import (
    Activation,
    Active,
    Addressed,
    Card,
    CardTeller,
    Charge,
    Contact,
    Course,
    Payment,
    Person,
    Recovery,
    Refunded,
    Spending,
    Subscription,
    Unpaid,
)
from pipeline.transform.timestamps import MIN_PLAUSIBLE_MS
from pipeline.transform.verdicts import Operations

EVENT_KEPT_S: Final = 180 * 86_400
"""How long it is known that an event is out. Dodo replays reach back two weeks; the topic of webhooks a month."""

SAME_CARD_MS: Final = 3_600_000
"""How far apart the events of one changed card may be whose webhooks name the same method: an hour. Dodo stamps both in
the same second; whoever stores the same card again an hour later has changed it again."""

SAME_MOMENT_MS: Final = 10_000
"""The same where they name another method, or none: the subscription's body is read at the delivery, and a late retry
shows the method of then."""

LAST_OF_SECOND_MS: Final = 999
"""A delivery is stamped in whole seconds: its body may show what happened until the second's end."""


class CustomerView:
    """One customer at one webhook.

    Args:
        store: of the partition that the webhook lies in.
        customer: the customer's part of keys (`facts.customer_key`).
        shown: what the webhook shows of the customer.
    """

    def __init__(self, store: KeyValueStore, customer: bytes, shown: Observations) -> None:
        times, contact = shown.times, shown.contact
        at_s, at_ms = times.snapshot_s, times.occurred_ms or 0
        self._store = store
        self._customer = customer
        self._moment = (at_s, at_ms)
        self._told = shown.facts
        self._if_told = shown.if_told
        self._revives = False
        self._facts = MergedFacts(store, customer, shown.facts)
        self._known = self._facts.summary.identity
        self._now = identity.confirm(self._known, at_s, at_ms, contact, shown.metadata)
        self.contact = contact
        known = identity.contact_of(self._now)
        if known != contact:
            # Versions before took more for an address and a name; what this webhook shows was read by this version.
            address, name, phone, country = known
            self.contact = Contact(fields.email(address), fields.person_name(name), phone, country)

    @property
    def summary(self) -> Summary:
        """The summary, with this webhook."""
        return self._facts.summary

    @property
    def forgotten_s(self) -> int:
        """When the customer was forgotten, unix seconds; 0: never."""
        return self._facts.summary.forgotten_s

    # The profile.

    @property
    def began_at_ms(self) -> int:
        """See `Profile`. Of a customer who was forgotten facts are collected anew since then."""
        return max(self._store.began_at_ms, forgotten_until_ms(self._facts.summary.forgotten_s))

    @property
    def person(self) -> Person | None:
        """See `Profile`."""
        person = self._now[identity.PERSON]
        return None if person is None else Person(person[2], person[3])

    @property
    def identity(self) -> bytes | None:
        """See `Profile`."""
        digest = self._known[identity.DIGEST]
        return None if digest is None else bytes.fromhex(digest)

    @property
    def identified(self) -> str | None:
        """See `Profile`."""
        if self._known[identity.DIGEST] is None:
            return None
        to = self._known[identity.TO]
        person = self._known[identity.PERSON]
        return to if to is not None or person is None else str(person[2])

    @property
    def addressed(self) -> Addressed | None:
        """See `Profile`."""
        to, person = self._known[identity.TO], self._known[identity.PERSON]
        own = self._customer.decode("utf-8", "replace")
        by_address = person is not None and person[3] == EMAIL_STEP
        if to is not None:
            stood_in = to == own and (person is None or person[2] != own)
            return Addressed(to, "email" if by_address and not stood_in else "id", stood_in)
        if person is not None:
            return Addressed(person[2], "email" if by_address else "id")
        # A version before noted no name where it sent events alone: they went to the stand-in.
        return Addressed(own, "id", stood_in=True) if self._facts.summary.head is not None else None

    @property
    def delivered_at_s(self) -> int:
        """See `Profile`."""
        known, now = self._known, int(self._now[identity.DELIVERED])
        may_have_said = not known[identity.DIGEST] is known[identity.TO] is known[identity.PERSON] is None
        return now + 1 if may_have_said and now == known[identity.DELIVERED] else now

    @property
    def metadata(self) -> Mapping[str, Any]:
        """See `Profile`."""
        return {name: known[2] for name, known in self._now[identity.METADATA].items()}

    @property
    def spending(self) -> Spending:
        """See `Profile`."""
        return spending_of(self._facts.summary)

    @property
    def has_lost_dispute(self) -> bool:
        """See `Profile`."""
        return self._facts.summary.lost

    @property
    def card(self) -> Card | None:
        """See `Profile`."""
        return card_of(self._facts.summary)

    @property
    def speaking(self) -> Subscription | None:
        """See `Profile`."""
        standing = self._facts.summary.live or self._facts.summary.rest
        return None if standing is None else subscription_shown(standing)

    @property
    def active(self) -> Active:
        """See `Profile`."""
        summary = self._facts.summary
        return Active(summary.active, sorted(summary.products))

    def subscription(self, subscription_id: str) -> Subscription | None:
        """See `Profile`."""
        standing = self._facts.standing(subscription_id)
        return None if standing is None else subscription_shown(standing)

    @property
    def subscribed_since_ms(self) -> int | None:
        """See `Profile`."""
        rest = self._facts.summary.rest
        moments = [
            self._facts.roster.oldest_since_ms(MIN_PLAUSIBLE_MS),
            None if rest is None else rest[CREATED],
        ]
        return min((ms for ms in moments if ms is not None and ms >= MIN_PLAUSIBLE_MS), default=None)

    def before(self, subscription_id: str) -> Subscription | None:
        """See `Profile`. A state that was read later than this webhook's is not before it."""
        fact, mine = self._facts.both("subscription", subscription_id)
        if fact is None:
            return None
        known = SubscriptionFact.of(fact)
        ahead = (known.at_s, known.at_ms) > self._moment
        own = self._plan if mine is not None else None
        terms = None if own is None else own.terms
        plans = [one for one in known.plans if one.terms != terms and (one.at_s, one.at_ms) <= self._moment]
        plan = plans[0] if plans else None
        if own is not None and plan is not None and self._was_left(subscription_id, plan, own):
            plan = own
        return Subscription(
            subscription_id=subscription_id,
            status=None if ahead else known.standing,
            product_id=None if plan is None else plan.product_id,
            minor=None if plan is None else plan.minor,
            currency=None if plan is None else plan.currency,
            interval=None if plan is None else plan.interval,
            interval_count=None if plan is None else plan.interval_count,
            next_billing=None if ahead else known.next_billing,
            cancel_at_next_billing=known.cancels and not ahead,
            created_at_ms=known.created_ms,
        )

    def cancellation_shown_by(self, subscription_id: str) -> str | None:
        """See `Profile`."""
        fact, _ = self._facts.both("cancellation", subscription_id)
        if fact is None:
            return None
        mine = next((FlagSeen(*telling.fact[0]) for telling in self._told if telling.kind == "cancellation"), None)
        until_ms = self._moment[1] or self._moment[0] * 1000
        return cancelling.shown_by([FlagSeen(*seen) for seen in fact], mine, until_ms)

    def first_activation(self, subscription_id: str) -> Activation | None:
        """See `Profile`. Read as active from Dodo's API it was activated before that, at a time that nobody told."""
        fact = self._facts.now("activation", subscription_id)
        known = self._facts.subscription(subscription_id)
        read_ms = None if known is None else turns.read_active_ms(known.turns)
        if read_ms is not None and (fact is None or fact[0] > read_ms):
            return Activation(webhook_id=NO_WEBHOOK, at_ms=read_ms)
        return None if fact is None else Activation(webhook_id=fact[1], at_ms=fact[0])

    def lapsed_before(self, subscription_id: str, at_ms: int) -> bool:
        """See `Profile`."""
        known = self._facts.subscription(subscription_id)
        return known is not None and turns.lapsed_before(known.turns, at_ms)

    def recoveries(self, subscription_id: str) -> list[Recovery]:
        """See `Profile`."""
        known = self._facts.subscription(subscription_id)
        if known is None:
            return []
        own = [
            turn
            for telling in self._told
            if telling.kind == "subscription"
            for turn in SubscriptionFact.of(telling.fact).turns
        ]
        read_s = max(known.at_s, self._moment[0])
        return turns.recoveries(known.turns, own, read_s * 1000 + LAST_OF_SECOND_MS)

    def pause_answered(self, subscription_id: str, at_ms: int) -> bool:
        """See `Profile`."""
        known = self._facts.subscription(subscription_id)
        return known is not None and turns.is_silent(known.turns, at_ms)

    def course(self, subscription_id: str) -> Course:
        """See `Profile`."""
        known, charges = self._facts.subscription(subscription_id), self._facts.now("charge", subscription_id)
        paid, free = charges_of(charges) if charges is not None else ((), ())
        moved = self._facts.now("trial", subscription_id) if known is not None and known.trial_days else None
        return Course(
            0 if known is None else known.created_ms,
            0 if known is None else known.trial_days,
            [Charge(*charge) for charge in paid],
            [Charge(*charge) for charge in free],
            0 if known is None else known.plan.at_ms or known.plan.at_s * 1000,
            () if known is None else turns.unpaid_since(known.turns),
            () if moved is None else [ends_ms for ends_ms, _ in moved],
        )

    def card_told(self, subscription_id: str, method_id: str | None, at_ms: int, by: CardTeller) -> bool:
        """See `Profile`."""
        told, _ = self._facts.both("replacement", subscription_id)
        if told is not None:
            known = [CardTold(*one) for one in told]
            return any(one.by == by and _is_one_change(at_ms - one.at_ms, one.method_id, method_id) for one in known)
        shown, _ = self._facts.both("method", subscription_id)
        return by == "subscription" and shown is not None and shown[2] == method_id

    def payment(self, payment_id: str) -> Payment | None:
        """See `Profile`."""
        known = self._facts.payment(payment_id)
        if known is None or known.minor is None:
            return None
        products, subscriptions = known.goods or ((), ())
        return Payment(known.minor, known.currency, known.charge_type, products, subscriptions, payment_id)

    def is_first_payment(self, payment_id: str) -> bool:
        """See `Profile`."""
        first = self._facts.summary.first
        return first is not None and first[1] == short(payment_id)

    @property
    def unpaid(self) -> list[Unpaid]:
        """See `Profile`."""
        return [Unpaid(*entry[1:]) for entry in reversed(self._facts.now("unpaid", "") or [])]

    def payment_of_period(self, subscription_id: str, starts_at_ms: int, tolerance_ms: int) -> Payment | None:
        """See `Profile`; of several the nearest."""
        near = [
            (abs(starts - starts_at_ms), payment_id)
            for starts, subscription, payment_id in self._facts.summary.periods
            if subscription == subscription_id and abs(starts - starts_at_ms) <= tolerance_ms
        ]
        return self.payment(min(near)[1]) if near else None

    def refunded(self, payment_id: str) -> Refunded | None:
        """See `Profile`."""
        payment = self._facts.payment(payment_id)
        if payment is None:
            return None
        minor = refunded(payment, self._facts.refunds(payment_id))
        if minor is None or payment.minor is None:
            return None
        return Refunded(minor, payment.currency, fully=minor >= payment.minor)

    def refunded_otherwise(self, payment_id: str) -> bool:
        """See `Profile`."""
        payment = self._facts.payment(payment_id) if self._facts.summary.refunds else None
        return payment is not None and any(
            refund.is_partial is not False and refund.currency not in {None, payment.currency}
            for refund in self._facts.refunds(payment_id)
        )

    @property
    def stands_for_event(self) -> bool:
        """See `Profile`."""
        return self._facts.is_money

    def emitted(self, event_id: str, *, beside: bool = False) -> bool:
        """See `Profile`."""
        if self._facts.is_money and not beside:
            known, _ = next(iter(self._facts.told.values()))
            return known is not None and _source_of(self._told[0].kind, known) == "webhook"
        return decode("event", self._store.get(key(self._customer, "event", event_id))) is not None

    # What is left behind.

    def revive(self) -> None:
        """Know the customer again, who was forgotten."""
        self._revives = self._facts.summary.forgotten_s > 0
        self._facts.summary.forgotten_s = 0

    def settle(self, operations: Operations | None) -> None:
        """Put this webhook's facts into the store, and that `operations` were sent; None: there was nothing to send."""
        put, facts = self._store.put, self._facts
        if operations is not None:
            self._said(operations)
            for telling in self._if_told.get(operations.event or "", ()):
                facts.take(telling)
            if operations.event is None:
                self._silent()
            for subscription_id, recovery in operations.recoveries:
                self._answered(subscription_id, turns.answer(recovery))
        record = self._identify()
        for fact_key, (known, fact) in facts.told.items():
            if fact != known:
                put(fact_key, encode(fact))
        if operations is not None:
            if operations.spoken is not None and not facts.is_money:
                self._emit(operations.spoken)
            for operation in operations.operations:
                if operation.kind == "event" and not (facts.is_money and operation.name == operations.event):
                    self._emit(operation.op_id)
        if record is not None:
            put(identity_key(self._customer), encode(record))
        if facts.changed or self._revives:
            facts.keep()
        if self._revives:
            # Last: after a crash before it the customer is forgotten still, and what is read again tells nothing.
            put(key(self._customer, "request", ""), None)
            put(key(self._customer, "forgotten", ""), None)

    def _identify(self) -> Fact | None:
        """The identity's record, if it takes one; a payment that was not known carries what it only confirms."""
        now, known = self._now, self._known
        if now == known:
            return None
        now[identity.VERSION] += 1
        self._facts.summary.identity, self._facts.changed = now, True
        if self._told and self._told[0].kind == "payment":
            before, payment = next(iter(self._facts.told.values()))
            at_s, at_ms = self._moment
            note = identity.note_of(known, now, at_s, at_ms) if before is None else None
            if note is not None:
                payment[NOTE] = note
                return None
        return now

    def _said(self, operations: Operations) -> None:
        now = self._now
        person_id = operations.person_key.decode()
        before = now[identity.PERSON]
        if operations.identified_by is not None and (before is None or identity.is_nobody(before)):
            now[identity.PERSON] = [*self._moment, person_id, operations.identified_by]
            if before is not None and now[identity.TO] is None:
                now[identity.TO] = before[2]
        person = now[identity.PERSON]
        if operations.identified_at_s is not None:
            now[identity.DELIVERED] = max(now[identity.DELIVERED], operations.identified_at_s)
        if operations.identity is not None:
            now[identity.DIGEST] = operations.identity.hex()
            now[identity.TO] = None if person is not None and person[2] == person_id else person_id
        elif person is None and operations.operations:
            now[identity.TO] = person_id

    def _silent(self) -> None:
        """Know of a pause's end that its own webhook told nothing, where another one had answered the pause before."""
        for telling in self._told:
            if telling.kind == "subscription" and telling.fact[TURNS] and telling.fact[TURNS][0][1] == "unpaused":
                (subscription_id,), ((at_ms, *_),) = telling.ids, telling.fact[TURNS]
                known = self._facts.subscription(subscription_id)
                if known is not None and turns.is_silent(known.turns, at_ms):
                    self._answered(subscription_id, turns.silence(at_ms))

    def _answered(self, subscription_id: str, turn: turns.Turn) -> None:
        fact = self._facts.now("subscription", subscription_id)
        if fact is not None:
            fact = in_this_form(fact)
            fact = [*fact[:TURNS], [turn], *fact[TURNS + 1 :]]
            self._facts.take(Observation("subscription", (subscription_id,), fact))

    def _emit(self, event_id: str) -> None:
        emitted_s, event_key = self._moment[0], key(self._customer, "event", event_id)
        emitted = Emitted(self._store, self._customer)
        self._prune(emitted, emitted_s)
        known = decode("event", self._store.get(event_key))
        self._store.put(event_key, encode([emitted_s]))
        if known is not None:
            emitted.drop(event_id, known[0])
        emitted.add(event_id, emitted_s)
        if known is None:
            self._facts.summary.emit(event_id, emitted_s)
        else:
            self._facts.summary.head = emitted.first()
        self._facts.changed = True

    def _prune(self, emitted: Emitted, now_s: int) -> None:
        """Take the event that is out for longest away when its time is over.

        One goes where one comes, so they never pile up, and a webhook with a wrong time costs one.
        """
        head = self._facts.summary.head
        if head is None or head[1] >= now_s - EVENT_KEPT_S:
            return
        self._store.put(key(self._customer, "event", head[0]), None)
        emitted.drop(*head)
        self._facts.summary.head = emitted.first()

    @property
    def _plan(self) -> SubscriptionPlan | None:
        """The plan that this webhook shows."""
        shown = (telling.fact for telling in self._told if telling.kind == "subscription")
        return next((SubscriptionFact.of(fact).plan for fact in shown), None)

    def _was_left(self, subscription_id: str, plan: SubscriptionPlan, own: SubscriptionPlan) -> bool:
        """Whether an earlier change led from `plan` to `own`: this one is of add-ons or a quantity then."""
        fact, _ = self._facts.both("change", subscription_id)
        changes = [SubscriptionPlan(*change) for change in fact or ()]
        at_ms = self._moment[1]
        earlier = [change for change in changes if change.at_ms < at_ms and change.at_s * 1000 <= at_ms]
        return bool(earlier) and earlier[-1].terms == own.terms and plan.at_s * 1000 <= earlier[-1].at_ms


def _is_one_change(apart_ms: int, one: str | None, other: str | None) -> bool:
    """Whether two observations of a changed card, that far apart, are of one change."""
    same = one is not None and one == other
    return abs(apart_ms) <= (SAME_CARD_MS if same else SAME_MOMENT_MS)


def spending_of(summary: Summary) -> Spending:
    """The sums of a summary as the mapping asks for them."""
    base, last, method, first = summary.base, summary.last, summary.method, summary.first
    return Spending(
        summary.spent,
        base[2] if base else None,
        summary.count,
        last[2] if last else None,
        method[2] if method else None,
        first[2] if first else None,
        last[0] if last else None,
        first[0] if first else None,
    )


def _source_of(kind: Kind, fact: Fact) -> Source:
    return (PaymentFact.of(fact) if kind == "payment" else RefundFact.of(fact)).source


def subscription_shown(standing: Fact) -> Subscription:
    """A subscription of a summary or a share as the mapping asks for it."""
    subscription_id, status, product_id, next_billing, cancels, created_ms, *terms = standing
    # A share of an earlier version has no terms.
    minor, currency, interval, interval_count, trial_ends_ms, cancelled_at = terms or [None] * 6
    return Subscription(
        subscription_id=subscription_id,
        status=status,
        product_id=product_id,
        next_billing=next_billing,
        cancel_at_next_billing=cancels,
        created_at_ms=created_ms,
        minor=minor,
        currency=currency,
        interval=interval,
        interval_count=interval_count,
        trial_ends_ms=trial_ends_ms,
        cancelled_at=cancelled_at,
    )


def card_of(summary: Summary) -> Card | None:
    """The card of a summary as the mapping asks for it."""
    return None if summary.card is None else Card(*summary.card[2:])
