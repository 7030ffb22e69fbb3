"""Decides by its fields whether a refusal is about an operation, or about something else. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from pipeline.customerio.outcomes import Refusal

REQUIRED: Final = "required"
"""Customer.io's reason when a field is missing (segmentio/action-destinations, pull 3657)."""

NOT_OF_AN_OPERATION: Final = {"batch"}
"""Fields that a request requires, and no operation."""


def names_field_of(refusal: Refusal, operation: bytes) -> bool:
    """Whether `refusal` names a field that `operation` has, or a missing one that it requires.

    A field is a dotted path (`attributes.plan`); a key may have dots of its own. An error about the request, or about a
    field that only another operation has, is no reason to refuse this one.

    Bytes that are no JSON object are at fault whatever is named: they spoil the request, and it is the request's fields
    that the answer is about. Who wrote them vouched for them, so nobody has parsed them before.
    """
    try:
        parts = orjson.loads(operation)
    except orjson.JSONDecodeError:
        return True
    if not isinstance(parts, dict):
        return True
    if not refusal.field:
        return False
    paths = refusal.field.split("; ")  # several errors in one answer
    if any(_has(parts, path) for path in paths):
        return True
    return REQUIRED in (refusal.reason or "") and any(_could_have(parts, path) for path in paths)


def _has(value: Any, path: str) -> bool:
    looked_at = [(value, path)]  # and not by recursion: an operation may be nested as deep as the stack
    while looked_at:
        value, path = looked_at.pop()
        if not isinstance(value, dict):
            continue
        if path in value:
            return True
        longest = max(map(len, value), default=0)
        head, _, rest = path.partition(".")
        while rest and len(head) <= longest:
            if head in value:
                looked_at.append((value[head], rest))
            more, _, rest = rest.partition(".")
            head = f"{head}.{more}"
    return False


def _could_have(operation: Any, path: str) -> bool:
    """Whether the operation has the object in which the missing field would be."""
    parent, _, _ = path.rpartition(".")
    return path not in NOT_OF_AN_OPERATION and (not parent or _has(operation, parent))
