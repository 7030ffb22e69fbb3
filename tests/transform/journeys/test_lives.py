"""Lives of one subscription, made at random, against a shop that knows what it did.

The shop is written for this test and knows nothing of ours: it keeps what it does as a list of doings, counts from
these what a customer must be told of, and lets a delivery service be late, unordered and repetitive, with bodies as
they were when the event happened, or read anew at each attempt. What no rule can bring in order is left out: what
shows that an end is scheduled, or is not any more, comes in order; and the charge of a plan change is not late, since a
retry of an older event would show a plan between the two that may be of then or of now.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

LIVES: Final = 6_000 if "LONG_LIVES" in os.environ else 150
"""Of each kind of body."""

BEGIN_MS: Final = 1_769_936_400_000
DAY_MS: Final = 86_400_000
LATE_S: Final = (5, 305, 2_105, 9_305, 27_305, 63_305, 99_305)
"""Dodo's attempts after the first one, seconds after the event: a day and almost four hours."""

POLICY: Final = Policy(emit_trial_events=True)
REPLAY_S: Final = 10 * 86_400
LATE: Final = frozenset(
    {
        "subscription.updated",
        "subscription.renewed",
        "payment.succeeded",
        "subscription.on_hold",
        "subscription.past_due",
        "subscription.paused",
        "subscription.unpaused",
    }
)
"""Types whose first attempt may fail: what they tell is told all the same, by them or by others."""

SUBSCRIPTION: Final = orjson.loads(samples.load("subscription.active"))
PAYMENT: Final = orjson.loads(samples.load("payment.succeeded"))


@dataclass
class Shop:
    """One subscription: the clock, its fields, the doings, and what must have been told of them in the end.

    `prompt` are the doings, by number, whose first delivery always arrives.
    """

    rng: Random
    now_ms: int = BEGIN_MS
    fields: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    doings: list[tuple[int, str, Callable[[int], dict[str, Any]]]] = field(default_factory=list)
    prompt: set[int] = field(default_factory=set)
    told: Counter[str] = field(default_factory=Counter)
    conversions: int = 0
    in_trial: bool = False
    trial_ends_ms: int = BEGIN_MS + 14 * DAY_MS
    free_months: int = 0
    payments: int = 0
    cards: int = 0

    def change(self, **fields: Any) -> None:
        """The subscription is another one from now on."""
        self.now_ms += self.rng.randrange(1, 400)
        self.fields |= fields
        self.history.append((self.now_ms, dict(self.fields)))

    def wait(self, least_s: float, most_s: float) -> None:
        """Time passes."""
        self.now_ms += int(self.rng.uniform(least_s, most_s) * 1000)

    def tell(self, event: str, **fields: Any) -> None:
        """A webhook of the subscription; what it shows is decided when it is delivered."""
        self.now_ms += self.rng.randrange(1, 400)

        def data(read_ms: int) -> dict[str, Any]:
            known = [state for at_ms, state in self.history if at_ms <= read_ms]
            return {**SUBSCRIPTION["data"], **known[-1], **fields}

        self.doings.append((self.now_ms, f"subscription.{event}", data))

    def pay(self, charge_type: str, minor: int, *, event: str = "succeeded", **fields: Any) -> str:
        """A payment's webhook, whose body never changes."""
        self.payments += 1
        payment_id = f"pay_{self.payments}"
        body = PAYMENT["data"] | {
            "payment_id": payment_id,
            "subscription_id": "sub_1",
            "subscription_ids": ["sub_1"],
            "product_cart": None,
            "service_periods": None,
            "discounts": None,
            "refunds": [],
            "charge_type": charge_type,
            "total_amount": minor,
            "created_at": iso(self.now_ms),
            "status": event,
            **fields,
        }
        self.now_ms += self.rng.randrange(1, 400)
        self.doings.append((self.now_ms, f"payment.{event}", lambda _read_ms: body))
        if event == "succeeded" and minor:
            self.told["payment_completed"] += 1
        return payment_id

    def period(self, months: int = 1) -> dict[str, Any]:
        """The dates of a period that begins now."""
        return {
            "previous_billing_date": iso(self.now_ms),
            "next_billing_date": iso(self.now_ms + months * 30 * DAY_MS),
        }


def begin(shop: Shop) -> None:
    """A subscription is taken out, in a trial or not."""
    days = shop.rng.choice((0, 0, 14))
    shop.in_trial = days > 0
    shop.free_months = shop.rng.choice((0, 0, 1, 2)) if days else 0
    coupon = {"discount_id": "dsc_1", "code": "FREE", "type": "percentage", "amount": 10_000}
    shop.change(
        subscription_id="sub_1",
        status="active",
        product_id="pdt_1",
        created_at=iso(shop.now_ms),
        previous_billing_date=iso(shop.now_ms),
        next_billing_date=iso(shop.now_ms + (days or 30) * DAY_MS),
        trial_period_days=days,
        payment_method_id="pm_0",
        discounts=[coupon | {"cycles_remaining": shop.free_months}] if shop.free_months else None,
    )
    payment_id = shop.pay("new", 0 if days else 3132)
    shop.tell("active")
    if not days:
        shop.tell("renewed", payment_id=payment_id)
    shop.tell("updated")
    shop.told["subscription_started"] += 1
    shop.told["trial_started"] += days > 0
    shop.wait(26 * 3_600, 9 * 86_400)  # a plan change of the first day looks like the first charge


