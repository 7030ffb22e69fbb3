"""The scripts of one-time buyers: each yields its events in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.dodo.simulator import benefits, payments
from pipeline.dodo.simulator.scene import Life, Scene

MINUTE: Final = 60.0


def purchase(scene: Scene) -> Life:
    """Buys once; a licence key comes with it."""
    payment = payments.buy(scene)
    if scene.chance(0.3):
        scene.wait(1, 20)
        yield payments.processing(scene, payment)
    scene.wait(5, 90)
    yield payments.succeeded(scene, payment)
    if scene.chance(0.4):
        yield benefits.license_key(scene, payment.payment_id)
        yield from granted(scene, payment_id=payment.payment_id)


def refunded(scene: Scene) -> Life:
    """Buys, and gets the money back in two parts after one failed attempt."""
    payment = payments.buy(scene)
    scene.wait(5, 90)
    yield payments.succeeded(scene, payment)
    scene.wait(10 * MINUTE, 60 * MINUTE)
    yield payments.refund(scene, payment, payment.total, fails=True)
    if scene.chance(0.6):
        scene.wait(MINUTE, 10 * MINUTE)
        yield payments.refund(scene, payment, payment.total // 3)
    if scene.chance(0.6):
        scene.wait(MINUTE, 30 * MINUTE)
        yield payments.refund(scene, payment, payment.total - payment.refunded)


def disputed(*events: str) -> Callable[[Scene], Life]:
    """Buys, and disputes the charge, which then goes through `events`."""

    def life(scene: Scene) -> Life:
        payment = payments.buy(scene)
        scene.wait(5, 90)
        yield payments.succeeded(scene, payment)
        scene.wait(30 * MINUTE, 60 * MINUTE)
        dispute_id, opened_us = scene.id("dp"), scene.now_us
        for event in ("opened", *events):
            yield payments.dispute(scene, payment, dispute_id, event, opened_us)
            scene.wait(10 * MINUTE, 40 * MINUTE)

    return life


def struggle(scene: Scene) -> Life:
    """Two cards fail, the third asks for authentication and works."""
    for _ in range(2):
        scene.wait(10, 120)
        yield payments.failed(scene, payments.buy(scene))
    payment = payments.buy(scene)
    yield payments.processing(scene, payment, action=True)
    scene.wait(20, 200)
    if scene.chance(0.8):
        yield payments.succeeded(scene, payment)
    else:
        yield payments.cancelled(scene, payment)


def leave(scene: Scene) -> Life:
    """Leaves the checkout; some come back and pay, some want no reminder."""
    lost = payments.buy(scene)
    scene.wait(30, 300)
    yield payments.cancelled(scene, lost) if scene.chance(0.5) else payments.failed(scene, lost)
    scene.wait(60 * MINUTE, 90 * MINUTE)
    since_us = scene.now_us
    if scene.chance(0.2):
        yield benefits.abandoned(scene, lost.payment_id, since_us, "opted_out")
        return
    yield benefits.abandoned(scene, lost.payment_id, since_us, "abandoned")
    scene.wait(20 * MINUTE, 60 * MINUTE)
    if scene.chance(0.7):
        paid = payments.buy(scene)
        yield payments.succeeded(scene, paid)
        yield benefits.abandoned(scene, lost.payment_id, since_us, "recovered", paid.payment_id)


def fail_grant(scene: Scene) -> Life:
    """Access to a repository cannot be granted."""
    payment = payments.buy(scene)
    yield payments.succeeded(scene, payment)
    yield benefits.tell_grant(scene, benefits.grant(scene, payment_id=payment.payment_id), "failed")


def granted(scene: Scene, *, payment_id: str | None = None, subscription_id: str | None = None) -> Life:
    """An entitlement is granted and delivered."""
    given = benefits.grant(scene, payment_id=payment_id, subscription_id=subscription_id)
    yield benefits.tell_grant(scene, given, "created")
    scene.wait(1, 5)
    yield benefits.tell_grant(scene, given, "delivered")
