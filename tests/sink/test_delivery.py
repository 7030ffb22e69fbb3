"""One batch to its end, whatever Customer.io answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest

from pipeline.kafka.records import text_header
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.sink.events import (
    BatchClosed,
    BatchSplit,
    ByteBudgetChanged,
    LanesHeld,
    LanesReleased,
    MembershipAwaited,
    OperationsAccepted,
    RequestEnded,
    RetryPlanned,
    StillHeld,
    WorkGivenUp,
)

Virtual = Callable[[Any], Any]

TOO_LARGE = b"<html>413 Request Entity Too Large</html>"


async def deliver(rig: Any, *records: Any) -> None:
    """Take `records` as one chunk of partition 0 and wait until all are done."""
    async with rig:
        await rig.take(*records)
        await rig.settled()


def test_accepted(virtual: Virtual, rig: Any, make: Any) -> None:
    """An accepted batch is sent once, byte for byte, and acknowledged as a whole."""
    records = [make.record("ann", n) for n in range(3)]
    virtual(deliver(rig, *records))
    assert [body for _, body in rig.api.requests] == [b'{"batch":[' + b",".join(r.value for r in records) + b"]}"]
    assert rig.acked == {0: [2]}
    assert rig.producer.letters == []
    assert [event.operations for event in rig.of(OperationsAccepted)] == [3]


def test_partly_refused(virtual: Virtual, rig: Any, make: Any) -> None:
    """Refused items become dead letters with their source; the others are never sent again."""
    rig.api.script = [rig.api.refuse(1)]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(3))))
    assert rig.api.batches == [[0, 1, 2]]
    assert rig.producer.told == [
        ("customerio.operations/0/1", "refused", "reason: invalid, field: attributes.x, message: too long")
    ]
    letter = rig.producer.letters[0]
    assert letter.value == make.operation("ann", 1)
    assert text_header(letter.headers, "dlq-status") == "207"
    assert text_header(letter.headers, "dlq-field") == "attributes.x"
    assert text_header(letter.headers, "dlq-stage") == "sink"
    assert rig.acked[0][-1] == 2


def test_unmatched_then_clear(virtual: Virtual, rig: Any, make: Any) -> None:
    """An error that names no operation: what was not refused goes once more, and nothing is given up if it passes."""
    rig.api.script = [rig.api.status(207, content=b'{"errors":[{"batch_index":1},{"batch_index":99}]}')]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(3))))
    assert rig.api.batches == [[0, 1, 2], [0, 2]]
    assert [source for source, *_ in rig.producer.told] == ["customerio.operations/0/1"]
    assert rig.acked[0][-1] == 2


def test_unmatched_is_not_done(virtual: Virtual, rig: Any, make: Any) -> None:
    """Nothing of a batch is acknowledged on an answer that does not say which of them were refused."""
    seen: list[list[int]] = []

    def again(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        seen.append(list(rig.acked[0]))
        return rig.api.ok(operations, body)  # type: ignore[no-any-return]

    rig.api.script = [rig.api.status(207, content=b'{"errors":[{"batch_index":99}]}'), again]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(3))))
    assert seen == [[]]


def test_unmatched_twice(virtual: Virtual, rig: Any, make: Any) -> None:
    """An answer that cannot be matched twice: all that it may mean becomes dead letters that quote it."""
    answer = rig.api.status(207, content=b'{"errors":[{"reason":"invalid"}]}')
    rig.api.script = [answer, answer]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(2))))
    assert rig.api.batches == [[0, 1], [0, 1]]
    assert [(source, class_) for source, class_, _ in rig.producer.told] == [
        ("customerio.operations/0/0", "refused"),
        ("customerio.operations/0/1", "refused"),
    ]
    assert all('{"errors":[{"reason":"invalid"}]}' in reason for *_, reason in rig.producer.told)


def test_unmatched_twice_beside_a_reason(virtual: Virtual, rig: Any, make: Any) -> None:
    """An operation that such an answer does name keeps the reason that was given for it."""
    answer = rig.api.status(207, content=b'{"errors":[{"batch_index":0,"reason":"invalid"},{"batch_index":99}]}')
    rig.api.script = [answer, answer]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(3))))
    reasons = [reason for *_, reason in rig.producer.told]
    assert [reason.startswith("reason: invalid") for reason in reasons] == [True, True, False]


def test_whole_refused(virtual: Virtual, rig: Any, make: Any) -> None:
    """A 400 halves the batch until the culprit is alone; the earlier half is decided before the later one is sent."""
    rig.api.last = rig.api.poisoned
    virtual(deliver(rig, *(make.record("ann", n, **({"poison": True} if n == 2 else {})) for n in range(5))))
    assert rig.api.batches == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1], [2], [3, 4]]
    assert rig.producer.told == [("customerio.operations/0/2", "refused", "reason: invalid, field: name, message: bad")]
    assert text_header(rig.producer.letters[0].headers, "dlq-attempts") == "3"
    assert [n for _, n in rig.api.accepted] == [0, 1, 3, 4]
    assert [event.operations for event in rig.of(BatchSplit)] == [5, 3]


def only_small_ones_pass(api: Any) -> Callable[[list[dict[str, Any]], bytes], httpx.Response]:
    """A proxy with a limit of a kilobyte before the API."""
    return lambda operations, body: (
        httpx.Response(413, content=TOO_LARGE) if len(body) > 1_000 else api.ok(operations, body)
    )


def test_too_large_alone(virtual: Virtual, api: Any, make: Any) -> None:
    """A 413 for one operation while others pass, even as a proxy's page, is a dead letter and never a loop."""
    api.last = only_small_ones_pass(api)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0, pad="x" * 1_000), make.record("ann", 1))
            for offset in range(2, 300):
                await rig.take(make.record(f"bob{offset % 7}", offset))
                await asyncio.sleep(1)
            await rig.settled()

    virtual(scenario())
    assert rig.producer.told == [("customerio.operations/0/0", "refused", "message: 413 Content Too Large")]
    assert sorted(n for _, n in api.accepted) == list(range(1, 300))
    assert sum(0 in batch for batch in api.batches) < 60
    assert rig.of(LanesHeld) == []


