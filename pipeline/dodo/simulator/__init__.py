"""Simulates a shop: the webhooks of its customers, and a ledger to check a pipeline against.

Promises: the same seed and `now` give the same deliveries, byte for byte; every body has the fields of the reference
samples; all 48 types occur within 2,000 deliveries; a customer's first deliveries come in the order of events. About
2 % are delivered again, 0.5 % are forged, 0.2 % are signed but unreadable. The ledger is written as events happen, not
computed from the bodies. A customer's actions are a script (a "life") that yields events. Open `shop` next; `buyers`
and `subscribers` hold the scripts.
"""

from __future__ import annotations

from pipeline.dodo.simulator.delivery import Delivery
from pipeline.dodo.simulator.ledger import Ledger
from pipeline.dodo.simulator.shop import Shop

__all__ = ["Delivery", "Ledger", "Shop"]
