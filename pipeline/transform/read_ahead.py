"""Records of a chunk, read a slice ahead of where they are decided: for a shaper that begins with them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from pipeline.kafka.records import Record
from pipeline.transform.webhook import Reading, read

FIRST: Final = 16
"""Records that are not shown before they are decided: a short chunk, as all are at a low rate, waits for no thread."""

SLICE: Final = 64
"""Records that are shown at once. Whoever runs beside this thread gets Python's lock back every 5 ms at worst: with the
state a slice takes 10 ms to decide."""

LookAhead = Callable[[Sequence[Reading]], None]


def readings(records: Iterable[Record], show: LookAhead | None = None) -> Iterator[tuple[Record, Reading]]:
    """Each record with what it is, in order; all but the `FIRST` are shown to `show` a slice before they come."""
    rest = iter(records)
    if show is None:
        for record in rest:
            yield record, read(record)
        return
    now = [(record, read(record)) for record in islice(rest, FIRST)]
    while now:
        after = [(record, read(record)) for record in islice(rest, SLICE)]
        if after:
            show([reading for _, reading in after])
        yield from now
        now = after
