"""The transform's own work on a shop's payments, in one process and without Kafka: processor time and Python calls.

Everything runs but the transport: decisions, the records that go out in real batches, facts, and the mirror on the
disk. `python -m tests.bench.decision` shows the same figures at once, without a broker.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self, cast

from aiokafka.producer.message_accumulator import BatchBuilder
from rich.console import Console

from pipeline.kafka.cluster.sizes import BATCH_BYTES
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.outgoing import OutgoingChunk
from pipeline.kafka.producer.outlet import Delivered, Part
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.settings import Settings
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.store import KeyValueStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.decision import Decision, judge
from pipeline.transform.flow import Flow, State
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.webhook import Reading
from pipeline.transform.worker import GC_THRESHOLDS
from tests.bench.figures import Figure
from tests.bench.plan import Run, Sizes
from tests.bench.shop import ShopTraffic

PARTITIONS: Final = 4
CHUNK: Final = 250
"""Webhooks of a poll's part for one partition: what a busy worker gets of 2.4 kB each."""

COUNTED: Final = 2_000
"""The last webhooks, whose calls are counted: of customers who are known, as most of a shop's are."""

TOPIC, OPERATIONS, DEAD_LETTERS, CUSTOMERS_TOPIC = "webhooks", "operations", "dead-letters", "customers"


class NoBroker:
    """A producer whose batches are complete and durable at once: the outlet of every partition, too."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ends: Counter[tuple[str, int]] = Counter()

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """As in Java's default partitioner."""
        assert key is not None, topic
        return partition_of(key, PARTITIONS)

    def chunk(self) -> OutgoingChunk:
        """A new, empty chunk."""
        return OutgoingChunk(_batch, lambda _topic, _partition: self, {})  # type: ignore[arg-type, return-value]

    def abandon(self) -> None:
        """Nothing is ever on its way."""

    def put(self, builder: Any, delivered: Delivered, part: Part) -> None:
        """Build the batch as aiokafka does before it leaves."""
        builder._build()
        self.bytes += builder.size()
        offset, records = self._ends[part.tp], builder.record_count()
        self._ends[part.tp] += records
        delivered(part, offset, records, None)


def _batch() -> Any:
    return BatchBuilder(BATCH_BYTES, 0)


class Here:
    """The facts of all partitions under one directory, and the right to write them."""

    generation = 1

    def __init__(self, directory: Path) -> None:
        self.local_stores = [
            LmdbStore.open(directory, CUSTOMERS_TOPIC, number, CUSTOMERS) for number in range(PARTITIONS)
        ]
        self._stores = [TransactionalStore(one, 0, Ownership(one.partition, PARTITIONS)) for one in self.local_stores]

    def flush(self) -> None:
        """Write what is committed to the files, as a worker does every second."""
        for store in self._stores:
            store.flush()

    def may_finish(self, _generation: int) -> bool:
        """Nobody else has the partitions."""
        return True

    def close(self) -> None:
        """Let go of the files."""
        for store, local in zip(self._stores, self.local_stores, strict=True):
            store.give_up()
            local.close(clean=False)

    def store(self, partition: int) -> TransactionalStore:
        """The facts of one partition."""
        return self._stores[partition]

    def keep(self, partitions: Collection[int]) -> None:
        """All are ours."""

    async def read_gap(self, partition: int, store: TransactionalStore) -> None:
        """Nobody else writes."""


