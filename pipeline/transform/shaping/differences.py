"""Differences between two ways of shaping the same webhook: events and profiles that are sent, and what fails.

Operations are matched by their kind and id. An event of the default mapping keeps the id of its fact under any name, so
a new name is a renaming; an additional event, whose id is made of its name, is another event under another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from pipeline.transform.verdicts import DeadLettered, Decided, MappedOperation, OperationKind, Operations

ChangeKind = Literal[
    "event-added",
    "event-removed",
    "event-renamed",
    "event-attributes",
    "profile-added",
    "profile-removed",
    "profile-attributes",
    "operation-added",
    "operation-removed",
    "operation-changed",
    "newly-fails",
    "fails-otherwise",
    "no-longer-fails",
]
KINDS: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)

AttributeFate = Literal["added", "removed", "changed"]


class Change(NamedTuple):
    """One difference.

    Args:
        kind: what it is.
        event: what the event is called now; None where there is none, or it is no event.
        becomes: what it would be called.
        attributes: what becomes of attributes by name; of a changed operation its other members, with a dot before.
        before: the operation as it is sent now.
        after: as it would be sent.
        failure: why the candidate cannot map the webhook; of `no-longer-fails`, why the live shaper cannot.
    """

    kind: ChangeKind
    event: str | None = None
    becomes: str | None = None
    attributes: Mapping[str, AttributeFate] = {}
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    failure: DeadLettered | None = None


def differences(current: Sequence[Decided], candidate: Sequence[Decided]) -> list[Change]:
    """What `candidate` changes about one webhook; both hold its verdict, and those of commands that it led to.

    A webhook that fails on one side only is one difference; the operations that are then missing are not counted.
    """
    fails, would_fail = _failure(current), _failure(candidate)
    if would_fail is not None:
        if fails is None:
            return [Change("newly-fails", failure=would_fail)]
        return [] if fails == would_fail else [Change("fails-otherwise", failure=would_fail)]
    mended = [] if fails is None else [Change("no-longer-fails", failure=fails)]
    ours, theirs = _operations(current), _operations(candidate)
    if [one.body for one in ours] == [one.body for one in theirs]:
        return mended
    return [*mended, *_between(ours, theirs)]


def _failure(verdicts: Sequence[Decided]) -> DeadLettered | None:
    return next((one for one in verdicts if isinstance(one, DeadLettered)), None)


def _operations(verdicts: Sequence[Decided]) -> list[MappedOperation]:
    return [operation for one in verdicts if isinstance(one, Operations) for operation in one.operations]


def _between(ours: Sequence[MappedOperation], theirs: Sequence[MappedOperation]) -> list[Change]:
    waiting: dict[tuple[OperationKind, str], list[MappedOperation]] = {}
    for operation in theirs:
        waiting.setdefault((operation.kind, operation.op_id), []).append(operation)
    found: list[Change] = []
    for operation in ours:
        same = waiting.get((operation.kind, operation.op_id))
        if same:
            found += _changed(operation, same.pop(0))
        else:
            found.append(_one_sided(operation, "removed"))
    left = {id(one) for rest in waiting.values() for one in rest}
    return found + [_one_sided(one, "added") for one in theirs if id(one) in left]


def _one_sided(operation: MappedOperation, fate: Literal["added", "removed"]) -> Change:
    body = orjson.loads(operation.body)
    before, after = (body, None) if fate == "removed" else (None, body)
    match operation.kind:
        case "event":
            name = body["name"]
            if fate == "added":
                return Change("event-added", becomes=name, after=after)
            return Change("event-removed", event=name, before=before)
        case "identify":
            return Change("profile-added" if fate == "added" else "profile-removed", before=before, after=after)
        case _:
            return Change("operation-added" if fate == "added" else "operation-removed", before=before, after=after)


def _changed(operation: MappedOperation, other: MappedOperation) -> list[Change]:
    if operation.body == other.body:
        return []
    before, after = orjson.loads(operation.body), orjson.loads(other.body)
    name, becomes = before.get("name"), after.get("name")
    found: list[Change] = []
    if name != becomes:
        found.append(Change("event-renamed", name, becomes, before=before, after=after))
    attributes = _fates(before.get("attributes") or {}, after.get("attributes") or {})
    if attributes:
        kind: ChangeKind = "event-attributes" if operation.kind == "event" else "profile-attributes"
        found.append(Change(kind, name, becomes, attributes, before, after))
    rest = _fates(_without(before), _without(after))
    if rest:
        members = {f".{member}": fate for member, fate in rest.items()}
        found.append(Change("operation-changed", name, becomes, members, before, after))
    return found


def _without(body: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in body.items() if member not in {"name", "attributes"}}


def _fates(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, AttributeFate]:
    fates: dict[str, AttributeFate] = {}
    for name in (*before, *(name for name in after if name not in before)):
        if name not in after:
            fates[name] = "removed"
        elif name not in before:
            fates[name] = "added"
        elif not _is_same(before[name], after[name]):
            fates[name] = "changed"
    return fates


def _is_same(one: Any, other: Any) -> bool:
    """Whether both are the same JSON: 1 is neither true nor 1.0."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
