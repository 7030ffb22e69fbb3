"""Limits how deep a JSON document nests: what is kept must be written again, and orjson writes 254 levels."""

from __future__ import annotations

from typing import Any, Final

MAX_DEPTH: Final = 200
"""Levels of a request's document; the inspection adds a few around it. RFC 8259 §9 allows such a limit."""

USUAL_DEPTH: Final = 12
"""Levels of most batches: six, and some in attributes."""

OTHERS: Final = bytes(code for code in range(256) if code not in b"[]{}")


def is_too_deep(body: bytes, value: Any) -> bool:
    """Whether `value`, parsed from `body`, nests too deep.

    For almost all documents the brackets of `body` suffice: innermost pairs are removed, level by level.
    """
    brackets = body.translate(None, OTHERS)
    for _ in range(USUAL_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return bool(brackets) and _depth_exceeds(value)  # a text with a bracket in it leaves one, too


def _depth_exceeds(value: Any) -> bool:
    level = _containers([value])
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [inner for outer in level for inner in _containers(outer)]
    return bool(level)


def _containers(value: Any) -> list[Any]:
    inside = value.values() if isinstance(value, dict) else value
    return [inner for inner in inside if isinstance(inner, dict | list)]
