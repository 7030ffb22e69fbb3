"""Facts move to their owners: what they become there, wherever a move is interrupted, and who is refused meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TopicError
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.partition_count import began_fact, began_value, partitions_now
from pipeline.transform.customers import repartition as module
from pipeline.transform.customers.facts import merge_at, split
from pipeline.transform.customers.repartition import Advanced, Repartition, joined
from tests.kafka import growth

if TYPE_CHECKING:
    from tests.statestore.conftest import Fact, Owner

ChainSettings = Callable[..., Awaitable[Settings]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]
FactsIn = Callable[[Settings], Awaitable[list["Fact"]]]
Put = Callable[..., Awaitable[None]]

FORGOTTEN_S = 1_700_000_000


def cus(number: int, rest: bytes) -> bytes:
    """A key of a customer."""
    return b"cus_%04d\0%b" % (number, rest)


# --- what becomes of facts that meet ----------------------------------------------------------------------------------

EVENTS = st.dictionaries(
    st.sampled_from([cus(1, b"event\0%d" % n) for n in range(4)]), st.sampled_from([b"[1]", b"[2]"])
)


@given(EVENTS, EVENTS)
def test_facts_that_meet_are_merged(moved: dict[bytes, bytes], there: dict[bytes, bytes]) -> None:
    """Nothing of either side is lost, and what is there already is not written again."""
    written = joined(b"cus_0001", moved, there)
    now = {**there, **written}
    assert now == {
        name: merge_at(name, there[name], moved[name]) if name in moved and name in there else (moved | there)[name]
        for name in moved | there
    }
    assert all(there.get(name) != value for name, value in written.items())
    assert joined(b"cus_0001", moved, {name: value for name, value in now.items() if value is not None}) == {}


BEFORE, AFTER = FORGOTTEN_S - 10, FORGOTTEN_S + 10
OLD: dict[bytes, bytes] = {
    cus(1, b"payment\0p1"): b'[1,"USD","2023-11-14T22:13:10Z",null,null,false,"webhook",[],null]',
    cus(1, b"refund\0p1\0r1"): b'[1,"USD","2023-11-14T22:13:10Z",true,"webhook"]',
    cus(1, b"subscription\0s1"): b'[%d,0,"active",null,false,0,[[1,0,null,null,null,null,null]]]' % BEFORE,
    cus(1, b"method\0s1"): b'[%d,0,"m"]' % BEFORE,
    cus(1, b"activation\0s1"): b'[%d,"msg"]' % (BEFORE * 1000),
    cus(1, b"cancellation\0s1"): b'[[%d,0,true,"msg"]]' % BEFORE,
    cus(1, b"dispute\0d1"): b'["2023-11-14T22:13:10Z","dispute.lost"]',
    cus(1, b"identity\0"): b"[1,%d,null,null,null,null,null,null,null,{}]" % BEFORE,
    cus(1, b"event\0e1"): b"[%d]" % BEFORE,
    cus(1, b"card\0"): b'[%d,"p1","visa","4242","12","2030"]' % (BEFORE * 1000),
    cus(1, b"charge\0s1"): b'[[[%d,"p1",null]],[]]' % (BEFORE * 1000),
    cus(1, b"charge\0s2"): b'[%d,"p1"]' % (BEFORE * 1000),  # of an earlier version
    cus(1, b"unpaid\0"): b'[[%d,0,"p2",1,"USD",[],[],"https://example.com/pay"]]' % BEFORE,
    cus(1, b"change\0s1"): b'[[%d,%d,"p",1,"USD","Month",1]]' % (BEFORE, BEFORE * 1000),
    cus(1, b"replacement\0s1"): b'[[%d,"m","payment"]]' % (BEFORE * 1000),
}
YOUNG = {
    cus(1, b"event\0e2"): b"[%d]" % AFTER,
    cus(1, b"card\0"): b'[%d,"p3",null,null,null,null]' % (AFTER * 1000),
    cus(1, b"charge\0s3"): b'[%d,"p3"]' % (AFTER * 1000),
    cus(1, b"unpaid\0"): b'[[%d,0,"p4",1,"USD",[],[],null]]' % AFTER,
    cus(1, b"replacement\0s3"): b'[[%d,null,"payment"]]' % (AFTER * 1000),
}
MARK = {cus(1, b"forgotten\0"): b"[%d]" % FORGOTTEN_S}


@pytest.mark.parametrize("young", [{}, YOUNG], ids=["nothing since", "more since"])
@pytest.mark.parametrize("mark_moves", [True, False])
def test_a_half_that_was_not_forgotten(mark_moves: bool, young: dict[bytes, bytes]) -> None:
    """A request to be forgotten that reached one half of a split customer holds for the other, of whatever kind."""
    moved, there = (MARK, {**OLD, **young}) if mark_moves else ({**OLD, **young}, MARK)
    now = {**there, **joined(b"cus_0001", moved, there)}
    assert {name: value for name, value in now.items() if value is not None} == {**MARK, **young}


def test_a_mark_moves_with_what_came_after() -> None:
    """A customer who lies in one place keeps all that is there."""
    both = {**MARK, **YOUNG}
    assert joined(b"cus_0001", both, {}) == both


# --- on Kafka ---------------------------------------------------------------------------------------------------------


def everything() -> dict[bytes, bytes]:
    """Facts of sixty customers, one of them forgotten, and of a person."""
    found = {cus(n, b"event\0%d" % m): b"[%d]" % (100 + m) for n in range(60) for m in range(3)}
    found |= {cus(7, b"forgotten\0"): b"[5]", b"person:ab12\0person\0": b'[1,2,null,["email"]]'}
    return found


def owned(facts: Mapping[bytes, bytes], partitions: int) -> dict[int, dict[bytes, bytes | None]]:
    """Facts by the partition of their customer."""
    found: dict[int, dict[bytes, bytes | None]] = {number: {} for number in range(partitions)}
    for key, value in facts.items():
        found[partition_of(split(key)[0], partitions)][key] = value
    return found


async def filled(settings: Settings, own: Own, partitions: int) -> dict[bytes, bytes]:
    """A topic with all facts at their owners."""
    facts = everything()
    async with own(settings) as owner:
        await owner.owns(*range(partitions))
        for number, mine in owned(facts, partitions).items():
            await owner.writes(number, mine)
    return facts


async def grow(settings: Settings, partitions: int) -> None:
    """Both topics get partitions, by somebody else's tool."""
    await growth.grow(settings, partitions, settings.webhooks_topic, settings.customers_topic)


