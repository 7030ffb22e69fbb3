"""What two ways of shaping one webhook differ in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.shaping.differences import Change, differences
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, MappedOperation, OperationKind, Operations

FAILED = DeadLettered("transform-failed", "no", "rules.yaml:3:1")
UNREADABLE = DeadLettered("unreadable", "not JSON")
DROPPED = Dropped("payout", "of the merchant")


def operation(kind: OperationKind, op_id: str, **members: Any) -> MappedOperation:
    """One operation with these members of its body."""
    body = orjson.dumps({"type": "person", "action": kind, **members})
    return MappedOperation(op_id, body, barrier=False, kind=kind, name=None)


def event(name: str, op_id: str = "1", **attributes: Any) -> MappedOperation:
    """An event."""
    return operation("event", op_id, name=name, id=op_id, attributes=attributes)


def profile(**attributes: Any) -> MappedOperation:
    """An identify."""
    return operation("identify", "m:identify", attributes=attributes)


def told(*operations: MappedOperation) -> Operations:
    """A verdict."""
    return Operations(b"cus_1", operations, 0)


def said(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    """What was found, without the bodies."""
    return [(one.kind, one.event, one.becomes, dict(one.attributes)) for one in changes]


@pytest.mark.parametrize(
    ("current", "candidate", "expected"),
    [
        (told(event("paid")), told(event("paid")), []),
        (DROPPED, told(), []),
        (DROPPED, Dropped("no-change", "nothing"), []),
        (FAILED, FAILED, []),
        (told(event("paid")), told(event("Order Paid")), [("event-renamed", "paid", "Order Paid", {})]),
        (told(event("paid")), told(), [("event-removed", "paid", None, {})]),
        (DROPPED, told(event("opened")), [("event-added", None, "opened", {})]),
        (
            told(event("vip", "1")),
            told(event("VIP", "2")),
            [("event-removed", "vip", None, {}), ("event-added", None, "VIP", {})],
        ),
        (
            told(event("paid", a=1, b=2)),
            told(event("Paid", b=3, c=1)),
            [
                ("event-renamed", "paid", "Paid", {}),
                ("event-attributes", "paid", "Paid", {"a": "removed", "b": "changed", "c": "added"}),
            ],
        ),
        (told(profile(vip=1)), told(profile(vip=True)), [("profile-attributes", None, None, {"vip": "changed"})]),
        (told(profile(vip={"a": 1, "b": 2})), told(profile(vip={"b": 2, "a": 1})), []),
        (told(profile(vip=1)), told(), [("profile-removed", None, None, {})]),
        (told(), told(profile(vip=1)), [("profile-added", None, None, {})]),
        (told(operation("merge", "1")), told(), [("operation-removed", None, None, {})]),
        (
            told(operation("event", "1", name="a", timestamp=1)),
            told(operation("event", "1", name="a", timestamp=2)),
            [("operation-changed", "a", "a", {".timestamp": "changed"})],
        ),
        (told(event("paid")), FAILED, [("newly-fails", None, None, {})]),
        (UNREADABLE, FAILED, [("fails-otherwise", None, None, {})]),
        (FAILED, told(event("paid")), [("no-longer-fails", None, None, {}), ("event-added", None, "paid", {})]),
        (told(event("a", "1"), event("a", "1")), told(event("a", "1")), [("event-removed", "a", None, {})]),
    ],
)
def test_what_differs_is_named(current: Decided, candidate: Decided, expected: list[Any]) -> None:
    """Each difference once, by what a reader would call it."""
    assert said(differences([current], [candidate])) == expected


def test_a_failure_comes_with_its_reason() -> None:
    """What mends it is at hand."""
    (change,) = differences([told(event("paid"))], [FAILED])
    assert change.failure == FAILED


def test_commands_of_a_webhook_count() -> None:
    """What the owner of a person says because of it is compared like its own operations."""
    found = differences([told(event("a", "1")), told(profile(x=1))], [told(event("a", "1")), told(profile(x=2))])
    assert said(found) == [("profile-attributes", None, None, {"x": "changed"})]


OPERATIONS = st.lists(
    st.builds(
        lambda name, op_id, attributes: event(name, op_id, **attributes),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["1", "2", "3"]),
        st.dictionaries(st.sampled_from(["x", "y"]), st.none() | st.booleans() | st.integers(0, 2)),
    ),
    max_size=4,
    unique_by=lambda one: one.op_id,
)


@given(OPERATIONS, OPERATIONS)
def test_applied_to_the_one_they_give_the_other(ours: list[MappedOperation], theirs: list[MappedOperation]) -> None:
    """Nothing is left out and nothing made up: the differences are enough to get from what is sent to what would be."""
    world: dict[str, Any] = {one.op_id: orjson.loads(one.body) for one in ours}
    for change in differences([told(*ours)], [told(*theirs)]):
        if change.after is not None:
            world[change.after["id"]] = change.after
        elif change.before is not None:
            del world[change.before["id"]]
    expected = {one.op_id: orjson.loads(one.body) for one in theirs}
    assert orjson.dumps(world, option=orjson.OPT_SORT_KEYS) == orjson.dumps(expected, option=orjson.OPT_SORT_KEYS)
