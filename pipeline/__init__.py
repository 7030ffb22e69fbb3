"""Dodo Payments webhooks in, Customer.io operations out, over Kafka.

    Dodo ──HTTP──▶ ingest ──▶ dodo.webhooks ──▶ transform ──▶ customerio.operations ──▶ sink ──HTTP──▶ Customer.io

Rooms, in the order that data walks: `ingest` (verifies and stores), `transform` (decides what a webhook means),
`sink` (delivers). They meet only in topics. Below them: `statestore` (keys and values with a changelog), `deadletters`
and `watch`; below those the leaves `dodo` (what Dodo sends), `customerio` (what Customer.io takes) and `kafka` (how
records move). `cli` sees all.
Promises: nothing lost, nothing doubled at Customer.io, order per customer, never above the workspace's rate.
"""

from __future__ import annotations

__version__ = "0.1.0"