def test_too_large_in_a_quiet_hour(virtual: Virtual, api: Any, make: Any) -> None:
    """Those of its batch were accepted, nobody else comes: the one that a proxy finds too large is given up soon."""
    api.last = lambda operations, body: (
        httpx.Response(413, content=TOO_LARGE) if b'"culprit"' in body else api.ok(operations, body)
    )
    rig = make.rig(api, lanes=2)
    records = [make.record("culprit" if n == 17 else f"p{n}", n) for n in range(50)]

    async def scenario() -> float:
        async with rig:
            started = asyncio.get_running_loop().time()
            await rig.take(*records)
            await rig.settled()
            return asyncio.get_running_loop().time() - started

    assert virtual(scenario()) < 60
    assert rig.producer.told == [("customerio.operations/0/17", "refused", "message: 413 Content Too Large")]
    assert sorted(n for _, n in api.accepted) == [n for n in range(50) if n != 17]
    assert rig.of(LanesHeld) == []


def test_too_large_with_nobody_to_compare_with(virtual: Virtual, rig: Any, make: Any) -> None:
    """A 413 for the only operation there is tells nothing of whose fault it is: it goes again, ever more slowly."""
    rig.api.script = [rig.api.status(413, content=TOO_LARGE)] * 30
    virtual(deliver(rig, make.record("ann", 0)))
    assert rig.api.batches == [[0]] * 31
    assert rig.producer.letters == []


def test_too_large_for_a_proxy(virtual: Virtual, api: Any, make: Any) -> None:
    """Where a proxy's limit lets only small operations pass, the large ones end as dead letters, however many."""
    api.last = only_small_ones_pass(api)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, pad="x" * (0 if n % 10 else 1_000)) for n in range(200)))
            offset = 200
            while offset < 800 or rig.sink.acks.undone:
                await rig.take(make.record(f"bob{offset % 50}", offset))
                offset += 1
                await asyncio.sleep(1)

    virtual(scenario())
    large = [f"customerio.operations/0/{n}" for n in range(0, 200, 10)]
    assert sorted(str(source) for source, *_ in rig.producer.told) == sorted(large)


