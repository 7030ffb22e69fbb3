"""The judge of a season finds every kind of violation, wherever it is, and none where there is none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.season.checker import CHECKS, TIMED, WEDGED_S, check
from tests.chaos.season.record import Answered, Ended, Happened, Place, Restored, Sample, Season, Stop, Taken
from tests.chaos.season.takeovers import takeovers

SESSION_S = 10.0
PARTITIONS = 3
KILLED_S, STOPPED_S, BROKEN_S, END_S = 20.0, 50.0, 150.0, 180.0
PAUSE_S = 0.5
SINK = Stop(STOPPED_S, "sink", "sink-0", "SIGTERM")


def still(stage: str, at_s: float, partition: int) -> bool:
    """Whether the partition stands still: after the SIGKILL for 12 s, after the SIGTERM for 2 s."""
    if stage == "transform":
        return KILLED_S + 1 < at_s < KILLED_S + 13 and partition > 0
    return STOPPED_S < at_s < STOPPED_S + 2


def samples() -> tuple[Sample, ...]:
    """Work comes and goes in every partition until all is done; in places the brokers tell nothing."""
    found = []
    for stage in ("transform", "sink"):
        committed = [0] * PARTITIONS
        for step in range(int(END_S / PAUSE_S) + 1):
            at_s = step * PAUSE_S
            last = at_s == END_S
            places = {}
            for partition in range(PARTITIONS):
                end = step if not last else committed[partition]
                if not still(stage, at_s, partition) and not last:
                    committed[partition] = max(0, step - (step + partition) % 3)
                places[partition] = Place(committed[partition], end)
            if step % 97 == 5:
                del places[step % PARTITIONS]
            found.append(Sample(at_s, stage, places))
    return tuple(sorted(found, key=lambda one: one.at_s))


SAMPLES = samples()


def season(dice: random.Random, people: int, events: int) -> Season:
    """A season without a violation: what was in flight at the SIGKILL is sent again, one event was refused on purpose,
    one webhook was redelivered, a forger was refused, and one process ended while its disk was full."""  # noqa: D205, D209
    due: dict[str, list[str]] = {f"cus_{number}": [] for number in range(people)}
    queue = [person for person in due for _ in range(events)]
    dice.shuffle(queue)
    taken, answered = [], []
    for number, person in enumerate(queue):
        at_s = END_S * (number + 1) / (len(queue) + 1)
        due[person].append(f"ulid-{number}")
        accepted = number != len(queue) // 2
        taken.append(Taken(at_s, number, 0, accepted, person, f"ulid-{number}", "paid", f"msg_{number}"))
        taken.append(Taken(at_s, number, 1, True, person, "", "", ""))
        answered.append(Answered(f"msg_{number}", "first", at_s - 1, at_s - 0.5, 200, dice.choice([1, 1, 2])))
    again = [replace_at(one, KILLED_S + 12) for one in taken if one.at_s < KILLED_S and one.accepted]
    twice = dice.choice([one for one in taken if one.ulid and one.accepted])
    again.append(replace_at(twice, STOPPED_S + 1 if twice.at_s < STOPPED_S else END_S))
    answered.append(Answered(twice.webhook_id, "redelivery", END_S - 2, END_S - 1, 200, 1))
    answered.append(Answered("msg_forged", "forged", 5, 6, 401, 1))
    happened = (
        Happened(
            1, "worker killed", KILLED_S, KILLED_S + 15, "", (Stop(KILLED_S, "transform", "transform-1", "SIGKILL"),)
        ),
        Happened(2, "worker stopped", STOPPED_S, STOPPED_S + 4, "", (SINK,)),
        Happened(3, "disk full", BROKEN_S, BROKEN_S + 20, "", ends=frozenset({"transform-0"})),
    )
    return Season(
        seed=1,
        began_s=0,
        session_s=SESSION_S,
        partitions={"transform": PARTITIONS, "sink": PARTITIONS},
        answered=tuple(answered),
        taken=tuple(sorted([*taken, *again], key=lambda one: one.at_s)),
        samples=SAMPLES,
        happened=happened,
        ended=(Ended(BROKEN_S + 3, "transform-0", 2, "no room"),),
        due={person: tuple(ulids) for person, ulids in due.items()},
    )


def replace_at(one: Taken, at_s: float) -> Taken:
    """The same operation, later."""
    return one._replace(at_s=at_s, accepted=True)


DICE = st.builds(random.Random, st.integers(0, 2**32 - 1))
SEASONS = st.builds(season, DICE, st.integers(2, 6), st.integers(3, 8))


def events_of(one: Season) -> list[str]:
    """Ids of the events, as they came first."""
    return list(dict.fromkeys(line.ulid for line in one.taken if line.ulid))


def without(one: Season, ulid: str) -> Season:
    """The event never arrived."""
    return replace(one, taken=tuple(line for line in one.taken if line.ulid != ulid))


def lose(one: Season, dice: random.Random) -> Season:
    """Any event."""
    return without(one, dice.choice(events_of(one)))


def double(one: Season, dice: random.Random) -> Season:
    """Any event again, under another id."""
    line = dice.choice([line for line in one.taken if line.ulid])
    return replace(one, taken=(*one.taken, line._replace(ulid=f"other-{line.ulid}")))


def swap(one: Season, dice: random.Random) -> Season:
    """Two events of one person, each in the other's place, wherever either of them is repeated."""
    person = dice.choice([person for person, ulids in one.due.items() if len(ulids) > 1])
    first, second = dice.sample(one.due[person], 2)
    other = {first: second, second: first}
    return replace(one, taken=tuple(line._replace(ulid=other.get(line.ulid, line.ulid)) for line in one.taken))


