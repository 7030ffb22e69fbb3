"""The work that every contender of the transform does: the same function, on the same records, under the same flags.

A contender is a process: `python -m tests.bench.contenders.<name>` with brokers, source, target and group reads the
source from its beginning and writes one record for each to the target, until it gets SIGTERM. It imports nothing of the
project but this module, since most contenders live in an environment without it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple

import orjson

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

CHUNK: Final = 1000
"""Records a contender asks for at once where it can ask; none got faster with more."""

BATCH_BYTES: Final = 256 * 1024
"""Largest batch of a producer, where it can be set: what our own transform uses."""


FETCH_BACKOFF_MS: Final = 10
"""For librdkafka, whose default of 1,000 ms pauses fetching for a second whenever its queue of 64 MB is full: with
2.4 kB records that alone caps a consumer at 30,000 a second. Its documentation says to lower it in this case."""


class Operation(NamedTuple):
    """What one payment becomes."""

    id: str
    time_ms: int
    key: bytes
    value: bytes


def operation_of(body: bytes) -> Operation:
    """The event of a `payment.succeeded`: decode, an id built digit by digit, encode."""
    webhook = orjson.loads(body)
    payment = webhook["data"]
    person = payment["customer"]["customer_id"]
    time_ms = int(datetime.fromisoformat(webhook["timestamp"]).timestamp() * 1000)
    event_id = ulid(time_ms, payment["payment_id"])
    value = orjson.dumps(
        {
            "type": "person",
            "identifiers": {"id": person},
            "action": "event",
            "name": "payment_completed",
            "id": event_id,
            "timestamp": time_ms // 1000,
            "attributes": {
                "payment_id": payment["payment_id"],
                "payment_amount_minor": payment["total_amount"],
                "currency": payment["currency"],
                "payment_method": payment["payment_method"],
                "card_network": payment["card_network"],
                "subscription_id": payment["subscription_id"],
                "invoice_id": payment["invoice_id"],
                "products": [item["product_id"] for item in payment["product_cart"] or ()],
            },
        }
    )
    return Operation(event_id, time_ms, person.encode(), value)


def ulid(time_ms: int, name: str) -> str:
    """A ULID of the time and a hash of the name, five bits a turn."""
    number = time_ms << 80 | int.from_bytes(blake2b(name.encode(), digest_size=10).digest(), "big")
    digits = []
    for shift in range(125, -1, -5):
        digits.append(ALPHABET[number >> shift & 31])  # noqa: PERF401 - the plain way, which is what is measured
    return "".join(digits)


@dataclass(frozen=True)
class Job:
    """What a contender is told."""

    bootstrap_servers: str
    source: str
    target: str
    group: str


def job() -> Job:
    """The job of this process, from its arguments."""
    parser = argparse.ArgumentParser(description="A contender of the transform benchmark; runs until SIGTERM.")
    for name in ("bootstrap-servers", "source", "target", "group"):
        parser.add_argument(f"--{name}", required=True)
    return Job(**vars(parser.parse_args()))
