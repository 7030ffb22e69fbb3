"""What an operation costs inside of the sink: intake, lanes, batcher and acknowledgement, without Kafka and HTTP."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from faust.types import TP

from pipeline.customerio.batch import join
from pipeline.customerio.client import Response
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.sink.sink import Sink
from tests.bench import stage
from tests.bench.figures import Figure, per
from tests.bench.plan import Run

ROUNDS: Final = 5
CHUNK: Final = 500
PARTITIONS: Final = 4
LANES: Final = 8
NO_LIMIT: Final = 1e6
TOPIC: Final = "customerio.operations"
ACCEPTED: Final = Response(200, {}, b"{}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A consumed record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Member:
    """Of a group that never changes."""

    def may_send(self, generation: int) -> bool:  # noqa: ARG002 - the protocol's
        """Always."""
        return True

    may_finish = may_send


async def measure(run: Run) -> list[Figure]:
    """Time an operation from delivery to acknowledgement, and of merely joining the same bytes into as many bodies."""
    count = run.sizes.lane_operations
    chunks = _chunks(count)
    through, joined, fills = [], [], []
    for number in range(ROUNDS):
        gc.collect()
        seconds, bodies = await _through(chunks, count)
        through.append(per(1e6 * seconds, count))
        joined.append(per(1e6 * _join(chunks, count, len(bodies)), count))
        fills.append(per(sum(bodies) / 1000, len(bodies)))
        run.say(f"round {number + 1} of {ROUNDS}: {through[-1]:.2f} µs an operation")
    return [
        Figure.of("lanes", "delivery to acknowledgement, an operation", through, "µs"),
        Figure.of("lanes", "joining alone, an operation", joined, "µs"),
        Figure("lanes", "body of a request", statistics.median(fills), "kB"),
    ]


def _chunks(count: int) -> list[tuple[int, list[Fetched]]]:
    partitions: list[list[Fetched]] = [[] for _ in range(PARTITIONS)]
    for number in range(count):
        key, value, headers = stage.operation(number)
        records = partitions[number % PARTITIONS]
        records.append(Fetched(TOPIC, number % PARTITIONS, len(records), 1, key, value, tuple(headers)))
    cut = [
        (partition, records[start : start + CHUNK])
        for partition, records in enumerate(partitions)
        for start in range(0, len(records), CHUNK)
    ]
    return sorted(cut, key=lambda chunk: chunk[1][0].offset)  # as polls bring them: partitions in turn


async def _through(chunks: list[tuple[int, list[Fetched]]], count: int) -> tuple[float, list[int]]:
    bodies: list[int] = []
    acknowledged: dict[int, int] = {}
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def post(body: bytes) -> Response:
        bodies.append(len(body))
        await asyncio.sleep(0)
        return ACCEPTED

    sink = Sink(
        post=post,
        producer=cast("Any", None),  # no operation here becomes a dead letter
        dead_letters_topic="dead-letters",
        membership=Member(),
        partitions_total=lambda: PARTITIONS,
        requests_per_second=NO_LIMIT,
        lanes=LANES,
        crash=ended.set_exception,
    )
    assigned = frozenset(TP(TOPIC, number) for number in range(PARTITIONS))
    await sink.start()
    sink.handover.resume(1, assigned)
    ends = {partition: records[-1].offset for partition, records in chunks}

    def acknowledging(partition: int) -> Callable[[int], None]:
        def acknowledge(offset: int) -> None:
            acknowledged[partition] = offset
            if acknowledged == ends and not ended.done():
                ended.set_result(None)

        return acknowledge

    began = time.perf_counter()
    for partition, records in chunks:
        behind = ends[partition] - records[-1].offset
        await sink.take(RecordBatch.of(TOPIC, partition, records, 1, acknowledging(partition), behind=behind))
    async with asyncio.timeout(stage.PATIENCE_S):
        await ended
    seconds = time.perf_counter() - began
    assert acknowledged == ends, f"{count} operations were delivered, acknowledged were {acknowledged}"
    await sink.stop()
    return seconds, bodies


def _join(chunks: list[tuple[int, list[Fetched]]], count: int, requests: int) -> float:
    values = [record.value for _, records in chunks for record in records]
    size = -(-count // requests)
    began = time.perf_counter()
    for start in range(0, count, size):
        join(values[start : start + size])
    return time.perf_counter() - began