def refuse(one: Season, dice: random.Random) -> Season:
    """A genuine webhook is told to be a forger's."""
    place = dice.randrange(len(one.answered))
    turned = {200: 401, 401: 200}[one.answered[place].status]
    return replace(one, answered=edited(one.answered, place, status=turned))


def ignore(one: Season, dice: random.Random) -> Season:
    """A webhook has no answer."""
    return replace(one, answered=edited(one.answered, dice.randrange(len(one.answered)), status=0, answered_s=0.0))


def edited(answered: Sequence[Answered], place: int, **changes: Any) -> tuple[Answered, ...]:
    """With another answer in one place."""
    return (*answered[:place], answered[place]._replace(**changes), *answered[place + 1 :])


def altered(
    one: Season, stage: str, partition: int, during_s: tuple[float, float], change: Callable[[Place], Place | None]
) -> Season:
    """With other samples of one partition for a time."""
    found = []
    for sample in one.samples:
        places = dict(sample.places)
        if sample.stage == stage and during_s[0] <= sample.at_s <= during_s[1] and partition in places:
            place = change(places.pop(partition))
            if place is not None:
                places[partition] = place
        found.append(sample._replace(places=places))
    return replace(one, samples=tuple(found))


def leave(one: Season, dice: random.Random) -> Season:
    """One record is not done in the end."""
    stage, partition = dice.choice(["transform", "sink"]), dice.randrange(PARTITIONS)
    return altered(one, stage, partition, (END_S, END_S), lambda place: Place(place.committed, place.end + 1))


def hide(one: Season, dice: random.Random) -> Season:
    """Nobody knows in the end where a group is in one partition."""
    return altered(one, dice.choice(["transform", "sink"]), dice.randrange(PARTITIONS), (END_S, END_S), lambda _: None)


def forget(one: Season, dice: random.Random) -> Season:
    """One group was never looked at."""
    stage = dice.choice(["transform", "sink"])
    return replace(one, samples=tuple(sample for sample in one.samples if sample.stage != stage))


def wedge(one: Season, dice: random.Random) -> Season:
    """A partition stands still for longer than any fault holds it, and goes on in the end."""
    stage, partition = dice.choice(["transform", "sink"]), dice.randrange(PARTITIONS)
    until_s = BROKEN_S - 1
    return altered(one, stage, partition, (until_s - WEDGED_S - 10, until_s), lambda place: Place(1, max(place.end, 2)))


