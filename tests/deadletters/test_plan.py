"""A plan counts what a replay would do, before anything is done."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.filters import Filter
from pipeline.deadletters.letter import Place
from pipeline.deadletters.plan import EXAMPLES, Line, Plan, ReplayRules
from pipeline.deadletters.receipts import History, receipt
from pipeline.deadletters.replay import Targets
from pipeline.kafka.cluster.topic_reader import Span

TARGETS = Targets("webhooks", "operations")


def plan_of(letters: list[tuple[Any, Any]], history: History | None = None, **rules: Any) -> Plan:
    """The plan over `letters` in this order."""
    given_: dict[str, Any] = {"filter": Filter(), "targets": TARGETS, "max_replays": 3} | rules
    plan = Plan(ReplayRules(**given_))
    for record, letter in letters:
        plan.consider(record, letter, history or History(), doomed=letter.class_ == "unknown-type")
    return plan


def offsets(plan: Plan) -> dict[int, list[int]]:
    """What goes, as plain lists."""
    return {partition: list(found) for partition, found in plan.chosen.items()}


def test_kinds(make: Any) -> None:
    """Letters are counted by stage, class, type and target, the most frequent first; refusals by reason."""
    letters = [
        *(make(0, n, source=f"webhooks/0/{n}", class_="unknown-type") for n in range(3)),
        make(0, 3, source="operations/0/1", stage="sink", class_="refused", headers=(("dodo-type", b"refund.failed"),)),
        *(make(1, n, stage="ingest", class_="unreadable", value=b"{%d" % n) for n in range(EXAMPLES + 2)),
    ]
    plan = plan_of(letters)
    assert list(plan.lines.items()) == [
        (Line("transform", "unknown-type", "payment.succeeded", "webhooks"), 3),
        (Line("sink", "refused", "refund.failed", "operations"), 1),
    ]
    assert (plan.count, plan.refused, plan.doomed, plan.done) == (4, EXAMPLES + 2, 3, 0)
    [refusals] = plan.refusals.values()
    assert refusals.places == [Place(1, n) for n in range(EXAMPLES)]
    assert offsets(plan) == {0: [0, 1, 2, 3]}
    assert plan.spans == {0: Span(0, 4)}


def test_only_what_is_meant(make: Any) -> None:
    """What the filter does not mean is neither counted nor refused."""
    letters = [make(0, 0, stage="ingest", value=b"{"), make(0, 1, stage="sink")]
    plan = plan_of(letters, filter=Filter(stages=frozenset({"sink"})))
    assert (plan.count, plan.refused, offsets(plan)) == (1, 0, {0: [1]})


def test_put_back_before(make: Any, lying: Any) -> None:
    """What was put back is left out; asked for again it goes, and its returns count for the cap."""
    letters = [make(0, n, source=f"webhooks/0/{n}") for n in range(3)]
    history = History()
    for named in ([letters[0][1].identity, letters[1][1].identity], [letters[0][1].identity]):
        out = receipt(named, 1)
        history.add(lying(value=out.value, headers=out.headers))
    plan = plan_of(letters, history)
    assert (plan.done, offsets(plan)) == (2, {0: [2]})
    plan = plan_of(letters, history, again=True, max_replays=2)
    assert (plan.done, plan.refused, offsets(plan)) == (0, 1, {0: [1, 2]})


def test_two_letters_about_one_record(make: Any) -> None:
    """A stage that crashed before its commit writes a letter again; the record goes back once."""
    plan = plan_of([make(0, 0, at_ms=1), make(0, 4, at_ms=2), make(1, 0, at_ms=3)])
    assert (plan.count, plan.repeated, offsets(plan)) == (1, 2, {0: [0]})


@given(
    letters=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=40),
    limit=st.integers(1, 20),
)
def test_limit(make: Any, *, letters: list[tuple[int, int]], limit: int) -> None:
    """So many of the oldest, and in no partition a later letter without the earlier ones, even if clocks run back."""
    next_offset: dict[int, int] = defaultdict(int)
    built = []
    for number, (partition, at_ms) in enumerate(letters):
        built.append(make(partition, next_offset[partition], source=f"webhooks/0/{number}", at_ms=at_ms))
        next_offset[partition] += 1
    plan = plan_of(built, limit=limit)
    found = offsets(plan)
    assert plan.count == sum(map(len, found.values())) == sum(plan.lines.values()) == min(limit, len(letters))
    assert plan.beyond == len(letters) - plan.count
    for chosen in found.values():
        assert chosen == list(range(len(chosen)))
    if letters == sorted(letters, key=lambda pair: pair[1]):  # clocks that agree: really the oldest
        times = {letter.place: letter.at_ms for _, letter in built}
        taken = {Place(partition, offset) for partition, chosen in found.items() for offset in chosen}
        newest_taken_ms = max((times[place] for place in taken), default=0)
        assert all(times[place] >= newest_taken_ms for place in times.keys() - taken)
