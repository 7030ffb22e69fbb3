"""Unpacking: fetched bytes become records. aiokafka's own, without what it does for each record and nobody here reads.

Its record is a dataclass of eleven fields with a dictionary, and its iterator a call around a generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aiokafka.consumer import fetcher


@dataclass(slots=True, eq=False)
class FetchedRecord:
    """A consumed record with what `Record` asks for, and what Faust reads of those of its own topics."""

    checksum: ClassVar[None] = None

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @property
    def serialized_key_size(self) -> int:
        """Bytes of the key, -1 without one."""
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        """Bytes of the value, -1 without one."""
        return -1 if self.value is None else len(self.value)


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's part of a fetch; which batches and records are given out is decided by aiokafka's own code."""

    def __iter__(self) -> Iterator[FetchedRecord]:
        """The generator itself, which ends its reference back to this object when it is exhausted."""
        return self._records_iterator  # type: ignore[no-any-return]

    def _consumer_record(self, tp: Any, record: Any) -> FetchedRecord:
        return FetchedRecord(
            tp.topic, tp.partition, record.offset, record.timestamp, record.timestamp_type, record.key, record.value,
            record.headers,
        )  # fmt: skip


def use_our_unpacking() -> None:
    """Let every consumer of this process that has no deserializers unpack this way.

    aiokafka names the class at one place, as a global of its module, and has no other seam. Calling it again changes
    nothing.
    """
    fetcher.PartitionRecords = PartitionRecords
