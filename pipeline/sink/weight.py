"""Weight: how many bytes a record holds while it waits, and how many it has on its way into another topic.

The headers of the transform's records have a bounded size, which is a part of `RECORD_OVERHEAD_BYTES`. Other producers
may write a megabyte of headers, or a key of that size, beside a value of seven bytes; those are measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Final

from pipeline.kafka.records import Record

RECORD_OVERHEAD_BYTES: Final = 1_700
"""What a record with our seven headers and its item take beside the value's bytes (1,680 measured with tracemalloc)."""

USUAL_HEADERS: Final = 12
"""Up to so many, all of them short, a record's headers are covered by the overhead: ours are seven to twelve, as a
rule. To look at their lengths takes less time than to sum them up, and this is done for every record."""

SHORT_BYTES: Final = 96
"""Up to which a header, or a key, is short."""


def weights(records: Iterable[Record]) -> list[int]:
    """How many bytes of memory each of the records holds, its item included."""
    found = []
    for record in records:
        weight = len(record.value or b"") + RECORD_OVERHEAD_BYTES
        headers = record.headers
        if len(headers) > USUAL_HEADERS or len(record.key or b"") > SHORT_BYTES:
            weight += _beside_value(record)
        else:
            try:
                for name, value in headers:
                    if len(name) + len(value) > SHORT_BYTES:
                        weight += _beside_value(record)
                        break
            except TypeError:  # a header without a value: Kafka takes it, and asking each for it costs a third more
                weight += _beside_value(record)
        found.append(weight)
    return found


def sent_bytes(record: Record) -> int:
    """How many bytes the record has when it is written again: value, key and headers."""
    headers: Sequence[tuple[str, bytes | None]] = record.headers
    told = sum([len(name) + len(value or b"") for name, value in headers])
    return len(record.value or b"") + len(record.key or b"") + told


def _beside_value(record: Record) -> int:
    """The memory of key and headers. Python takes 150 bytes for the shortest header, and up to four a character."""
    return getsizeof(record.key) + sum(
        [getsizeof(pair) + getsizeof(pair[0]) + getsizeof(pair[1]) for pair in record.headers]
    )
