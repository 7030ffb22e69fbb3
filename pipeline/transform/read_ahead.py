"""Records of a chunk, read a slice at a time before they are decided: for a shaper that does a slice's work at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from pipeline.kafka.records import Record
from pipeline.transform.webhook import Reading, read

SLICE: Final = 64
"""Records that are shown at once. The work of a recipe on so many takes 3 ms, in which the event loop stands still."""

LookAhead = Callable[[Sequence[Reading]], None]


def readings(records: Iterable[Record], show: LookAhead | None = None) -> Iterator[tuple[Record, Reading]]:
    """Each record with what it is, in order; `show` is shown every slice before the first of it comes."""
    rest = iter(records)
    if show is None:
        for record in rest:
            yield record, read(record)
        return
    while now := [(record, read(record)) for record in islice(rest, SLICE)]:
        show([reading for _, reading in now])
        yield from now