def test_a_proxy_that_refuses_now_and_then(virtual: Virtual, api: Any, make: Any) -> None:
    """When one of two proxies answers 413 to whatever it is sent, nobody is given up for having come to it."""
    dice = random.Random(4)
    api.last = lambda operations, body: (
        httpx.Response(413, content=TOO_LARGE) if dice.random() < 0.5 else api.ok(operations, body)
    )
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            for offset in range(3000):
                await rig.take(make.record(f"p{offset % 50}", offset))
                await asyncio.sleep(0.5)
            await rig.settled()

    virtual(scenario())
    assert rig.producer.letters == []
    assert len(api.accepted) == 3000


def test_too_many_for_a_proxy(virtual: Virtual, api: Any, make: Any) -> None:
    """413s for whatever has more than a few operations cost requests: nobody is given up or held."""

    def proxy(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        return httpx.Response(413, content=TOO_LARGE) if len(operations) > 3 else api.ok(operations, body)

    api.last = proxy
    rig = make.rig(api, lanes=8)
    virtual(deliver(rig, *(make.record(f"p{n % 40}", n) for n in range(400))))
    assert rig.producer.letters == []
    assert sorted(n for _, n in api.accepted) == list(range(400))
    assert rig.of(LanesHeld) == rig.of(RetryPlanned) == []


def test_foreign_400_is_an_outage_while_nothing_passes(virtual: Virtual, rig: Any, make: Any) -> None:
    """400s that Customer.io did not write give nothing up as long as no other operation is accepted."""
    page = rig.api.status(400, content=b"<html>Bad Request</html>")
    rig.api.script = [page] * 30
    virtual(deliver(rig, make.record("ann", 0), make.record("ann", 1)))
    assert rig.producer.letters == []
    assert rig.api.accepted == [("ann", 0), ("ann", 1)]


def test_foreign_400_for_one_operation(virtual: Virtual, api: Any, make: Any) -> None:
    """The same for one operation, while others pass, is that operation's fault after some attempts."""

    def firewall(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return httpx.Response(400, content=b"<html>blocked</html>")
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = firewall
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take_among_others(600, people=600)
            await rig.settled()

    virtual(scenario())
    assert [source for source, *_ in rig.producer.told] == ["customerio.operations/0/0"]
    assert len(api.accepted) == 599


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 404, 418])
def test_try_later(virtual: Virtual, rig: Any, make: Any, status: int) -> None:
    """Whatever is no refusal is tried again with the same bytes, and nothing is given up."""
    rig.api.script = [rig.api.status(status)] * 3
    virtual(deliver(rig, make.record("ann", 0), make.record("ann", 1)))
    assert len({body for _, body in rig.api.requests}) == 1
    assert rig.api.batches == [[0, 1]] * 4
    assert rig.producer.letters == []


def test_backoff_is_bounded(virtual: Virtual, rig: Any, make: Any) -> None:
    """Through an outage of hours the pauses grow to a minute and no further, and the end is noticed within one."""
    rig.api.script = [rig.api.unreachable] * 100
    virtual(deliver(rig, make.record("ann", 0)))
    delays = [event.delay_s for event in rig.of(RetryPlanned)]
    assert len(delays) == 100
    assert all(delay <= min(0.5 * 2**n, 60) for n, delay in enumerate(delays))
    assert max(delays[10:]) > 30
    assert rig.api.accepted == [("ann", 0)]


def test_the_end_of_an_outage_wakes_every_lane(virtual: Virtual, api: Any, make: Any) -> None:
    """After an outage of an hour the first success ends the backoff of all lanes."""
    api.last = api.unreachable
    rig = make.rig(api, lanes=8)

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)))
            await asyncio.sleep(3600)
            api.last = api.ok
            await rig.settled()
            return asyncio.get_running_loop().time()

    ended_at = virtual(scenario())
    first, *_, last = [at for at, _ in api.requests if at > 3600]
    assert last - first < 1
    assert ended_at < 3660
    assert len(api.accepted) == 40


