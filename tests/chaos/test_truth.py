"""The judge of the chaos tests: blind to repeats, and to nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import orjson
import pytest

from pipeline.dodo.simulator import Delivery, Shop
from pipeline.transform.policy import Policy
from tests.chaos.truth import Event, Outcome, Posted, faults, work_out

WEBHOOKS = 1_000
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A shop, its webhooks as they were posted, and what must come of them."""

    shop: Shop
    deliveries: Sequence[Delivery]
    posted: Sequence[Posted]
    truth: Outcome

    def faults(self, seen: Outcome) -> list[str]:
        """What differs."""
        return faults(self.shop, self.deliveries, self.truth, seen)


@pytest.fixture(scope="module")
def case() -> Case:
    """One shop for all."""
    now = datetime.now(UTC)
    shop = Shop(7, now)
    deliveries = list(shop.deliveries(WEBHOOKS))
    posted = [Posted(one, b"%d" % one.timestamp) for one in deliveries]
    return Case(shop, deliveries, posted, work_out(posted, Policy(), now_ms=int(now.timestamp() * 1000)))


def changed(events: Sequence[Event], index: int, **attributes: object) -> list[Event]:
    """`events` with other attributes at `index`."""
    one = events[index]
    told = orjson.loads(one.attributes) | attributes
    return [*events[:index], Event.of(one.id, one.person, one.name, one.timestamp, told), *events[index + 1 :]]


def neighbours(pairs: Sequence[tuple[str, object]]) -> tuple[int, int]:
    """Two places of the same person, one behind the other."""
    last: dict[str, int] = {}
    for index, (person, _) in enumerate(pairs):
        if person and person in last and pairs[last[person]] != pairs[index]:
            return last[person], index
        last[person] = index
    raise AssertionError("nobody has two")


def swapped(items: Sequence[T], first: int, second: int) -> list[T]:
    """`items` with two of them in each other's place."""
    listed = list(items)
    listed[first], listed[second] = listed[second], listed[first]
    return listed


def payment(events: Sequence[Event]) -> int:
    """Where the first completed payment is."""
    return next(index for index, one in enumerate(events) if one.name == "payment_completed")


def test_repeats_change_nothing(case: Case) -> None:
    """Requests that were taken twice, at once or long after, are the same outcome."""
    dice = random.Random(3)
    placed = list(enumerate(case.posted))
    placed += [(place, one) for place, one in enumerate(case.posted) if dice.random() < 0.1]
    placed += [(place + dice.randint(1, 500), one) for place, one in enumerate(case.posted) if dice.random() < 0.05]
    repeated = [one for _, one in sorted(placed, key=lambda pair: pair[0])]  # stable: behind what it repeats
    assert len(repeated) > len(case.posted) * 1.1
    seen = work_out(repeated, Policy(), now_ms=int(datetime.now(UTC).timestamp() * 1000))
    assert len(seen.stored) > len(case.truth.stored)
    assert case.faults(seen) == []


Change = Callable[[Outcome], Outcome]

CHANGES: dict[str, tuple[Change, str]] = {
    "an event is missing": (lambda o: replace(o, events=o.events[1:]), "1 events missing"),
    "another fact": (
        lambda o: replace(o, events=[*o.events, o.events[0]._replace(id="0" * 26)]),
        "1 events that nobody told",
    ),
    "taken twice": (lambda o: replace(o, events=[*o.events, o.events[0]]), "1 events taken twice"),
    "a hundredfold": (
        lambda o: replace(o, events=changed(o.events, payment(o.events), payment_amount_minor=10**9)),
        "1 events that differ",
    ),
    "somebody else's": (
        lambda o: replace(o, events=[o.events[0]._replace(person="cus_other"), *o.events[1:]]),
        "1 events that differ",
    ),
    "out of order": (
        lambda o: replace(o, events=swapped(o.events, *neighbours([(one.person, one) for one in o.events]))),
        "1 people whose events came in another order",
    ),
    "not stored": (
        lambda o: replace(o, stored=[one for one in o.stored if one != o.stored[0]]),
        "1 webhooks that were answered and are not stored",
    ),
    "nobody's webhook": (
        lambda o: replace(o, stored=[*o.stored, ("", "msg_0")]),
        "1 webhooks stored that nobody sent",
    ),
    "stored out of order": (
        lambda o: replace(o, stored=swapped(o.stored, *neighbours(o.stored))),
        "1 customers whose webhooks are stored in another order",
    ),
    "a wrong total": (
        lambda o: replace(o, profiles={one: {**had, "total_spent_usd_minor": 1} for one, had in o.profiles.items()}),
        "customers with a wrong total",
    ),
    "a profile is missing": (lambda o: replace(o, profiles={}), "profiles that differ"),
    "a letter too many": (
        lambda o: replace(o, dead_letters={*o.dead_letters, ("sink", "refused", "msg_0")}),
        "1 dead letters that are missing or should not be",
    ),
    "a letter is missing": (lambda o: replace(o, dead_letters=set()), "dead letters that are missing"),
    "refused": (lambda o: replace(o, refused=3), "3 operations refused"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_difference_is_told(case: Case, change: str) -> None:
    """One record more, less, altered or in another place is named, with the count."""
    alter, told = CHANGES[change]
    assert case.faults(case.truth) == []
    assert told in "\n".join(case.faults(alter(case.truth)))


def test_the_ledger_is_a_witness_of_its_own(case: Case) -> None:
    """Order and money are judged without the offline run: a mapping that is wrong on both sides is found."""
    events = case.truth.events
    wrong = replace(case.truth, events=changed(events, payment(events), payment_amount_minor=10**9))
    assert "payments completed" in "\n".join(faults(case.shop, case.deliveries, wrong, wrong))
    first, second = neighbours([(one.person, one.webhook_id) for one in events])
    turned = replace(case.truth, events=swapped(events, first, second))
    assert "events after one of a later webhook" in "\n".join(faults(case.shop, case.deliveries, turned, turned))