def present(records: list[Fact]) -> dict[bytes, tuple[int, bytes]]:
    """What compaction would leave: each fact with its partition; none lies in two."""
    values = {(record.partition, record.key): record.value for record in records if record.key != BEGAN}
    there = [(key, partition, value) for (partition, key), value in values.items() if value is not None]
    assert len({key for key, _, _ in there}) == len(there)
    return {key: (partition, value) for key, partition, value in there}


def at_owners(facts: Mapping[bytes, bytes], partitions: int) -> dict[bytes, tuple[int, bytes]]:
    """The same of what ought to be."""
    return {key: (partition_of(split(key)[0], partitions), value) for key, value in facts.items()}


class Failing:
    """A producer that dies at its n-th chunk, before or after it was sent."""

    def __init__(self, producer: BatchProducer, at: int) -> None:
        self._producer = producer
        self.left = at

    def chunk(self) -> Any:
        """One more."""
        self.left -= 1
        if self.left < 0:
            raise ConnectionResetError
        return self._producer.chunk()


async def move(settings: Settings, *, dies_at: int | None = None) -> list[Advanced]:
    """One run of the command's work."""
    told: list[Advanced] = []
    work = Repartition(settings, await partitions_now(settings))
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(settings.customers_topic)
        survey = await work.read(told.append)
        mover: Any = producer if dies_at is None else Failing(producer, dies_at)
        await work.move(mover, survey, told.append)
    finally:
        await work.close()
        await producer.stop()
    return told


@pytest.mark.kafka
async def test_every_fact_lies_at_its_owner(chain_settings: ChainSettings, own: Own, facts_in: FactsIn) -> None:
    """After 4 to 6 to 12 partitions each fact is what it was and lies where its customer's id belongs, once."""
    settings = await chain_settings(partitions=4)
    facts = await filled(settings, own, 4)
    began = {}
    for partitions in (6, 12):
        await grow(settings, partitions)
        told = await move(settings)
        assert present(await facts_in(settings)) == at_owners(facts, partitions)
        assert {event.phase for event in told} == {"Reading", "Moving"}
        assert told[-1].done == told[-1].total > 50
        async with own(settings) as owner:
            await owner.owns(*range(partitions))
            began[partitions] = {owner.store(number).began_at_ms for number in range(partitions)}
            for number, mine in owned(facts, partitions).items():
                assert {key: owner.store(number).get(key) for key in mine} == mine
    assert began[6] == began[12]
    assert not (settings.data_dir / module.DIRECTORY).exists()
    work = Repartition(settings, 12)
    assert (await work.read()).is_settled
    await work.close()


