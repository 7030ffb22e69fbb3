"""Refused credentials on a real Apache Kafka: one record's, everybody's, and those of a replica that starts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.kafka.records import text_header

pytestmark = pytest.mark.kafka


async def test_one_records_refusal_is_its_own(make_stage: Any, made: Any) -> None:
    """A firewall's 403 for what one record holds costs that record alone; nobody else is held, all others arrive."""
    stage = await make_stage()
    stage.faults({"status": 403, "times": "always", "match": {"person": "cus_bad"}})
    worker = stage.start()
    await worker.ready()
    bad = (await stage.produce([made.event_record("cus_bad", 1)]))[0]
    number = 2
    async with asyncio.timeout(300):
        while not await worker.series("dodo_cio_dead_letters_total"):
            await stage.produce([made.event_record(f"cus_{n % 40}", n) for n in range(number, number + 8)])
            number += 8
            await asyncio.sleep(0.2)  # so that batches stay small and many others are there to tell by
    await stage.done()
    (letter,) = await stage.dead_letters()
    assert text_header(letter.headers, "dlq-source") == f"{bad.topic}/{bad.partition}/{bad.offset}"
    assert (text_header(letter.headers, "dlq-class"), text_header(letter.headers, "dlq-status")) == ("refused", "403")
    assert sorted(stage.numbers) == list(range(2, number))
    # Refused three times before anybody else's is accepted it is held, alone and in doubt, until somebody's is.
    assert "nothing is sent until that is mended" not in worker.text
    assert await worker.series("dodo_cio_held") == 0
    assert await worker.stop() == 0


async def test_a_replica_with_a_wrong_key_takes_nothing(make_stage: Any, made: Any) -> None:
    """In a rollout with a wrong key the new replica ends with exit code 2, and the group never hears of it."""
    stage = await make_stage({"api_key": "key"})
    healthy = stage.start()
    await healthy.ready()
    replica = stage.start(PIPELINE_CUSTOMERIO_API_KEY="wrong")
    assert await replica.ended() == 2
    assert "Customer.io refused the credentials (401)" in replica.text
    await stage.produce([made.event_record("cus_1", n) for n in range(10)])
    stage.workers.remove(replica)
    await stage.done()
    assert await healthy.series("dodo_cio_rebalances_total") == 1
    assert stage.stats["events"] == 10
    assert await healthy.stop() == 0


async def test_a_key_that_is_withdrawn_later(make_stage: Any, made: Any) -> None:
    """While the key is refused nothing is lost, the process is live and its series name the hold; then all goes."""
    stage = await make_stage()
    worker = stage.start()
    await worker.ready()
    stage.faults({"status": 401, "times": "always", "match": {"path": "/api/v2/batch"}})
    await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(500)])
    await worker.shows("dodo_cio_held", lambda value: value == 1)
    await worker.shows("dodo_cio_held_seconds", lambda value: value > 0)
    answer = await worker.answers("/ready", "Customer.io refuses the credentials (401 Unauthorized)")
    assert answer.status_code == 503, "no rollout goes on with it"
    assert (await worker.get("/live")).status_code == 200
    assert stage.stats["events"] == 0
    await worker.shows("dodo_cio_partition_lag_records", lambda records: records == 500)
    await worker.shows("dodo_cio_partition_lag_seconds", lambda seconds: seconds > 1)
    stage.faults()
    await stage.done()
    assert (stage.stats["events"], stage.stats["duplicates"], stage.stats["order_violations"]) == (500, 0, 0)
    assert await stage.dead_letters() == []
    assert await worker.series("dodo_cio_held") == 0
    await worker.shows("dodo_cio_partition_lag_records", lambda records: records == 0)
    assert await worker.series("dodo_cio_partition_lag_seconds") == 0
    assert await worker.series("dodo_cio_operation_to_accepted_seconds_count") == 500
    assert await worker.stop() == 0
