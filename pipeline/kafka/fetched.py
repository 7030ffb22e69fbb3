"""Consumed records, as the readers of this project receive them: those that could be read, and those that could not.

What Kafka accepted is never refused here. A record, or a whole batch, that cannot be read takes its place among the
others as an `UnreadableRecord`, so that its reader can write it down and go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

NO_TIME: Final = -1
"""Kafka's own value of a record that has no timestamp."""


@dataclass(slots=True, eq=False)
class FetchedRecord:
    """A consumed record with what `Record` asks for, and what Faust reads of those of its own topics."""

    checksum: ClassVar[None] = None

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int | None
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


@dataclass(slots=True, eq=False)
class UnreadableRecord(FetchedRecord):
    """What lies at an offset and is no record that a stage may act on; `fault` is why.

    Either one record of which a part cannot be read: key and value are its own, and in a header's name each byte that
    is not UTF-8 is written as an escape of four characters. Or, with `through`, a whole batch that cannot be decoded:
    `value` has its bytes, and it stands for every offset from `offset` to `through`.
    """

    fault: str
    through: int | None = None


class Fetched(list[Any]):
    """The records of one partition that one poll brought, and the offsets that they answer for.

    Within `start` to `stop` (exclusive) there is no other record: what is missing was taken by compaction, is a
    marker or an aborted transaction, and was passed over by the client. `odd`: one of them may be an
    `UnreadableRecord`.
    """

    __slots__ = ("odd", "start", "stop")

    odd: bool
    start: int
    stop: int


def answered_for(records: Sequence[Any]) -> tuple[int, int]:
    """From which offset on, and before which, `records` are all that there is."""
    if isinstance(records, Fetched):
        return records.start, records.stop
    return records[0].offset, records[-1].offset + 1
