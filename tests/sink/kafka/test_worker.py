"""The sink on a real Apache Kafka and the sandbox: what goes in comes out, once and in order."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from pipeline.kafka.records import text_header

pytestmark = pytest.mark.kafka

KILLED_AFTER_S = 30.0
"""By Kubernetes. A stop takes twelve seconds at most, on a machine that has nothing else to do."""

IN_FLIGHT_S = 6.0
"""For an answer: within the grace of a stop, and long enough to produce behind it, slowly too, before it comes."""


async def test_everything_arrives(make_stage: Any, made: Any) -> None:
    """Every person and event in the topic is at Customer.io, once, in order, in few requests, and committed."""
    stage = await make_stage()
    people = [f"cus_{n}" for n in range(100)]
    records = [made.identify_record(person) for person in people]
    records += [made.event_record(people[n % 100], n) for n in range(3000)]
    await stage.produce(records)
    worker = stage.start()
    await stage.done()
    stats = stage.stats
    assert sorted(stage.numbers) == list(range(3000))
    assert (stats["people"], stats["duplicates"], stats["refused"], stats["order_violations"]) == (100, 0, 0, 0)
    assert stats["requests"] < 150
    assert (await worker.series("dodo_cio_operations_accepted_total")) == 3100
    assert (await worker.series("dodo_cio_records_undelivered")) == 0
    assert await worker.stop() == 0


async def test_barrier(make_stage: Any, made: Any) -> None:
    """No request holds an event behind the first identify of its person."""
    stage = await make_stage(lanes=1)
    records = []
    for n in range(200):
        records += [made.identify_record(f"cus_{n}"), made.event_record(f"cus_{n}", n)]
    await stage.produce(records)
    stage.start()
    await stage.done()
    identified: set[str] = set()
    for request in stage.batches:
        new = set()
        for one in request:
            if one["action"] == "identify":
                new.add(one["identifiers"]["id"])
            else:
                assert one["identifiers"]["id"] in identified
        identified |= new
    assert stage.stats["events"] == 200


async def test_refused_and_unusable_records(make_stage: Any, made: Any) -> None:
    """What Customer.io refuses, and what is no operation, becomes a dead letter with its exact source; the rest goes
    on. The same with Faust's own command."""  # noqa: D205, D209 - one promise
    stage = await make_stage()
    stage.faults({"match": {"person": "cus_bad"}, "refuse_items": "matched", "times": "always"})
    records = [made.event_record(f"cus_{n % 20}", n) for n in range(400)]
    for n in (50, 150, 350):
        records.insert(n, made.event_record("cus_bad", 1000 + n))
    for n, value in ((20, b"{"), (220, None), (320, b'{"a":"' + b"x" * 40_000 + b'"}')):
        records.insert(n, type(records[0])(b"cus_7", value, (("op-id", b"odd"),)))
    places = await stage.produce(records)
    worker = stage.start(made.FAUST)
    await stage.done()
    expected = {
        f"{place.topic}/{place.partition}/{place.offset}": (record.value, class_)
        for place, record in zip(places, records, strict=True)
        if (class_ := _class_of(record)) is not None
    }
    letters = await stage.dead_letters()
    told = {
        text_header(one.headers, "dlq-source"): (one.value, text_header(one.headers, "dlq-class")) for one in letters
    }
    assert told == expected
    assert len(letters) == len(expected) == 6
    assert {text_header(one.headers, "dlq-status") for one in letters if one.value and b"cus_bad" in one.value} == {
        "207"
    }
    assert sorted(stage.numbers) == list(range(400))
    assert stage.stats["duplicates"] == 0
    assert await worker.stop() == 0


def _class_of(record: Any) -> str | None:
    if record.key == b"cus_bad":
        return "refused"
    if record.value is None or record.value == b"{":
        return "unreadable"
    return "oversize" if len(record.value) > 32_000 else None


async def test_throttled(make_stage: Any, made: Any) -> None:
    """429 with Retry-After holds every lane; afterwards everything arrives, once and in order."""
    stage = await make_stage({"rate_limit": 10, "retry_after": 1}, customerio_requests_per_second=50)
    # However few requests a second a slow machine makes, one of them is throttled.
    stage.faults({"match": {"request": 6}, "status": 429, "retry_after": 1})
    await stage.produce([made.event_record(f"cus_{n % 50}", n, pad="x" * 900) for n in range(6_000)])
    stage.start(made.PATIENT)
    await stage.requests(8)
    for start in (6_000, 6_050, 6_100):
        await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(start, start + 50)])
    await stage.done()
    stats = stage.stats
    assert sorted(stage.numbers) == list(range(6_150))
    assert stats["statuses"]["429"] >= 1
    assert (stats["duplicates"], stats["order_violations"]) == (0, 0)


async def test_outage_and_lost_answers(make_stage: Any, made: Any) -> None:
    """An outage, broken connections and answers lost after acceptance: nothing lost, doubled or out of order."""
    stage = await make_stage()
    stage.faults({"status": 503, "times": 20}, {"drop": "before", "times": 4}, {"drop": "after", "times": 4})
    await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(500)])
    worker = stage.start()
    await stage.requests(10)
    assert (await worker.get("/ready")).status_code == 200
    await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(500, 600)])
    await stage.done()
    stats = stage.stats
    assert sorted(stage.numbers) == list(range(600))
    assert stats["order_violations"] == 0
    assert stats["duplicates"] > 0
    assert stats["dropped"] == 8
    assert (await stage.dead_letters()) == []


