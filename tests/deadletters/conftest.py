"""Dead letters as they lie in their topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.deadletters.envelope import dead_letter_of
from pipeline.deadletters.letter import Letter, read_letter
from pipeline.kafka.records import Record


@dataclass(frozen=True)
class Lying:
    """A record of the dead-letter topic as a consumer hands it out."""

    key: bytes | None = b"cus_1"
    value: bytes | None = b'{"type": "payment.succeeded", "data": {}}'
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "dead"
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_700_000_000_000


MakeRecord = Callable[..., Record]
MakeLetter = Callable[..., tuple[Record, Letter]]


@pytest.fixture(scope="session")
def lying() -> MakeRecord:
    """`lying(key=…, value=…, headers=…, partition=…, offset=…)`: any record of the topic."""
    return Lying


@pytest.fixture(scope="session")
def make() -> MakeLetter:
    """`make(partition=0, offset=0, stage="transform", …)`: a dead letter, as a record and as read."""

    def build(partition: int = 0, offset: int = 0, **about: Any) -> tuple[Record, Letter]:
        given: dict[str, Any] = {
            "key": b"cus_1",
            "value": b'{"type": "payment.succeeded", "data": {"customer": {"customer_id": "cus_1"}}}',
            "headers": (("webhook-id", b"msg_1"),),
            "source": "webhooks/3/41",
            "stage": "transform",
            "class_": "unmappable",
            "reason": "no",
            "at_ms": 1_700_000_000_000,
        } | about
        letter = dead_letter_of(**given)
        record = Lying(letter.key, letter.value, letter.headers, partition=partition, offset=offset)
        return record, read_letter(record)

    return build