def slow_kill(one: Season, dice: random.Random) -> Season:
    """A partition of the killed transform waits for 16 s with a session of 10 s."""
    stands = (KILLED_S + 0.5, KILLED_S + 17)
    return altered(one, "transform", dice.randrange(PARTITIONS), stands, lambda place: Place(1, max(place.end, 2)))


def slow_stop(one: Season, dice: random.Random) -> Season:
    """A partition of the stopped sink waits for 4 s."""
    stands = (STOPPED_S + 0.5, STOPPED_S + 5)
    return altered(one, "sink", dice.randrange(PARTITIONS), stands, lambda place: Place(1, max(place.end, 2)))


def repeat(one: Season, dice: random.Random) -> Season:
    """What was accepted before the SIGTERM comes again behind it."""
    posted = [line.webhook_id for line in one.answered]
    clean = {line.webhook_id for line in one.answered if line.attempts == 1 and posted.count(line.webhook_id) == 1}
    before = [line for line in one.taken if line.ulid and line.accepted and line.at_s < STOPPED_S]
    line = dice.choice(before)
    if line.webhook_id not in clean:
        place = posted.index(line.webhook_id)
        one = replace(
            one, answered=edited([each for each in one.answered if each.kind != "redelivery"], place, attempts=1)
        )
    again = replace_at(line, STOPPED_S + dice.uniform(0.1, 3.9))
    return replace(one, taken=tuple(sorted([*one.taken, again], key=lambda line: line.at_s)))


def die(one: Season, dice: random.Random) -> Season:
    """A process ends by itself: another one than the fault says, or after it."""
    ended = dice.choice([Ended(BROKEN_S + 3, "transform-1", 1, ""), Ended(BROKEN_S + 25, "transform-0", 2, "")])
    return replace(one, ended=(*one.ended, ended))


PLANTS: dict[str, tuple[Callable[[Season, random.Random], Season], str]] = {
    "lost": (lose, "events lost"),
    "under a second id": (double, "events that are not due"),
    "out of order": (swap, "people whose first deliveries came out of order"),
    "wrongly answered": (refuse, "webhooks without their answer"),
    "never answered": (ignore, "webhooks without their answer"),
    "left behind": (leave, "partitions that are behind"),
    "unknown": (hide, "partitions that are behind"),
    "never looked at": (forget, "partitions that are behind"),
    "wedged": (wedge, "partitions wedged"),
    "late after a SIGKILL": (slow_kill, "takeovers that came late"),
    "late after a SIGTERM": (slow_stop, "takeovers that came late"),
    "repeated after a SIGTERM": (repeat, "events sent again after a SIGTERM"),
    "ended by itself": (die, "processes that ended by themselves"),
}


@given(SEASONS)
def test_a_season_that_kept_its_promises_is_not_accused(calm: Season) -> None:
    """Repeats after a SIGKILL, redeliveries, refusals on purpose and a full disk's exit are no violations."""
    assert check(calm) == []
    killed, stopped = takeovers(calm)
    assert (killed.stop.signal, stopped.stop.signal) == ("SIGKILL", "SIGTERM")
    assert 11.5 <= (killed.seconds or 0) <= 13
    assert 1.5 <= (stopped.seconds or 0) <= 3


@pytest.mark.parametrize("plant", PLANTS)
@settings(max_examples=30)
@given(calm=SEASONS, dice=DICE)
def test_what_is_planted_is_found(plant: str, calm: Season, dice: random.Random) -> None:
    """One violation, of any person, webhook, partition or process, is found as what it is, and as nothing else."""
    change, wanted = PLANTS[plant]
    found = check(change(calm, dice))
    assert [line.partition(":")[0].partition(" ")[2] for line in found] == [wanted]


def test_every_check_has_its_plant() -> None:
    """No check was ever only seen to be silent."""
    assert {wanted for _, wanted in PLANTS.values()} == set(CHECKS)


