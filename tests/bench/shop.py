"""A shop's payments: customers who come back, several currencies, and a time of each one's own.

Each payment has ids, an amount and a moment of its own, and is delivered a few seconds after it, so that a customer's
later webhook confirms what is known of them, as it does in a shop. 2.4 kB each, and the same in every run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Final

import orjson

from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.partitioner import partition_of

PAYMENTS_EACH: Final = 8
CURRENCIES: Final = ("USD", "USD", "EUR", "JPY")
"""A customer pays in one; half of them in the first."""

SAMPLE: Final = "payment.succeeded.json"
BEGAN: Final = datetime(2026, 10, 1, tzinfo=UTC)
APART: Final = timedelta(milliseconds=61_417)
"""40,000 payments are four weeks."""


def customer_id_of(customer: int) -> str:
    """The id of a customer by number."""
    return f"cus_0N{customer:020d}"


class ShopTraffic:
    """The payments of one shop, in the order in which they were made.

    Args:
        payments: how many.
        customers: of how many customers; None: eight of each.
        before: how many the shop has had before these.
    """

    def __init__(self, payments: int, customers: int | None = None, before: int = 0) -> None:
        self._body = orjson.loads(files("pipeline.dodo.samples").joinpath(SAMPLE).read_bytes())
        if customers is None:
            customers = max(1, payments // PAYMENTS_EACH)
        self._before = before
        self._turns = [number % customers for number in range(payments)]
        random.Random(20_261_001).shuffle(self._turns)

    def __len__(self) -> int:
        return len(self._turns)

    def records(self, topic: str, partitions: int) -> Iterator[FetchedRecord]:
        """The webhooks as they lie in the topic of so many partitions, each at the next offset of its own."""
        ends = [0] * partitions
        for number, customer in enumerate(self._turns, self._before):
            key, body, delivered = self._webhook(number, customer)
            partition = partition_of(key, partitions)
            received_ms = int(delivered.timestamp() * 1000)
            headers = (
                ("webhook-id", b"msg_%027d" % number),
                ("webhook-timestamp", b"%d" % int(delivered.timestamp())),
                ("dodo-type", b"payment.succeeded"),
                ("dodo-mode", b"live"),
                ("received-at", b"%d" % received_ms),
            )
            yield FetchedRecord(topic, partition, ends[partition], received_ms, 1, key, body, headers)
            ends[partition] += 1

    def _webhook(self, number: int, customer: int) -> tuple[bytes, bytes, datetime]:
        """Key, body, and when it was delivered."""
        happened = BEGAN + number * APART
        body, data = self._body, self._body["data"]
        customer_id = customer_id_of(customer)
        data["customer"] = {
            "customer_id": customer_id,
            "email": f"customer{customer}@example.com",
            "metadata": {"app_user_id": f"u_{customer}", "plan_tier": "pro"},
            "name": f"Customer {customer}",
            "phone_number": f"+1555{customer:07d}",
        }
        data["payment_id"] = f"pay_0N{number:020d}"
        data["invoice_id"] = f"inv_0N{number:020d}"
        data["checkout_session_id"] = f"cks_0N{number:020d}"
        data["currency"] = CURRENCIES[customer % len(CURRENCIES)]
        data["total_amount"] = 900 + number * 7 % 9_000
        data["product_cart"] = [{"product_id": f"pdt_0N{number * 31 % 40:020d}", "quantity": 1 + number % 3}]
        data["created_at"] = _iso(happened - timedelta(seconds=14))
        data["updated_at"] = _iso(happened)
        body["timestamp"] = _iso(happened + timedelta(milliseconds=281))
        return customer_id.encode(), orjson.dumps(body), happened + timedelta(seconds=2 + number % 5)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
