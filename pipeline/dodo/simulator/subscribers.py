"""The scripts of subscribers: each yields its events in order.

Scripts of a subscription that is older than the stream begin at its billing date, so that envelope times are recent
and billing dates are true. A day pass begins and ends within the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.dodo.simulator import benefits, goods, payments, subscriptions
from pipeline.dodo.simulator.buyers import MINUTE, granted
from pipeline.dodo.simulator.scene import Life, Scene, iso
from pipeline.dodo.simulator.subscriptions import Subscription

GRACE_US: Final = 3 * goods.DAY_US


def subscribe(scene: Scene) -> Life:
    """Takes out a plan and uses it; some change it or cancel soon."""
    subscription = subscriptions.begin(scene, scene.rng.choice(goods.LASTING))
    yield from _activated(scene, subscription)
    yield benefits.credit(scene, "added", subscription.subscription_id, 1000, 0)
    balance = 1000
    for _ in range(scene.rng.randrange(4)):
        scene.wait(5 * MINUTE, 20 * MINUTE)
        used = scene.rng.randrange(100, 400)
        yield benefits.credit(scene, "deducted", subscription.subscription_id, used, balance)
        balance = max(0, balance - used)
    if balance < 200:  # noqa: PLR2004 - the plan's own threshold, 20 % of 1000
        yield benefits.balance_low(scene, subscription.subscription_id, balance)
    if scene.chance(0.2):
        yield from _scheduled_cancel(scene, subscription)


def try_out(scene: Scene) -> Life:
    """Begins a free trial: a payment of nothing, and an active subscription."""
    subscription = subscriptions.begin(scene, scene.rng.choice(goods.MONTHLY), trial_days=14)
    yield payments.succeeded(scene, subscriptions.charge(scene, subscription, "new", 0))
    yield subscriptions.tell(scene, subscription, "active")
    yield subscriptions.tell(scene, subscription, "updated")


def convert(scene: Scene) -> Life:
    """A trial ends, and the first period is paid."""
    yield from _renewed(scene, subscriptions.veteran(scene, scene.rng.choice(goods.MONTHLY), periods=1, trial_days=14))


def renew(scene: Scene) -> Life:
    """One more period; unused credits roll over."""
    subscription = subscriptions.veteran(scene, scene.rng.choice(goods.LASTING), periods=scene.rng.randrange(1, 14))
    yield from _renewed(scene, subscription)
    if scene.chance(0.3):
        yield benefits.credit(scene, "rolled_over", subscription.subscription_id, 40, 100)
        yield benefits.credit(scene, "rollover_forfeited", subscription.subscription_id, 10, 10)


def day_pass(scene: Scene) -> Life:
    """A plan that renews each day: its whole life lies within the stream."""
    subscription = subscriptions.begin(scene, goods.PASS)
    yield from _activated(scene, subscription)
    scene.now_us = subscription.next_us
    yield from _renewed(scene, subscription)
    yield from _scheduled_cancel(scene, subscription)


def lapse(trigger: str, *, recovers: bool) -> Callable[[Scene], Life]:
    """A renewal fails; the subscription goes `on_hold`, or `past_due` with a grace period, and is saved or lost."""

    def life(scene: Scene) -> Life:
        subscription = subscriptions.veteran(scene, scene.rng.choice(goods.MONTHLY), periods=scene.rng.randrange(1, 9))
        since_us = scene.now_us
        for retry in range(2):
            attempt = subscriptions.charge(scene, subscription, "renewal")
            attempt.retry = retry
            yield payments.failed(scene, attempt)
            scene.wait(10 * MINUTE, 30 * MINUTE)
            if retry == 0:
                subscription.status = trigger
                grace = iso(since_us + GRACE_US) if trigger == "past_due" else None
                subscription.changes = {"past_due_ends_at": grace}
                yield subscriptions.tell(scene, subscription, trigger)
                yield benefits.dunning(scene, subscription.subscription_id, since_us, trigger)
        subscription.changes = {}
        if recovers:
            paid = subscriptions.charge(scene, subscription, "renewal")
            paid.retry = 2
            yield from _recovered(scene, subscription, paid)
            yield benefits.dunning(scene, subscription.subscription_id, since_us, trigger, paid.payment_id)
        else:
            subscription.status = "cancelled"
            subscription.changes = {"cancelled_at": iso(scene.now_us)}
            yield subscriptions.tell(scene, subscription, "cancelled")

    return life


def cancel(scene: Scene) -> Life:
    """Schedules the end, thinks again, leaves at once in the end; some are won back."""
    subscription = subscriptions.veteran(scene, scene.rng.choice(goods.MONTHLY), periods=scene.rng.randrange(1, 9))
    yield from _renewed(scene, subscription)
    given = benefits.grant(scene, subscription_id=subscription.subscription_id)
    yield from _scheduled_cancel(scene, subscription)
    scene.wait(10 * MINUTE, 30 * MINUTE)
    since_us = scene.now_us
    customer = scene.customer.limited
    subscription.status = "cancelled"
    subscription.changes = {
        "cancelled_at": iso(since_us),
        "cancelled_by": {"actor_type": "customer", "email": customer["email"], "name": customer["name"]},
        "cancellation_feedback": scene.rng.choice(("too_expensive", "unused", "other", None)),
    }
    yield subscriptions.tell(scene, subscription, "cancelled")
    yield benefits.tell_grant(scene, given, "revoked")
    yield benefits.dunning(scene, subscription.subscription_id, since_us, "cancelled")
    if scene.chance(0.3):
        scene.wait(20 * MINUTE, 60 * MINUTE)
        again = subscriptions.begin(scene, subscription.plan)
        paid = subscriptions.charge(scene, again, "new")
        yield payments.succeeded(scene, paid)
        yield subscriptions.tell(scene, again, "active")
        yield benefits.dunning(scene, subscription.subscription_id, since_us, "cancelled", paid.payment_id)


def pause(scene: Scene) -> Life:
    """Pauses and resumes."""
    subscription = subscriptions.veteran(scene, goods.PRO, periods=3)
    yield from _renewed(scene, subscription)
    scene.wait(20 * MINUTE, 60 * MINUTE)
    subscription.status, subscription.changes = "paused", {"paused_at": iso(scene.now_us)}
    yield subscriptions.tell(scene, subscription, "paused")
    scene.wait(20 * MINUTE, 60 * MINUTE)
    subscription.status, subscription.changes = "active", {}
    yield subscriptions.tell(scene, subscription, "unpaused")
    yield subscriptions.tell(scene, subscription, "updated")


def change_plan(scene: Scene) -> Life:
    """Moves up (and pays the difference) or down (a charge of nothing); `active` fires again, as Dodo does."""
    up = scene.chance(0.6)
    old, new = (goods.STARTER, goods.PRO) if up else (goods.PRO, goods.STARTER)
    subscription = subscriptions.veteran(scene, old, periods=2)
    yield from _renewed(scene, subscription)
    scene.wait(20 * MINUTE, 90 * MINUTE)
    currency = scene.customer.currency
    before = subscription.gross(currency)
    subscription.plan = new
    difference = max(0, subscription.gross(currency) - before)
    yield payments.succeeded(scene, subscriptions.charge(scene, subscription, "plan_change", difference))
    yield subscriptions.tell(scene, subscription, "plan_changed")
    yield subscriptions.tell(scene, subscription, "active")


def replace_card(scene: Scene) -> Life:
    """Stores another card: a payment of nothing that is not a purchase."""
    subscription = subscriptions.veteran(scene, goods.PRO, periods=4)
    subscriptions.roll(scene, subscription)
    subscription.method_id = scene.id("pm")
    stored = subscriptions.charge(scene, subscription, "new", 0)
    stored.updates_method, stored.period_us = True, None
    yield payments.succeeded(scene, stored)
    yield subscriptions.tell(scene, subscription, "update_payment_method")
    yield subscriptions.tell(scene, subscription, "updated")


def never_start(scene: Scene) -> Life:
    """The first charge fails, and with it the subscription."""
    subscription = subscriptions.begin(scene, goods.PRO)
    yield payments.failed(scene, subscriptions.charge(scene, subscription, "new"))
    subscription.status, subscription.method_id = "failed", None
    yield subscriptions.tell(scene, subscription, "failed")


def expire(scene: Scene) -> Life:
    """The term ends."""
    subscription = subscriptions.veteran(scene, goods.PRO, periods=12)
    subscription.status = "expired"
    yield subscriptions.tell(scene, subscription, "expired", expires_at=iso(scene.now_us))


def spend_credits(scene: Scene) -> Life:
    """Uses more credits than there are; the overage is charged and reset, a clerk corrects the rest."""
    subscription_id = scene.id("sub")
    for event, amount, balance in (
        ("deducted", 25, 40),
        ("expired", 15, 15),
        ("overage_charged", 15, 0),
        ("overage_reset", 15, 0),
        ("manual_adjustment", 50, 0),
    ):
        scene.wait(MINUTE, 20 * MINUTE)
        yield benefits.credit(scene, event, subscription_id, amount, balance)
    yield benefits.balance_low(scene, subscription_id, 15)


def _activated(scene: Scene, subscription: Subscription) -> Life:
    paid = subscriptions.charge(scene, subscription, "new")
    scene.wait(3, 20)
    yield payments.succeeded(scene, paid)
    yield subscriptions.tell(scene, subscription, "active")
    # The first period's charge also fires this type (Dodo docs, technical FAQ).
    yield subscriptions.tell(scene, subscription, "renewed", payment_id=paid.payment_id)
    yield subscriptions.tell(scene, subscription, "updated")
    yield from granted(scene, subscription_id=subscription.subscription_id)


def _renewed(scene: Scene, subscription: Subscription) -> Life:
    paid = subscriptions.charge(scene, subscription, "renewal")
    scene.wait(3, 20)
    yield payments.succeeded(scene, paid)
    subscriptions.roll(scene, subscription)
    yield subscriptions.tell(scene, subscription, "renewed", payment_id=paid.payment_id)
    yield subscriptions.tell(scene, subscription, "updated")


def _recovered(scene: Scene, subscription: Subscription, paid: payments.Payment) -> Life:
    yield payments.succeeded(scene, paid)
    subscription.status = "active"
    subscriptions.roll(scene, subscription)
    yield subscriptions.tell(scene, subscription, "active")
    yield subscriptions.tell(scene, subscription, "renewed", payment_id=paid.payment_id)


def _scheduled_cancel(scene: Scene, subscription: Subscription) -> Life:
    for scheduled in (True, False, True)[: scene.rng.choice((1, 2, 3))]:
        scene.wait(10 * MINUTE, 40 * MINUTE)
        subscription.changes = {"cancel_at_next_billing_date": scheduled}
        yield subscriptions.tell(scene, subscription, "updated")