def test_one_failing_lane_is_not_woken(virtual: Virtual, api: Any, make: Any) -> None:
    """A lane that fails alone keeps its backoff while others succeed."""

    def overloaded_by(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return httpx.Response(500)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = overloaded_by
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take_among_others(600, people=7)

    virtual(scenario())
    assert sum(0 in batch for batch in api.batches) < 60


def test_retry_after_holds_all_lanes(virtual: Virtual, api: Any, make: Any) -> None:
    """After a Retry-After no lane sends anything before the time is over."""
    api.script = [api.status(429, headers={"Retry-After": "17"})]
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(1)
            await rig.take(*(make.record(f"p{n}", n) for n in range(1, 40)))
            await rig.settled()

    virtual(scenario())
    refused_at, *later = [at for at, _ in api.requests]
    assert min(later) >= refused_at + 17
    assert len(api.accepted) == 40
    assert [(event.cause, event.seconds) for event in rig.of(LanesHeld)] == [("retry-after", 17.0)]


def test_a_retry_at_once_backs_off(virtual: Virtual, rig: Any, make: Any) -> None:
    """A Retry-After of nothing, again and again, does not switch the backoff off."""
    rig.api.script = [rig.api.status(503, headers={"Retry-After": "0"})] * 20
    virtual(deliver(rig, make.record("ann", 0)))
    assert max(event.delay_s for event in rig.of(RetryPlanned)) > 5


def test_a_long_hold_shows_signs_of_life(virtual: Virtual, rig: Any, make: Any) -> None:
    """Five minutes of Retry-After are told every minute, so that nobody takes the process for dead."""
    rig.api.script = [rig.api.status(503, headers={"Retry-After": "9999"})]
    virtual(deliver(rig, make.record("ann", 0)))
    assert [round(event.seconds) for event in rig.of(StillHeld)] == [240, 180, 120, 60]
    assert rig.api.requests[1][0] - rig.api.requests[0][0] == pytest.approx(300, abs=1)


def test_retry_after_catches_lanes_that_wait_for_their_turn(virtual: Virtual, api: Any, make: Any) -> None:
    """A lane that had passed the gate before the Retry-After came, and only waits for its turn, is held as well."""
    api.script = [api.status(503, headers={"Retry-After": "20"})]
    rig = make.rig(api, lanes=8, rate=1.0)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)))
            await rig.settled()

    virtual(scenario())
    refused_at, *later = [at for at, _ in api.requests]
    assert min(later) >= refused_at + 20


def test_answer_lost_after_acceptance(virtual: Virtual, rig: Any, make: Any) -> None:
    """A lost answer costs a repeat of the same bytes, which Customer.io recognises by the ids."""
    rig.api.script = [rig.api.lost]
    virtual(deliver(rig, make.record("ann", 0)))
    assert rig.api.accepted == [("ann", 0), ("ann", 0)]
    assert len({body for _, body in rig.api.requests}) == 1


def test_timeouts_shrink_requests(virtual: Virtual, rig: Any, make: Any) -> None:
    """A time-out halves the byte budget; the second in a row halves the batch too; success gives the budget back."""
    rig.api.script = [rig.api.silent, rig.api.silent]
    virtual(deliver(rig, *(make.record("ann", n) for n in range(4))))
    assert rig.api.batches == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [2, 3]]
    assert [event.budget_bytes for event in rig.of(ByteBudgetChanged)] == [249_999, 124_999, 249_998, 499_996]
    assert rig.producer.letters == []


def test_broken_connections_do_not_shrink_requests(virtual: Virtual, rig: Any, make: Any) -> None:
    """A connection that breaks at once says nothing about size."""
    rig.api.script = [rig.api.lost, rig.api.unreachable, rig.api.lost]
    virtual(deliver(rig, make.record("ann", 0), make.record("ann", 1)))
    assert rig.api.batches == [[0, 1]] * 4
    assert rig.of(ByteBudgetChanged) == []