class Bench:
    """A flow, with the state in a directory or without one."""

    def __init__(self, directory: Path | None) -> None:
        policy = Policy.of(Settings.load())
        self.producer = NoBroker()
        self.here = None if directory is None else Here(directory)

        def decided(reading: Reading, store: KeyValueStore | None) -> Decision:
            return judge(reading, policy, map_webhook, store)

        self._flow = Flow(
            decided, self.producer, operations_topic=OPERATIONS, dead_letters_topic=DEAD_LETTERS,
            observe=lambda _: None, fail=_fail,
            state=None if self.here is None else State(cast("PartitionStores", self.here), CUSTOMERS_TOPIC, self.here),
        )  # fmt: skip
        self._flow.resume(1, frozenset())

    async def take(self, batches: Iterable[RecordBatch]) -> float:
        """Processor seconds for these, until all are acknowledged."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)  # as a worker does
        began = time.process_time()
        for batch in batches:
            await self._flow.take(batch)
        await self._flow.drained()
        if self.here is not None:
            self.here.flush()
        return time.process_time() - began

    def close(self) -> None:
        """Let go of the files."""
        if self.here is not None:
            self.here.close()


def _fail(error: BaseException) -> None:
    raise error


def polls(traffic: ShopTraffic) -> list[RecordBatch]:
    """The traffic as polls bring it: partitions in turn, a chunk of each."""
    queues: list[list[FetchedRecord]] = [[] for _ in range(PARTITIONS)]
    for record in traffic.records(TOPIC, PARTITIONS):
        queues[record.partition].append(record)
    return list(_in_turn([_chunks(queue) for queue in queues]))


def _chunks(records: list[FetchedRecord]) -> Iterator[list[FetchedRecord]]:
    return (records[start : start + CHUNK] for start in range(0, len(records), CHUNK))


def _in_turn(queues: list[Iterator[list[FetchedRecord]]]) -> Iterator[RecordBatch]:
    while queues:
        for queue in [*queues]:
            records = next(queue, None)
            if records is None:
                queues.remove(queue)
            else:
                yield RecordBatch.of(TOPIC, records[0].partition, records)


class Calls:
    """Counts calls between entering and leaving: of Python functions, and of `orjson.dumps` and `orjson.loads`."""

    def __init__(self) -> None:
        self.python = 0
        self.named: Counter[str] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _hear(self, _frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            self.python += 1
        elif event == "c_call" and getattr(argument, "__module__", None) == "orjson":
            self.named[argument.__name__] += 1


async def measure(run: Run) -> list[Figure]:
    """Rounds in turn, without and with a state; then the calls of the last webhooks, counted apart from the clock."""
    traffic = ShopTraffic(run.sizes.webhooks)
    batches = polls(traffic)
    without, with_ = [], []
    for number in range(run.sizes.rounds):
        run.say(f"round {number + 1}: {len(traffic):,} payments without a state, and with one")
        without.append(1e6 * await _round(None, batches) / len(traffic))
        with tempfile.TemporaryDirectory(dir=run.directory) as directory:
            with_.append(1e6 * await _round(Path(directory), batches) / len(traffic))
    found = [
        Figure.of("decision", "without a state, processor time a webhook", without, "µs"),
        Figure.of("decision", "with the state, processor time a webhook", with_, "µs"),
    ]
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        calls, counted = await _counted(Path(directory), batches)
    return [
        *found,
        Figure("decision", "with the state, Python calls a webhook", calls.python / counted, ""),
        *(
            Figure("decision", f"with the state, orjson.{name} a webhook", calls.named[name] / counted, "")
            for name in ("dumps", "loads")
        ),
    ]


async def _round(directory: Path | None, batches: list[RecordBatch]) -> float:
    bench = Bench(directory)
    try:
        return await bench.take(batches)
    finally:
        bench.close()


async def _counted(directory: Path, batches: list[RecordBatch]) -> tuple[Calls, int]:
    """The calls of the last webhooks, and how many those are."""
    last = max(1, min(COUNTED // CHUNK, len(batches) // 2))
    bench, calls = Bench(directory), Calls()
    try:
        await bench.take(batches[:-last])
        with calls:
            await bench.take(batches[-last:])
    finally:
        bench.close()
    return calls, sum(map(len, batches[-last:]))


def main() -> None:
    """Show the figures of so many rounds as the first argument says."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sizes = Sizes(rounds=int(sys.argv[1]) if sys.argv[1:] else 1)
        for figure in asyncio.run(measure(Run(None, Path(directory), sizes))):  # type: ignore[arg-type]
            Console().print(f"{figure.name}: {figure.value_text}  {figure.spread_text}", highlight=False)


if __name__ == "__main__":
    main()
