"""Receipts: records in the dead-letter topic itself that list the letters that were put back.

Kafka deletes no single record, so without receipts the same command given twice would put the same letters back twice,
and an interrupted one could not be continued. A receipt has the header `dlq-put-back` (unix ms) and no `dlq-stage`; its
value is `{"put_back": [identity, …]}`. It names letters by a digest of their content, not by offset: in a topic that
was mirrored or restored, an offset is that of another letter, which would then never be put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from pipeline.deadletters.letter import IDENTITY_BYTES
from pipeline.kafka.records import DLQ_STAGE, OutRecord, Record, header, int_header

RECEIPT: Final = "dlq-put-back"


def receipt(identities: Sequence[bytes], at_ms: int) -> OutRecord:
    """The receipt for these letters (at least one), which were put back at `at_ms`.

    It has a key of its own, since a topic that a platform made compacted refuses records without one.
    """
    value = orjson.dumps({"put_back": [identity.hex() for identity in identities]})
    key = f"put-back-{at_ms}-{identities[0].hex()}".encode()
    return OutRecord(key, value, ((RECEIPT, b"%d" % at_ms),), timestamp_ms=at_ms)


def read_receipt(record: Record) -> tuple[bytes, ...] | None:
    """The letters on the receipt `record`; None when it is not a receipt, or malformed."""
    if header(record.headers, RECEIPT) is None or header(record.headers, DLQ_STAGE) is not None:
        return None
    try:
        identities = tuple(bytes.fromhex(text) for text in orjson.loads(record.value or b"")["put_back"])
    except (ValueError, TypeError, KeyError):  # orjson's error is a ValueError
        return None
    return identities if all(len(identity) == IDENTITY_BYTES for identity in identities) else None


@dataclass(frozen=True, slots=True)
class PutBack:
    """How often a letter was put back, and when last (unix ms)."""

    times: int
    last_ms: int


NEVER: Final = PutBack(0, 0)


@dataclass(slots=True)
class History:
    """All receipts that were read."""

    _known: dict[bytes, PutBack] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Add `record` if it is a receipt; return whether it is one."""
        identities = read_receipt(record)
        if identities is None:
            return False
        at_ms = int_header(record.headers, RECEIPT) or record.timestamp
        for identity in identities:
            before = self.of(identity)
            self._known[identity] = PutBack(before.times + 1, max(before.last_ms, at_ms))
        return True

    def of(self, identity: bytes) -> PutBack:
        """How often and when a letter was put back."""
        return self._known.get(identity, NEVER)