@pytest.mark.parametrize(
    ("status", "headers", "cause"),
    [
        (401, {}, "credentials"),
        (403, {}, "credentials"),
        (301, {"Location": "https://track-eu.customer.io/"}, "region"),
    ],
)
def test_credentials_hold(
    virtual: Virtual, api: Any, make: Any, *, status: int, headers: dict[str, str], cause: str
) -> None:
    """Refused credentials and the wrong region hold every lane; one asks again, slowly; nothing is lost."""
    api.last = api.status(status, headers=headers)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)))
            await asyncio.sleep(3600)
            assert rig.sink.gate.fault is not None
            assert rig.producer.letters == []
            assert rig.acked == {0: []}
            api.last = api.ok
            await rig.settled()
            assert rig.sink.gate.fault is None

    virtual(scenario())
    held = [at for at, _ in api.requests if at < 3600]
    assert len(held) <= 12 + 3600 / 60 + 5  # halves until four have nothing in common, then one request a minute
    assert all(later - earlier > 4 for earlier, later in pairwise(held[12:]))
    assert len(api.accepted) == 40
    assert {event.cause for event in rig.of(LanesHeld)} == {cause}
    assert [event.cause for event in rig.of(LanesReleased)] == [cause]


def test_dead_letters_wait_for_kafka(virtual: Virtual, rig: Any, make: Any) -> None:
    """While the dead-letter topic cannot be written, the lane waits and acknowledges nothing beyond."""
    rig.api.script = [rig.api.refuse(0)]
    rig.producer.stalls = 10

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(300)
            await rig.take(make.record("ann", 1))
            await asyncio.sleep(200)
            assert rig.api.batches == [[0]]
            assert rig.acked == {0: []}
            await rig.settled()

    virtual(scenario())
    assert rig.api.batches == [[0], [1]]
    assert len(rig.producer.letters) == 1


def test_unusable_records(virtual: Virtual, rig: Any, make: Any) -> None:
    """Records that are no operation become dead letters with no request; those around them go before and after."""
    odd = [b"", None, b"[1]", b'{"a":1},{"b":2}', b"{", b"null", b'{"pad":"' + b"x" * 32_000 + b'"}']
    records = [make.record("ann", 0), *(make.raw(n, value) for n, value in enumerate(odd, 1)), make.record("ann", 8)]
    virtual(deliver(rig, *records))
    assert rig.api.batches == [[0], [8]]
    assert [class_ for _, class_, _ in rig.producer.told] == ["unreadable"] * 6 + ["oversize"]
    assert [letter.value for letter in rig.producer.letters] == odd
    assert rig.acked[0][-1] == 8


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("status", [503, 429, 401, 413])
def test_a_letter_waits_for_no_lane(virtual: Virtual, api: Any, make: Any, status: int, lanes: int) -> None:
    """A record that needs no request is a dead letter at once, whatever the lanes hold, and is acknowledged then."""
    api.last = api.status(status)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"bob{n}", n) for n in range(3 * lanes)))
            await asyncio.sleep(600)
            rig.producer.stalls = 1
            await rig.take(make.raw(0, b"no JSON", partition=1))
            await asyncio.sleep(59)
            assert rig.acked[1] == []
            await asyncio.sleep(2)
            assert [source for source, *_ in rig.producer.told] == ["customerio.operations/1/0"]
            assert rig.acked == {0: [], 1: [0]}
            await rig.take(make.raw(1, b"{", partition=1), make.raw(2, None, partition=1))
            await asyncio.sleep(0.1)
            assert rig.acked[1] == [0, 2]

    virtual(scenario())