@pytest.mark.parametrize("plant", ["wedged", "late after a SIGKILL", "late after a SIGTERM"])
def test_times_can_be_left_out(plant: str) -> None:
    """Where the machine has no time, how long work waited is nobody's fault; all else still is."""
    dice = random.Random(1)
    change, wanted = PLANTS[plant]
    planted = change(season(dice, 3, 4), dice)
    assert wanted in TIMED
    assert check(planted, timed=False) == []
    assert check(lose(planted, dice), timed=False) != []


def test_a_stop_beside_another_fault_is_not_judged() -> None:
    """An outage beside a stop is not blamed on it; nor can a stop be judged where nothing waited."""
    calm = season(random.Random(2), 3, 4)
    beside = replace(calm, happened=(*calm.happened, Happened(4, "outage", KILLED_S - 20, KILLED_S - 0.5, "")))
    assert [one.stop for one in takeovers(beside)] == [SINK]
    hurried = replace(
        calm,
        happened=tuple(
            replace(one, stops=tuple(stop._replace(calm=False) for stop in one.stops)) for one in calm.happened
        ),
    )
    assert takeovers(hurried) == []
    idle = calm
    for partition in range(PARTITIONS):
        during_s = (STOPPED_S - 1, STOPPED_S + 9)
        idle = altered(idle, "sink", partition, during_s, lambda place: Place(place.end, place.end))
    assert [one.seconds is None for one in takeovers(idle)] == [False, True]


@pytest.mark.parametrize(
    ("read_s", "accused"),
    [((KILLED_S + 3, KILLED_S + 9), False), ((KILLED_S + 3, KILLED_S + 3.5), True), ((60, 90), True)],
)
def test_what_the_heir_reads_is_no_part_of_a_takeover(read_s: tuple[float, float], accused: bool) -> None:
    """A transform whose disk lacked the facts has their time and no more; one that read at another time has none."""
    dice = random.Random(1)
    late = replace(
        slow_kill(season(dice, 3, 4), dice),
        restored=(Restored("transform-0", *read_s), Restored("transform-1", *read_s)),
    )
    assert [line for line in check(late) if "takeovers" in line] == ([] if not accused else check(late))
    assert bool(check(late)) is accused


def test_what_is_no_part_of_a_takeover_either() -> None:
    """What another fault holds that begins while facts are read, what nobody looked at, and a slow disk's writes."""
    dice = random.Random(1)
    calm = season(dice, 3, 4)
    stands = (KILLED_S + 0.5, KILLED_S + 30)
    read = replace(
        altered(calm, "transform", 1, stands, lambda place: Place(1, max(place.end, 2))),
        restored=(Restored("transform-0", KILLED_S + 3, KILLED_S + 9),),
    )
    assert "1 takeovers that came late" in check(read)[0]
    other = Happened(4, "outage", KILLED_S + 18, KILLED_S + 29, "")
    assert check(replace(read, happened=(*read.happened, other))) == []

    late = slow_stop(calm, dice)
    assert "1 takeovers that came late" in check(late)[0]
    unseen = [one for one in late.samples if not STOPPED_S + 1.5 < one.at_s <= STOPPED_S + 5]
    assert check(replace(late, samples=tuple(unseen))) == []
    slow = [replace(one, stops=tuple(stop._replace(spare_s=2.0) for stop in one.stops)) for one in late.happened]
    assert check(replace(late, happened=tuple(slow))) == []


@pytest.mark.parametrize("kind", ["slow", "answers lost", "throttled"])
def test_a_repeat_after_an_answer_that_never_came(kind: str) -> None:
    """It is the answer's doing and no stop's, and of no other fault's."""
    dice = random.Random(1)
    planted = repeat(season(dice, 3, 4), dice)
    times = Counter(one.ulid for one in planted.taken if one.ulid and one.accepted)
    before_s = {
        one.ulid: one.at_s for one in planted.taken if one.at_s < STOPPED_S and times[one.ulid] > 1 and one.accepted
    }
    earlier = [Happened(4, kind, at_s - 0.1, at_s + 0.1, "") for at_s in before_s.values()]
    explained = check(replace(planted, happened=(*planted.happened, *earlier)))
    assert [line for line in explained if "sent again" in line] == ([] if kind != "throttled" else explained)
    assert bool(explained) is (kind == "throttled")
