"""Whose fault a failure is."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.customerio.outcomes import Refusal
from pipeline.sink.group import Group
from pipeline.sink.item import Item
from pipeline.sink.judge import EVERYBODY, SUSPECT_FAILURES, Judge

OWN = Refusal("invalid", "name", "bad", 400)
REQUESTS = Refusal("required", "batch", "is required", 400)


def group(person: str, operations: int = 1, **state: Any) -> Group:
    """Operations of one person."""
    nothing: Any = None
    body = b'{"name":"e","identifiers":{"id":"1"}}'
    return Group([Item(nothing, body, person.encode(), False, nothing, n, 0) for n in range(operations)], **state)


def refused(person: str, words: bytes = OWN.words) -> Group:
    """An operation that was refused before."""
    return group(person, refused_at=0.0, refused_as=words, refused_since=0.0, failures=9)


def test_told_apart_by_an_acceptance() -> None:
    """A 400 in Customer.io's words counts at once when another operation was accepted since the one before."""
    judge, mine = Judge(300.0), refused("ann")
    mine.failures = 0
    assert not judge.is_own(mine, OWN, 5.0, 6.0, [mine, refused("bob")])
    judge.accepted(group("bob"), 5.5, 5.6)
    assert judge.is_own(mine, OWN, 5.0, 6.0, [mine, refused("bob")])


def test_alone_in_the_world() -> None:
    """With nobody else who fails, the third 400 in Customer.io's words counts, whatever it names."""
    judge, mine = Judge(300.0), refused("ann")
    for failures, own in ((0, False), (1, False), (2, True)):
        mine.failures = failures
        assert judge.is_own(mine, REQUESTS, None, 1.0, [mine]) is own


@pytest.mark.parametrize(
    ("refusal", "waited_s", "alike", "others", "own"),
    [
        (OWN, 300.0, 1, 0, True),
        (OWN, 299.0, 1, 0, False),
        (OWN, 300.0, EVERYBODY - 2, 0, True),
        (OWN, 9e9, EVERYBODY - 1, 0, False),
        (OWN, 300.0, EVERYBODY - 2, 9, True),
        (REQUESTS, 9e9, 1, 0, False),
    ],
)
def test_a_few_alone(refusal: Refusal, waited_s: float, alike: int, others: int, own: bool) -> None:
    """While others fail and nothing is accepted, only a field of the operation counts, after minutes, of few people."""
    judge, mine = Judge(300.0), refused("ann", refusal.words)
    groups = [mine, *(refused(f"p{n}", refusal.words) for n in range(alike))]
    groups += [refused(f"q{n}", b"another fault %d" % n) for n in range(others)]
    assert judge.is_own(mine, refusal, 0.0, waited_s, groups) is own


def test_when_others_go_first() -> None:
    """After five failures with no success of anybody another person's operation goes first; after five minutes always,
    unless there are enough to compare with anyway."""  # noqa: D205, D209 - one sentence
    judge, mine = Judge(300.0), group("ann")
    asides = []
    for at in range(SUSPECT_FAILURES + 2):
        asides.append(judge.failed(mine, float(at)).aside)
        mine.failures += 1
    assert asides == [False] * SUSPECT_FAILURES + [True] * 2
    judge.accepted(group("bob"), 7.0, 7.5)
    ruling = judge.failed(mine, 8.0)
    assert (ruling.aside, ruling.soon) == (False, False)
    mine.patience.lone_s = 300.0
    judge.accepted(group("bob"), 8.0, 8.5)
    ruling = judge.failed(mine, 9.0)
    assert (ruling.verdict, ruling.aside, ruling.soon) == ("again", True, True)
    for _ in range(20):
        judge.accepted(group("bob"), 9.0, 9.5)
    assert not judge.failed(mine, 10.0).aside


def test_refused_credentials() -> None:
    """A batch is always halved; whose fault it is is open until others were accepted, or were refused as well."""
    judge = Judge(300.0)
    batch = group("ann", 4)
    ruling = judge.key_refused(batch, 1.0)
    assert (ruling.verdict, ruling.whose, ruling.stubborn) == ("halve", "unknown", False)
    one = batch.part(batch.items[:1])
    rulings = [judge.key_refused(one, 2.0 + n) for n in range(3)]
    assert [(r.verdict, r.whose, r.stubborn) for r in rulings] == [
        ("again", "unknown", False),
        ("again", "unknown", False),
        ("again", "unknown", True),
    ]
    assert [judge.key_refused(group(f"p{n}"), 6.0).whose for n in range(3)] == ["unknown", "unknown", "everybody's"]
    judge.accepted(group("bob"), 7.0, 7.5)
    ruling = judge.key_refused(one, 8.0)
    assert (ruling.verdict, ruling.whose, ruling.soon) == ("again", None, True)
    verdicts = []
    for at in range(10, 60):
        judge.accepted(group("bob"), at - 0.5, at - 0.2)
        verdicts.append(judge.key_refused(one, float(at)).verdict)
    assert verdicts[-1] == "give-up"
    assert verdicts.index("give-up") >= 25