async def test_backlog_with_the_api_down(make_stage: Any, made: Any) -> None:
    """With a large backlog and no Customer.io, memory stays bounded and the membership is kept; then all of it goes."""
    stage = await make_stage({"fast": True}, customerio_requests_per_second=500)
    stage.faults({"status": 503, "times": "always"})
    total, size = 35_000, 900
    await stage.produce([made.event_record(f"cus_{n % 500}", n, pad="x" * size) for n in range(total)])
    worker = stage.start(made.PATIENT)
    await worker.shows("dodo_cio_memory_taken_bytes", lambda taken: taken > 60 * 1024 * 1024)
    before = await worker.series("dodo_cio_retries_total")
    await worker.shows("dodo_cio_retries_total", lambda retries: retries >= before + 16)
    assert await worker.series("dodo_cio_memory_taken_bytes") <= 64 * 1024 * 1024
    assert await worker.series("process_resident_memory_bytes") < 300 * 1024 * 1024
    assert await worker.series("dodo_cio_rebalances_total") == 1
    assert (await worker.get("/ready")).status_code == (await worker.get("/live")).status_code == 200
    stage.faults()
    await stage.done()
    assert (stage.stats["events"], stage.stats["duplicates"], stage.stats["order_violations"]) == (total, 0, 0)


async def test_sigterm_with_a_slow_api(make_stage: Any, made: Any) -> None:
    """SIGTERM waits for the requests in flight and no longer; their operations are committed and never sent again."""
    stage = await make_stage()
    stage.faults({"delay_s": IN_FLIGHT_S, "times": "always", "match": {"path": "/api/v2/batch"}})
    await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(300)])
    worker = stage.start()
    await stage.requests(2)
    await stage.produce([made.event_record(f"cus_{n % 50}", n) for n in range(300, 600)])
    asked = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - asked < KILLED_AFTER_S
    assert 0 < stage.stats["events"] < 600
    stage.faults()
    stage.start()
    await stage.done()
    assert sorted(stage.numbers) == list(range(600))
    assert (stage.stats["duplicates"], stage.stats["order_violations"]) == (0, 0)


async def test_sigterm_with_a_silent_api(make_stage: Any, made: Any) -> None:
    """An API that answers nothing does not keep the process from ending."""
    stage = await make_stage()
    stage.faults({"delay_s": 600, "times": "always", "match": {"path": "/api/v2/batch"}})
    await stage.produce([made.event_record(f"cus_{n % 50}", n, pad="x" * 900) for n in range(6_000)])
    worker = stage.start()
    await stage.requests(5)
    asked = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - asked < KILLED_AFTER_S


async def test_a_second_worker_joins_and_leaves(make_stage: Any, made: Any) -> None:
    """Partitions move to a second worker and back under traffic: nothing lost, first deliveries in order."""
    stage = await make_stage()
    sent = 0

    async def traffic(until: asyncio.Event) -> None:
        nonlocal sent
        while not until.is_set():
            await stage.produce([made.event_record(f"cus_{n % 80}", n) for n in range(sent, sent + 80)])
            sent += 80

    first = stage.start(made.PATIENT)
    await first.ready()
    enough = asyncio.Event()
    flowing = asyncio.create_task(traffic(enough))
    second = stage.start(made.PATIENT)
    await second.answers("/ready", "2 partitions")
    await first.answers("/ready", "2 partitions")
    await first.shows("dodo_cio_request_budget_per_second", lambda share: share == pytest.approx(50))
    assert await first.stop() == 0
    await second.answers("/ready", "4 partitions")
    enough.set()
    await flowing
    await stage.done()
    assert sorted(stage.numbers) == list(range(sent))
    assert (stage.stats["duplicates"], stage.stats["order_violations"]) == (0, 0)


async def test_killed_and_frozen(make_stage: Any, made: Any) -> None:
    """One worker is killed and one frozen past its session, both in the middle of requests: nothing is lost or out of
    order, repeats are known by their ids, and the frozen one sends nothing stale when it wakes up."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=6, lanes=2, customerio_requests_per_second=15)
    killed, frozen, heir = stage.start(), stage.start(), stage.start()
    for worker in (killed, frozen, heir):
        await worker.answers("/ready", "2 partitions")
    stage.faults({"delay_after_s": 600, "times": "always"})
    before = stage.stats["requests"]
    total = 3_000
    await stage.produce([made.event_record(f"cus_{n % 120}", n, pad="x" * 900) for n in range(total - 600)])
    await stage.requests(
        before + 6
    )  # each lane has one at the API, and begins none: what is in a socket may still leave
    await stage.produce([made.event_record(f"cus_{n % 120}", n) for n in range(total - 600, total)])
    frozen.send(signal.SIGSTOP)
    killed.send(signal.SIGKILL)
    await killed.ended()
    assert stage.stats["events"] < total
    await heir.answers("/ready", "6 partitions")
    stage.faults()
    await stage.done()
    assert sorted(stage.numbers) == list(range(total))
    assert stage.stats["order_violations"] == 0
    repeated = stage.stats["duplicates"]
    asleep = frozen.place
    frozen.send(signal.SIGCONT)
    await frozen.says("Partitions assigned", since=asleep)
    assert stage.stats["duplicates"] == repeated, "everything was delivered, so whatever else was sent was stale"
    await stage.produce([made.event_record(f"cus_{n % 120}", n) for n in range(total, total + 120)])
    await stage.done()
    assert sorted(stage.numbers) == list(range(total + 120))
    assert stage.stats["order_violations"] == 0