def _charged(shop: Shop, charge_type: str, *, of_plan: bool = False) -> None:
    is_free = not of_plan and shop.free_months > 0
    if is_free:
        shop.free_months -= 1
        discounts = [shop.fields["discounts"][0] | {"cycles_remaining": shop.free_months}]
        shop.change(**shop.period(), discounts=discounts, status="active")
    else:
        shop.change(**shop.period(), status="active")
        if shop.in_trial:
            shop.conversions, shop.in_trial = shop.conversions + 1, False
            shop.told["trial_converted"] += 1
    if of_plan:
        shop.prompt.add(len(shop.doings))
    payment_id = shop.pay(charge_type, 0 if is_free else 3132)
    shop.tell("renewed", payment_id=payment_id)
    shop.told["subscription_renewed"] += 1


def renew(shop: Shop) -> None:
    """A period is over, and the next one is paid, or free."""
    if shop.in_trial:
        _to_the_end_of_the_trial(shop)
    else:
        shop.wait(20 * 86_400, 31 * 86_400)
    _charged(shop, "renewal")
    shop.tell("updated")


def _to_the_end_of_the_trial(shop: Shop) -> None:
    """What comes first after a trial lies at its end, or, with a coupon, a month later."""
    if shop.now_ms < shop.trial_ends_ms:
        shop.now_ms = shop.trial_ends_ms + shop.rng.randrange(60_000)
    else:
        shop.wait(29 * 86_400, 31 * 86_400)


def move_end(shop: Shop) -> None:
    """The trial ends sooner or later than planned, which an update tells; nothing else does but a charge at once."""
    at_once = not shop.free_months and shop.now_ms < BEGIN_MS + 12 * DAY_MS and shop.rng.random() < 0.3
    later_ms = max(shop.now_ms + 2 * DAY_MS, shop.trial_ends_ms + shop.rng.randrange(-9, 40) * DAY_MS)
    shop.trial_ends_ms = shop.now_ms + 1_000 if at_once else later_ms
    shop.change(next_billing_date=iso(shop.trial_ends_ms))
    shop.prompt.add(len(shop.doings))
    shop.tell("updated")
    if at_once:
        renew(shop)


def lapse(shop: Shop) -> None:
    """A renewal fails; with a grace period or not, and sometimes first the one and then the other."""
    if shop.in_trial:
        return
    shop.wait(20 * 86_400, 31 * 86_400)
    for status in shop.rng.choice((("on_hold",), ("past_due",), ("past_due", "on_hold"))):
        shop.pay("renewal", 3132, event="failed", error_code="INSUFFICIENT_FUNDS")
        shop.told["payment_failed"] += 1
        shop.change(status=status)
        shop.tell(status)
        shop.told[f"subscription_{status}"] += 1
        shop.tell("updated")
        shop.wait(0.1, shop.rng.choice((1, 60, 9_000, 3 * 86_400)))
    if shop.rng.random() < 0.15:
        return  # for good
    if shop.rng.random() < 0.3:
        card(shop)
        shop.wait(10, 60)
    shop.change(status="active")
    doings = ["active", "charge", "updated"]
    shop.rng.shuffle(doings)
    for doing in doings:
        if doing == "charge":
            _charged(shop, "renewal")
        else:
            shop.tell(doing)
    shop.told["subscription_reactivated"] += 1


def pause(shop: Shop) -> None:
    """Paused and resumed; the activation comes before or behind the resumption."""
    shop.change(status="paused", paused_at=iso(shop.now_ms))
    shop.tell("paused")
    shop.tell("updated")
    shop.wait(0.1, shop.rng.choice((1, 60, 9_000, 9 * 86_400)))
    shop.change(status="active", paused_at=None)
    events = ["active", "unpaused", "updated"]
    for event in shop.rng.sample(events, shop.rng.choice((3, 3, 2))):
        shop.tell(event)
    shop.told["subscription_paused"] += 1
    shop.told["subscription_unpaused"] += 1


def move_up(shop: Shop) -> None:
    """A plan change, charged at once or not; `active` fires again."""
    now = f"pdt_{len(shop.history)}"
    if shop.rng.random() < 0.6:
        shop.change(product_id=now)
        _charged(shop, "plan_change", of_plan=True)
    else:
        shop.change(product_id=now)
    for event in shop.rng.sample(("plan_changed", "active", "updated"), 3):
        shop.tell(event)
    shop.told["subscription_plan_changed"] += 1


