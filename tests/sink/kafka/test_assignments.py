"""An assignment that ends while a lane is still busy, on a real Apache Kafka."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

pytestmark = pytest.mark.kafka

LANES = 2
SLOW, NEIGHBOUR, OTHER = "cus_1", "cus_2", "cus_3"


async def test_records_of_the_next_assignment_are_sent(make_stage: Any, made: Any) -> None:
    """A member joins while answers take 5 s and 7.6 s: what the older assignment left in a lane takes nobody along.

    The hand-over owes the slow person's records, since somebody else's behind them was accepted; the grace ends before
    they are answered, and the partition comes back to the same process.
    """
    stage = await make_stage(partitions=1, lanes=LANES)
    stage.faults(
        {"match": {"person": SLOW}, "delay_after_s": 5},
        {"match": {"person": SLOW}, "delay_s": 7.6, "status": 503},
    )
    numbers = itertools.count(1)

    def barrier() -> Any:
        record = made.event_record(SLOW, next(numbers))
        return replace(record, headers=(*record.headers, ("barrier", b"1")))

    def events(count: int) -> list[Any]:
        return [made.event_record(name, next(numbers)) for _ in range(count) for name in (NEIGHBOUR, OTHER)]

    worker = stage.start()
    await worker.ready()
    await stage.produce([barrier()])
    await stage.requests(2)  # the start's, and the slow one
    await stage.produce([barrier(), barrier(), made.event_record(OTHER, next(numbers))])
    await worker.shows("dodo_cio_operations_accepted_total", lambda accepted: accepted >= 1)
    # A member that joins at once and does nothing, since a process would take its time to start. Members are sorted by
    # their ids, which begin with the client's: the only partition stays where it is.
    async with AIOKafkaConsumer(
        stage.settings.operations_topic,
        bootstrap_servers=stage.settings.kafka_bootstrap_servers,
        group_id=stage.settings.sink_group,
        client_id="zz-guest",
        enable_auto_commit=False,
        session_timeout_ms=60_000,  # this process may stand still without another assignment
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    ) as guest:
        assert guest.assignment() == frozenset()
        await stage.produce(events(5))
        await stage.done()
        assert await worker.series("dodo_cio_generation") == 2
    assert sorted(stage.numbers) == list(range(1, next(numbers)))
    assert stage.stats["order_violations"] == 0
    assert await stage.dead_letters() == []