@pytest.mark.parametrize(("lanes", "failing"), [(1, 1), (8, 7), (8, 8)])
def test_what_waits_behind_a_letter_is_asked(
    virtual: Virtual, api: Any, make: Any, *, lanes: int, failing: int
) -> None:
    """While all lanes hold what fails, the operations behind a letter show that Customer.io takes others."""

    def overloaded_by_bob(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one["identifiers"]["id"].startswith("bob") for one in operations):
            return httpx.Response(503)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = overloaded_by_bob
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"bob{n}", n) for n in range(failing)))
            await asyncio.sleep(300)
            await rig.take(make.raw(0, b"no JSON", partition=1), *(make.record("ann", n, partition=1) for n in (1, 2)))
            await asyncio.sleep(60 * lanes + 120)  # the lane that has them has to wait until it may ask
            assert api.accepted == [("ann", 1), ("ann", 2)]
            assert rig.acked[1][-1] == 2

    virtual(scenario())
    assert [source for source, *_ in rig.producer.told] == ["customerio.operations/1/0"]


def test_a_letter_passes_nothing_of_its_person(virtual: Virtual, api: Any, make: Any) -> None:
    """A record that needs no request waits for its person's earlier operations, and later ones wait for its letter."""
    api.script = [api.status(503)] * 9
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), make.raw(1, b"no JSON"), make.record("ann", 2))
            await asyncio.sleep(10)
            assert (rig.producer.letters, api.accepted) == ([], [])
            rig.producer.stalls = 9
            await asyncio.sleep(490)
            assert (rig.producer.letters, api.accepted) == ([], [("ann", 0)])
            await rig.settled()

    virtual(scenario())
    assert api.accepted == [("ann", 0), ("ann", 2)]
    assert len(rig.producer.letters) == 1


def test_a_letter_on_its_way_when_the_partitions_come_again(virtual: Virtual, api: Any, make: Any) -> None:
    """Its person's later operations wait for it, and letters that had not begun are the next assignment's."""
    rig = make.rig(api, lanes=8)
    records = [make.raw(0, b"no JSON"), make.record("ann", 1), make.record("bob", 2), make.raw(3, b"{", b"cid")]

    async def scenario() -> None:
        async with rig:
            rig.producer.stalls = 2
            await rig.take(records[0], records[1])
            await asyncio.sleep(1)
            await rig.take(make.raw(0, b"[1]", b"dan", 1))
            rig.sink.handover.begin()
            rig.assign(2)
            await rig.take(*records, generation=2)
            await asyncio.sleep(100)
            assert api.accepted == [("bob", 2)]
            assert rig.producer.letters == []
            await rig.settled()
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())
    assert api.accepted == [("bob", 2), ("ann", 1)]
    places = [source for source, *_ in rig.producer.told]
    assert places == [f"customerio.operations/0/{offset}" for offset in (0, 3, 0)]
    assert rig.crashes == []


def test_hand_over_ends_backoff(virtual: Virtual, rig: Any, make: Any) -> None:
    """When the partitions go, a lane in backoff is free at once, and what it held is dropped, not acknowledged."""
    rig.api.last = rig.api.unreachable

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), make.record("ann", 1))
            await asyncio.sleep(1000)
            before = asyncio.get_running_loop().time()
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert asyncio.get_running_loop().time() == before
            await asyncio.sleep(100)
            requests = len(rig.api.requests)
            await asyncio.sleep(1000)
            assert len(rig.api.requests) == requests
            assert rig.acked == {0: []}
            assert rig.sink.memory.taken_bytes == 0
            rig.api.last = rig.api.ok
            rig.assign(2)
            await rig.take(make.record("ann", 0), make.record("ann", 1), generation=2)
            await rig.settled()

    virtual(scenario())
    assert rig.api.accepted == [("ann", 0), ("ann", 1)]
    assert [event.operations for event in rig.of(WorkGivenUp)] == [2]
    assert rig.crashes == []


