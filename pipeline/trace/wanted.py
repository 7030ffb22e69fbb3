"""What is searched for: a webhook's id, a payment, or a customer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from pipeline.dodo.envelope import parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import DODO_COMMAND, Record, header

Kind = Literal["webhook-id", "payment-id", "customer"]


FOLLOWED_MAX: Final = 100
"""Customers of one address, each of whom every record is asked about. A shop may give one address to all its guests."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Selects webhooks; a customer by the id, or by the address in any case and the ids that `followed` holds."""

    kind: Kind
    value: str
    followed: frozenset[bytes] = frozenset()

    def following(self, webhooks: Iterable[Record]) -> tuple[Wanted, int]:
        """The same with the ids of the customers who had the wanted address in `webhooks`; and how many are left out.

        Many webhooks name the customer by id alone. The ids that came last are taken.
        """
        if self.kind != "customer" or "@" not in self.value:
            return self, 0
        seen: dict[bytes, None] = {}
        for record in webhooks:
            for one in whose(None, data_of(record.value or b"")):
                if "@" not in one:
                    seen.pop(one.encode(), None)
                    seen[one.encode()] = None
        newest = frozenset(list(seen)[-FOLLOWED_MAX:])
        return replace(self, followed=newest), len(seen) - len(newest)

    def matches(self, record: Record) -> bool:
        """Whether the record is a webhook that is searched for; commands of ours are not webhooks."""
        if header(record.headers, DODO_COMMAND) is not None:
            return False
        body = record.value or b""
        if self.kind == "webhook-id":
            return webhook_id_of(record.headers, body) == self.value
        if not self._may_hold(record.key or b"", body):
            return False
        data = data_of(body)
        if self.kind == "payment-id":
            return any(str(data.get(name)) == self.value for name in ("payment_id", "recovered_payment_id"))
        named = whose(record.key, data)
        return self.value.casefold() in {one.casefold() for one in named} or any(
            one.encode() in self.followed for one in named
        )

    def _may_hold(self, key: bytes, body: bytes) -> bool:
        """A check without parsing the body: a hundred times faster, and most records are of other customers."""
        needle = self.value.encode()
        if needle in body or needle == key or key in self.followed or any(one in body for one in self.followed):
            return True
        if "@" not in self.value and self.value.isascii():
            return False
        # The body may have it in capitals, or with letters that JSON writes as escapes.
        folded = orjson.dumps(self.value.casefold())[1:-1]
        return folded in body.lower() or b"\\u" in body

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} {self.value}"


def data_of(body: bytes) -> Mapping[str, Any]:
    """A webhook's `data`; empty for a body that is not a webhook."""
    try:
        return parse(body).data
    except UnreadableBodyError:
        return {}


def whose(key: bytes | None, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids and address of the customer whom a webhook is about, its key first."""
    found = data.get("customer")
    customer = found if isinstance(found, dict) else {}
    named = (customer.get("customer_id"), data.get("customer_id"), customer.get("email"))
    texts = (str(one) for one in named if isinstance(one, str | int) and one)
    return tuple(dict.fromkeys([*([key.decode("utf-8", "replace")] if key else []), *texts]))