@pytest.mark.kafka
async def test_interrupted_anywhere(
    chain_settings: ChainSettings, own: Own, facts_in: FactsIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a move dies, no owner restores before the next one came to its end, which loses and doubles nothing."""
    monkeypatch.setattr(module, "PIECE_FACTS", 40)
    settings = await chain_settings(partitions=2)
    facts = await filled(settings, own, 2)
    await grow(settings, 3)
    at = 0
    while True:
        try:
            await move(settings, dies_at=at)
        except ConnectionResetError:
            async with own(settings) as owner:
                with pytest.raises(TopicError, match="state repartition"):
                    await owner.owns(0, 1, 2)
        else:
            break
        at += 1
    assert at > 4
    assert present(await facts_in(settings)) == at_owners(facts, 3)
    async with own(settings) as owner:
        await owner.owns(0, 1, 2)


@pytest.mark.kafka
async def test_facts_that_lie_elsewhere_are_merged_with_those_of_their_owner(
    chain_settings: ChainSettings, own: Own, put: Put, facts_in: FactsIn
) -> None:
    """A topic that does not say under how many partitions it was written is refused, mended, and then used."""
    settings = await chain_settings(partitions=4)
    home = partition_of(b"cus_0001", 4)
    key, both = cus(1, b"event\0a"), cus(1, b"event\0b")
    began = (BEGAN, b'[1700000000000,"x"]')
    await put(settings, home, [began, (both, b"[200]")])
    odd = cus(1, b"event\0c")
    await put(settings, (home + 1) % 4, [began, (key, b"[100]"), (both, b"[150]"), (odd, b'["x"]')])
    async with own(settings) as owner:
        with pytest.raises(TopicError, match="does not say under how many"):
            await owner.owns(home)
    await move(settings)
    assert present(await facts_in(settings)) == {
        key: (home, b"[100]"),
        both: (home, b"[150]"),
        odd: (home, b'["x"]'),  # no fact, and still the customer's: it goes along, and goes with them
    }
    async with own(settings) as owner:
        await owner.owns(*range(4))
        assert owner.store(home).began_at_ms == 1_700_000_000_000


@pytest.mark.kafka
@pytest.mark.parametrize("partitions", [(0, 1, 2, 3), (4, 5), (3, 4)])
async def test_an_owner_of_another_number(
    chain_settings: ChainSettings, own: Own, facts_in: FactsIn, partitions: tuple[int, ...]
) -> None:
    """After growth nobody restores, not even who has new partitions alone: both numbers and the command are named."""
    settings = await chain_settings(partitions=4)
    await filled(settings, own, 4)
    await grow(settings, 6)
    before = len(await facts_in(settings))
    async with own(settings) as owner:
        with pytest.raises(TopicError) as caught:
            await owner.owns(*partitions)
    said = str(caught.value)
    assert f"{settings.webhooks_topic} has 6 partitions" in said
    assert "were written under 4" in said
    assert "`dodo-cio state repartition`" in said
    assert "\n" not in said
    assert len(await facts_in(settings)) == before


@pytest.mark.kafka
async def test_new_partitions_of_nobody(chain_settings: ChainSettings, own: Own, facts_in: FactsIn) -> None:
    """Where no facts are, growth is no matter: the state begins under the number that there is."""
    settings = await chain_settings(partitions=2)
    await grow(settings, 3)
    async with own(settings) as first, own(settings.model_copy(update={"data_dir": settings.data_dir / "b"})) as second:
        await asyncio.gather(first.owns(0, 1), second.owns(2))
    assert [record.key for record in await facts_in(settings)] == [BEGAN] * 3


def test_what_a_beginning_says() -> None:
    """Three members; whatever else lies there says nothing, and stops nobody with an exception."""
    assert began_fact(began_value(5, "x", 6)) == (5, "x", 6)
    assert began_fact(b'[5,"x"]') == (5, "x", None)
    for value in (b"", b"{}", b"null", b"[]", b'["5",5,"6"]', b"\xff"):
        assert began_fact(value)[::2] == (None, None)