def test_hand_over_waits_for_requests(virtual: Virtual, rig: Any, make: Any) -> None:
    """A request in flight ends before the partitions go, and what it brought is acknowledged; nothing new begins."""

    async def slow(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        await asyncio.sleep(3)
        return rig.api.ok(operations, body)  # type: ignore[no-any-return]

    rig.api.last = slow

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(1)
            await rig.take(make.record("ann", 1))
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert rig.acked == {0: [0]}
            await asyncio.sleep(100)

    virtual(scenario())
    assert rig.api.batches == [[0]]


def test_stale_membership_sends_nothing(virtual: Virtual, rig: Any, make: Any) -> None:
    """While the last good heartbeat is too old no request leaves; when the membership proves alive, it goes on."""

    async def scenario() -> None:
        async with rig:
            rig.membership.alive = False
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(600)
            assert rig.api.requests == []
            rig.membership.alive = True
            await rig.settled()

    virtual(scenario())
    assert rig.api.accepted == [("ann", 0)]
    assert 9 <= len(rig.of(MembershipAwaited)) <= 10


def test_membership_that_goes_stale_before_its_turn(virtual: Virtual, api: Any, make: Any) -> None:
    """A request that waits for its turn is not sent when the membership is no longer alive by then."""
    rig = make.rig(api, rate=0.05)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(5)
            rig.membership.alive = False
            await asyncio.sleep(100)

    virtual(scenario())
    assert api.requests == []


def test_older_generation_is_ignored(virtual: Virtual, rig: Any, make: Any) -> None:
    """A chunk of an older generation is neither sent nor acknowledged."""

    async def scenario() -> None:
        async with rig:
            rig.assign(2)
            await rig.take(make.record("ann", 0), generation=1)
            await asyncio.sleep(60)
            assert rig.sink.acks.undone == 0

    virtual(scenario())
    assert rig.api.requests == []
    assert rig.acked == {0: []}


def test_memory_full_during_hand_over(virtual: Virtual, api: Any, make: Any) -> None:
    """A chunk that waits for memory is let go when the partitions go, and its rest is not taken in."""
    api.last = api.unreachable
    rig = make.rig(api, memory_bytes=10_000)

    async def scenario() -> None:
        async with rig:
            taking = asyncio.create_task(rig.take(*(make.record("ann", n) for n in range(100))))
            await asyncio.sleep(30)
            assert not taking.done()
            assert rig.sink.memory.taken_bytes <= 10_000
            rig.sink.handover.begin()
            await taking
            await asyncio.sleep(1)
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())


def test_memory_full_of_requests_in_flight(virtual: Virtual, api: Any, make: Any) -> None:
    """The same while requests in flight hold the memory: nobody waits for their end to learn of the hand-over."""
    api.last = api.silent
    rig = make.rig(api, memory_bytes=1)

    async def scenario() -> None:
        async with rig:
            taking = asyncio.create_task(rig.take(make.record("ann", 0), make.record("ann", 1)))
            await asyncio.sleep(1)
            assert (len(api.requests), taking.done()) == (1, False)
            rig.sink.handover.begin()
            await taking
            assert asyncio.get_running_loop().time() == 1

    virtual(scenario())


def test_a_bug_crashes(virtual: Virtual, rig: Any, make: Any) -> None:
    """A lane that meets a bug ends the process instead of standing still."""
    rig.may_crash = True

    def broken(_: int) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with rig:
            await rig.sink.take(RecordBatch.of("customerio.operations", 0, [make.record("ann", 0)], 1, broken))
            await asyncio.sleep(1)

    virtual(scenario())
    assert [type(error) for error in rig.crashes] == [ZeroDivisionError]


def test_causes(virtual: Virtual, rig: Any, make: Any) -> None:
    """A batch says why it was closed and how full it is."""
    big = [make.record("ann", n, pad="x" * 30_000) for n in range(20)]
    virtual(deliver(rig, *big))
    closed = rig.of(BatchClosed)
    assert [event.cause for event in closed] == ["bytes", "idle"]
    assert [event.operations for event in closed] == [16, 4]
    assert 0.9 < closed[0].fill <= 1
    assert [event.attempt for event in rig.of(RequestEnded)] == [1, 1]