def card(shop: Shop) -> None:
    """Another card is stored: two webhooks, in either order, one event."""
    shop.cards += 1
    method = f"pm_{shop.cards}"
    shop.change(payment_method_id=method)
    stored: dict[str, Any] = {"is_update_payment_method": True, "payment_method_id": method}
    if shop.rng.random() < 0.5:
        shop.tell("update_payment_method")
        shop.pay("new", 0, **stored)
    else:
        shop.pay("new", 0, **stored)
        shop.tell("update_payment_method")
    shop.told["a card"] += 1


def reconsider(shop: Shop) -> None:
    """The end is scheduled, and mostly withdrawn again."""
    for scheduled in (True, False)[: shop.rng.choice((1, 2, 2))]:
        shop.change(cancel_at_next_billing_date=scheduled)
        shop.prompt.add(len(shop.doings))
        shop.tell("updated")
        shop.told[f"subscription_cancellation_{'scheduled' if scheduled else 'withdrawn'}"] += 1
        shop.wait(30, shop.rng.choice((60, 9_000, 2 * 86_400)))


def end(shop: Shop) -> None:
    """It ends."""
    how = shop.rng.choice(("cancelled", "expired"))
    shop.change(status=how, cancelled_at=iso(shop.now_ms) if how == "cancelled" else None)
    shop.tell(how)
    shop.tell("updated")
    shop.told[f"subscription_{how}"] += 1


CARDS: Final = ("payment_method_updated", "subscription_payment_method_updated")


def life(seed: int) -> Shop:
    """A subscription's whole life."""
    shop = Shop(Random(f"life {seed}"))
    begin(shop)
    for _ in range(shop.rng.randrange(1, 6)):
        in_first_trial = shop.in_trial and shop.fields["previous_billing_date"] == shop.fields["created_at"]
        shop.rng.choice(
            (renew, renew, move_up, move_end, card)
            if in_first_trial
            else (renew, renew, lapse, lapse, pause, move_up, card)
        )(shop)
        if shop.fields["status"] != "active":
            break
        if shop.rng.random() < 0.15:
            reconsider(shop)
        if shop.fields.get("cancel_at_next_billing_date"):
            break
        shop.wait(30, 3_600 if in_first_trial else shop.rng.choice((3_600, 4 * 86_400)))
        if in_first_trial and not shop.in_trial:
            shop.wait(LATE_S[-1], 2 * 86_400)  # which of two charges was first is known once both came
    if shop.rng.random() < 0.4:
        end(shop)
    return shop


def delivered(shop: Shop, *, anew: bool) -> list[Consumed]:
    """The webhooks in the order in which they come, some late, some again; `anew`: each with what is true by then."""
    found = []
    for number, (at_ms, type_, data) in enumerate(shop.doings):
        first_ms = at_ms + shop.rng.randrange(3_000)
        times = [first_ms]
        if shop.rng.random() < 0.25:
            times += [first_ms + 1000 * late for late in shop.rng.sample((*LATE_S, REPLAY_S), shop.rng.randrange(1, 4))]
        if len(times) > 1 and type_ in LATE and number not in shop.prompt and shop.rng.random() < 0.4:
            times.remove(first_ms)  # the first attempt failed
        for time_ms in times:
            body: dict[str, Any] = {"business_id": "bus_1", "type": type_, "timestamp": iso(at_ms)}
            body["data"] = data(time_ms if anew else at_ms)
            headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % (time_ms // 1000)))
            found.append((time_ms, Consumed(orjson.dumps(body), headers)))
    return [record for _, record in sorted(found, key=lambda item: item[0])]


@pytest.mark.parametrize("anew", [True, False], ids=["bodies read anew", "bodies of then"])
def test_what_was_told_is_what_the_shop_did(*, anew: bool) -> None:
    """Every doing once, of one lapse one answer, of one card one change, of one trial at most one conversion."""
    for seed in range(LIVES):
        shop = life(seed)
        store, told, conversions, status = MemoryStore(), Counter[str](), Counter[str](), None
        records = delivered(shop, anew=anew)
        for record in records:
            verdict = decide(record, POLICY, map_webhook, store).verdict
            for operation in verdict.operations if isinstance(verdict, Operations) else ():
                attributes = orjson.loads(operation.body)["attributes"]
                if operation.kind == "event":
                    told["a card" if operation.name in CARDS else str(operation.name)] += 1
                    conversions[str(operation.name)] += attributes.get("is_trial_conversion", False)
                else:
                    status = attributes.get("subscription_status", status)
        assert told == shop.told, f"at seed {seed}"
        assert conversions["payment_completed"] == shop.conversions, f"at seed {seed}"
        # A renewal that overtakes its payment cannot know which month of a coupon is the first paid one.
        least = 0 if shop.fields["discounts"] else shop.conversions
        assert least <= conversions["subscription_renewed"] <= shop.conversions, f"at seed {seed}"
        if anew or shop.fields["status"] in {"cancelled", "expired"}:
            assert status == shop.fields["status"], f"at seed {seed}"
