"""The batcher against the mere joining of the same bytes."""

from __future__ import annotations

import gc
import time
from typing import Any, cast

from pipeline.customerio.batch import join
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.sink.acks import Acks
from pipeline.sink.batching import Waiting
from pipeline.sink.group import Group
from pipeline.sink.handover import Assignment
from pipeline.sink.item import Item
from tests.bench.figures import Figure, median, per
from tests.bench.plan import Run
from tests.bench.stage import operation

ROUNDS = 9


async def measure(run: Run) -> list[Figure]:
    """Time of drawing and joining all batches of a full lane, over the time of joining the same batches; medians."""
    joined, put, drawn = [], [], []
    operations = run.sizes.lane_operations
    for _ in range(ROUNDS):
        items = _items(operations)
        gc.collect()
        drafts: list[list[bytes]] = []
        waiting = Waiting(items)
        while waiting:
            drafts.append([item.body for item in waiting.draw().items])
        began = time.perf_counter()
        size = sum(len(join(bodies)) for bodies in drafts)
        joined.append(time.perf_counter() - began)
        began = time.perf_counter()
        waiting = Waiting(items)
        put.append(time.perf_counter() - began)
        began = time.perf_counter()
        again = 0
        while waiting:
            again += len(Group(waiting.draw().items).body)
        drawn.append(time.perf_counter() - began)
        assert again == size
    ratio = median(per(one, other) for one, other in zip(drawn, joined, strict=True))
    extra_ns = per(1e9 * (median(drawn) - median(joined)), operations)
    return [
        Figure("batcher", "drawing and joining / joining", ratio, "x", at_most=1.5),
        Figure("batcher", "joining, an operation", per(1e9 * median(joined), operations), "ns"),
        Figure("batcher", "on top of joining, an operation", extra_ns, "ns"),
        Figure("batcher", "putting into the lane, an operation", per(1e9 * median(put), operations), "ns"),
    ]


def _items(operations: int) -> list[Item]:
    record = cast("Any", type("R", (), {"offset": 0, "timestamp": 0}))
    chunk = Acks().open(RecordBatch.of("t", 0, [record]), Assignment(1, frozenset()))
    values = (operation(number) for number in range(operations))
    return [Item(record, value, key, False, chunk, 0, len(value)) for key, value, _ in values]
