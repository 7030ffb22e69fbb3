"""Payouts to the shop: they have no customer."""

from __future__ import annotations

from typing import Final

from pipeline.dodo.simulator.scene import Happening, Life, Scene, iso
from pipeline.dodo.simulator.templates import template

PAYOUTS: Final = {
    event: template(f"payout.{event}") for event in ("created", "in_progress", "on_hold", "failed", "success")
}


def pay_out(scene: Scene) -> Life:
    """One payout arrives, another is held back and rejected."""
    for events in (("created", "in_progress", "success"), ("created", "on_hold", "failed")):
        payout_id, amount = scene.id("pyt"), scene.rng.randrange(10_000, 5_000_000)
        since_us = scene.now_us
        for event in events:
            yield _tell(scene, event, payout_id, amount, since_us)
            scene.wait(60, 1200)


def _tell(scene: Scene, event: str, payout_id: str, amount: int, since_us: int) -> Happening:
    data = {
        **PAYOUTS[event],
        "amount": amount,
        "created_at": iso(since_us),
        "fee": amount // 40,
        "payout_id": payout_id,
        "updated_at": iso(scene.now_us),
    }
    return scene.tell(f"payout.{event}", data)