def test_no_linger_when_idle(virtual: Virtual, rig: Any, make: Any) -> None:
    """A free lane sends what it has as soon as the budget gives it a turn, however little it is."""

    async def scenario() -> list[float]:
        came = []
        async with rig:
            for n in range(50):
                await asyncio.sleep(1.37)
                came.append(asyncio.get_running_loop().time())
                await rig.take(make.record("ann", n))
            await rig.settled()
        return came

    came = virtual(scenario())
    assert [at for at, _ in rig.api.requests] == came
    assert rig.api.batches == [[n] for n in range(50)]
    assert {event.cause for event in rig.of(BatchClosed)} == {"idle"}


def test_a_turn_takes_what_is_there_by_then(virtual: Virtual, api: Any, make: Any) -> None:
    """What comes in while a batch waits for its turn goes with it, and what a barrier held back gets the next turn."""
    rig = make.rig(api, lanes=4, rate=10.0)
    people = [f"p{n}" for n in range(4)]

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            await rig.take(make.record(people[0], 0))  # spends the turn that is there
            await asyncio.sleep(0.01)
            await rig.take(make.record(people[1], 1, barrier=True))
            await asyncio.sleep(0.01)
            await rig.take(*(make.record(who, 1) for who in people[2:]))
            await asyncio.sleep(0.01)
            await rig.take(*(make.record(who, 2) for who in people[1:]))
            await rig.settled()

    virtual(scenario())
    assert [sorted(batch) for batch in rig.api.batches] == [[0], [1, 1, 1, 2, 2], [2]]


def test_full_batches_under_load(virtual: Virtual, api: Any, make: Any) -> None:
    """With more than the lanes can send, their batches fill to 95 % of the largest body."""

    async def busy(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        await asyncio.sleep(0.2)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = busy
    rig = make.rig(api, lanes=8, rate=20.0)

    async def scenario() -> None:
        async with rig:
            for start in range(0, 60_000, 500):
                await rig.take(*(make.record(f"p{n % 997}", n, pad="x" * 600) for n in range(start, start + 500)))
            await rig.settled()

    virtual(scenario())
    fills = [event.fill for event in rig.of(BatchClosed)]
    loaded = fills[8:-8]  # each lane's first and last
    assert len(loaded) > 40
    assert min(loaded) >= 0.95


@pytest.mark.parametrize("status", [400, 401, 403, 429, 503])
def test_what_is_told_names_nobody(virtual: Virtual, api: Any, make: Any, status: int) -> None:
    """What lanes, log and probes tell of an answer is one line without the person that the answer names."""
    said = "jane@example.com\r\n\x1b[2J " + "and more " * 100_000
    api.last = api.status(status, content=orjson.dumps({"errors": [{"reason": "invalid", "message": said}]}))
    rig = make.rig(api, lanes=8)

    async def scenario() -> str | None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(80)))
            await asyncio.sleep(600)
            return rig.sink.gate.holding  # type: ignore[no-any-return]

    told = [virtual(scenario())] + [event.reason for event in [*rig.of(RetryPlanned), *rig.of(LanesHeld)]]
    assert len(told) > 2
    for text in told:
        assert "[email]" in text
        assert not any(private in text for private in ("jane", "\x1b", "\r", "\n"))
        assert len(text) < 1_500


def test_what_a_broken_answer_shows_names_nobody(virtual: Virtual, rig: Any, make: Any) -> None:
    """An answer that is no HTTP, which the client's error quotes, is cleaned as well."""

    def garbage(_operations: list[dict[str, Any]], _body: bytes) -> httpx.Response:
        raise httpx.RemoteProtocolError("illegal status line: bytearray(b'jane@example.com " + "x" * 100_000 + "')")

    rig.api.script = [garbage] * 3
    virtual(deliver(rig, make.record("ann", 0)))
    reasons = [event.reason for event in rig.of(RetryPlanned)]
    assert len(reasons) == 3
    assert not any("jane" in reason or len(reason) > 1_200 for reason in reasons)
    assert all("http://api did not answer: RemoteProtocolError illegal status line" in reason for reason in reasons)
