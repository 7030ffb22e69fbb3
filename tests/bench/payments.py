"""The webhooks that are measured: `payment.succeeded` of 2.4 kB, each of its own payment, of many customers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

import orjson

from pipeline.dodo.signature import sign

PEOPLE: Final = 20_000
SAMPLE: Final = "payment.succeeded.json"
SAMPLE_MINUTE: Final = b"2026-10-14T08:21"
CUSTOMER: Final = b"cus_0NExampleCustomer0001"
PAYMENT: Final = b"pay_0NExamplePayment00001"
EMAIL: Final = b"jiwoo.han@example.com"

Headers = list[tuple[str, bytes]]


class Payments:
    """Numbered webhooks of one run, all of one size; the same number is always the same webhook.

    Args:
        padding_bytes: makes every body so much larger (in a metadata field that nobody forwards).
        people: how many customers there are; as many payments in a row are one of each.
    """

    def __init__(self, padding_bytes: int = 0, people: int = PEOPLE) -> None:
        now = datetime.now(UTC)
        webhook = orjson.loads(files("pipeline.dodo.samples").joinpath(SAMPLE).read_bytes())
        if padding_bytes:
            webhook["data"]["metadata"]["note"] = "x" * padding_bytes
        text = orjson.dumps(webhook).replace(SAMPLE_MINUTE, now.strftime("%Y-%m-%dT%H:%M").encode())
        for part in (CUSTOMER, PAYMENT, EMAIL):
            assert part in text, part
        self._text = text
        self._people = people
        self._received_ms = b"%d" % int(now.timestamp() * 1000)
        self._attempt_s = b"%d" % int(now.timestamp())
        self._run = uuid.uuid4().hex[:8]

    @property
    def body_bytes(self) -> int:
        """The size of one body."""
        return len(self.body(0))

    def customer(self, number: int) -> bytes:
        """Whose payment it is."""
        return b"cus_%021d" % (number * 7919 % self._people)

    def webhook_id(self, number: int) -> str:
        """Its webhook id, of its own in each run."""
        return f"msg_{self._run}{number:016d}"

    def body(self, number: int) -> bytes:
        """The body as Dodo would post it."""
        customer = self.customer(number)
        return (
            self._text.replace(CUSTOMER, customer)
            .replace(PAYMENT, b"pay_%021d" % number)
            .replace(EMAIL, b"b%s@example.com" % customer[-8:])
        )

    def record(self, number: int) -> tuple[bytes, bytes, Headers]:
        """Key, value and headers as ingest writes them."""
        headers = [
            ("webhook-id", self.webhook_id(number).encode()),
            ("webhook-timestamp", self._attempt_s),
            ("dodo-type", b"payment.succeeded"),
            ("dodo-mode", b"live"),
            ("received-at", self._received_ms),
        ]
        return self.customer(number), self.body(number), headers

    def records(self, count: int) -> Iterator[tuple[bytes, bytes, Headers]]:
        """The first so many."""
        return map(self.record, range(count))

    def request(self, number: int, secret: str, at_s: int) -> bytes:
        """A signed HTTP/1.1 request for ingest, head and body, with keep-alive."""
        body = self.body(number)
        signed = sign(secret, self.webhook_id(number), at_s, body)
        head = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        return (
            f"POST /webhooks/dodo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{head}\r\n"
        ).encode() + body
