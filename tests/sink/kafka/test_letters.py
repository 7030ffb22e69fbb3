"""Dead letters of the sink on a real Apache Kafka."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.kafka.records import text_header

pytestmark = pytest.mark.kafka

REFUSED = 2_200


async def test_a_mass_refusal_is_written_in_order(make_stage: Any, made: Any) -> None:
    """Operations that one answer refuses, more than a Kafka batch holds, become one dead letter each, each person's in
    their order; the broker has them before the group's offset passes them."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=1, lanes=1)
    stage.faults({"match": {"name": "tested"}, "refuse_items": "matched", "times": "always"})
    records = [made.event_record(f"cus_{n % 5}", n) for n in range(REFUSED)]
    await stage.produce(records)
    worker = stage.start()
    await stage.done()
    letters = await stage.dead_letters()
    topic = stage.settings.operations_topic
    sources = [text_header(one.headers, "dlq-source") for one in letters]
    assert set(sources) == {f"{topic}/0/{n}" for n in range(REFUSED)}
    for person in {one.key for one in records}:  # of two persons either may come first: only one of them waits
        theirs = [(one.key, one.value) for one in letters if one.key == person]
        assert theirs == [(one.key, one.value) for one in records if one.key == person]
    assert {text_header(one.headers, "dlq-class") for one in letters} == {"refused"}
    assert stage.stats["events"] == 0
    assert await worker.series("dodo_cio_dead_letters_total") == REFUSED
    assert await worker.stop() == 0
