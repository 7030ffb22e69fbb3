"""Letters of the sink that could bring somebody back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.customerio.operations import event, identify, merge, removal
from pipeline.deadletters.filters import Filter
from pipeline.deadletters.forgotten import CAME_BACK, FORGOTTEN, Lookout, Telling, removed_by, telling_of
from pipeline.deadletters.plan import Plan, ReplayRules
from pipeline.deadletters.receipts import History
from pipeline.deadletters.replay import Targets

AT_S = 1_792_660_382
ULID = "01JAAAAAAAAAAAAAAAAAAAAAAA"


def sink(make: Any, body: bytes | None, **about: Any) -> Any:
    """A letter of the sink with this operation."""
    return make(**{"stage": "sink", "key": b"u_7", "value": body, "headers": ()} | about)


@pytest.mark.parametrize(
    ("body", "people"),
    [
        (identify("u_7", {}, timestamp_s=AT_S), {"u_7"}),
        (event("u_7", "paid", id=ULID, timestamp_s=AT_S, attributes={}), {"u_7"}),
        (identify("a@example.com", {}, timestamp_s=AT_S, identifier="email"), {"u_7", "a@example.com"}),
    ],
)
def test_of_whom_and_from_when(make: Any, body: bytes, people: set[str]) -> None:
    """Everybody whom the operation names, the key too; when is in the header, else in the operation."""
    record, _ = sink(make, body)
    assert telling_of(record) == Telling(frozenset(people), AT_S * 1000)
    record, _ = sink(make, body, headers=(("Event-Time", b"1790000000123"),))
    assert telling_of(record) == Telling(frozenset(people), 1_790_000_000_123)


def test_a_merge_names_both(make: Any) -> None:
    """Both people of a merge, which tells no time of its own."""
    record, _ = sink(make, merge("b@example.com", "a@example.com", identifier="email"), key=b"b@example.com")
    assert telling_of(record) == Telling(frozenset({"a@example.com", "b@example.com"}), None)


@pytest.mark.parametrize(
    "body", [b"{oops", b"[]", None, b'{"identifiers":[],"timestamp":"now"}', b'{"primary":{"id":7}}']
)
def test_of_what_cannot_be_read_the_key_is_left(make: Any, body: bytes | None) -> None:
    """A malformed operation is still about whoever its key names, at any time."""
    record, _ = sink(make, body)
    assert telling_of(record) == Telling(frozenset({"u_7"}), None)


def test_who_cannot_come_back(make: Any) -> None:
    """What removes a person brings nobody back, and other stages decide anew."""
    assert telling_of(sink(make, removal("u_7", "delete"))[0]) is None
    assert telling_of(sink(make, removal("u_7", "suppress"))[0]) is None
    assert telling_of(make()[0]) is None
    assert telling_of(make(stage="ingest")[0]) is None


def test_whom_a_letter_removes(make: Any) -> None:
    """By the key and the operation; other operations and other stages remove nobody."""
    body = removal("a@example.com", "delete", identifier="email")
    assert removed_by(sink(make, body)[0]) == frozenset({"u_7", "a@example.com"})
    assert removed_by(sink(make, identify("u_7", {}, timestamp_s=AT_S))[0]) is None
    assert removed_by(make()[0]) is None


def test_a_plan_refuses_removals_of_who_came_back(make: Any) -> None:
    """What came since would go with the person."""
    letters = [
        sink(make, removal(who, "delete"), offset=offset, key=who.encode()) for offset, who in enumerate(("u_7", "u_8"))
    ]
    plan = Plan(ReplayRules(Filter(), Targets("webhooks", "operations"), 3, came_back=lambda people: "u_7" in people))
    for record, letter in letters:
        plan.consider(record, letter, History())
    assert {reason: refusals.count for reason, refusals in plan.refusals.items()} == {CAME_BACK: 1}
    assert plan.count == 1


def test_a_plan_refuses_them(make: Any) -> None:
    """A letter that would go is refused when its person was forgotten since; what is refused anyway keeps its why."""
    known = sink(make, identify("u_7", {}, timestamp_s=AT_S), offset=1)
    other = sink(make, identify("u_8", {}, timestamp_s=AT_S), offset=2, key=b"u_8")
    spent = sink(make, identify("u_7", {}, timestamp_s=AT_S), offset=3, headers=(("dlq-replays", b"3"),))
    rules = ReplayRules(
        Filter(), Targets("webhooks", "operations"), 3, is_forgotten=lambda telling: "u_7" in telling.people
    )
    plan = Plan(rules)
    for record, letter in (known, other, spent, make(offset=4)):
        plan.consider(record, letter, History())
    assert {reason: refusals.count for reason, refusals in plan.refusals.items()}[FORGOTTEN] == 1
    assert (plan.refused, plan.count) == (2, 2)


def test_whether_the_marks_are_wanted(make: Any) -> None:
    """Only a letter of the sink that is meant asks for them."""
    letters = [sink(make, identify("u_7", {}, timestamp_s=AT_S)), make(offset=1)]

    def found(filter_: Filter, *chosen: int) -> bool:
        lookout = Lookout(filter_)
        for number in chosen:
            lookout.hear(letters[number][0])
        return lookout.found

    assert found(Filter(), 1, 0)
    assert not found(Filter(), 1)
    assert not found(Filter(stages=frozenset({"transform"})), 0, 1)
    assert found(Filter(customers=frozenset({"u_7"})), 0)
    assert not found(Filter(customers=frozenset({"u_8"})), 0)
    letters.append(sink(make, removal("u_7", "delete"), offset=2))
    assert found(Filter(), 2)
    assert orjson.loads(letters[0][0].value)["action"] == "identify"
