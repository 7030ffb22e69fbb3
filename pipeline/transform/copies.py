"""Webhooks in whatever a person copied: a body, JSON lines of a log, a list, a wrapped copy of any of them.

Bodies are looked for from the outside in, also in texts that hold JSON, and the path at which one was found is
returned, so that nobody wonders which part of a long line was read.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from pipeline.dodo.envelope import parse
from pipeline.errors import UnreadableBodyError

MAX_DEPTH: Final = 8
MAX_NODES: Final = 5_000
"""Bounds the search in a copy that holds no webhook."""

ID_NAMES: Final = frozenset({"webhook-id", "webhook_id", "webhookid", "svix-id"})
TIME_NAMES: Final = frozenset({"webhook-timestamp", "webhook_timestamp", "svix-timestamp"})

_DIGITS = re.compile(r"[0-9]{9,11}")


class Copy(NamedTuple):
    """One webhook as it was found.

    Args:
        body: the bytes that explain it: as given where nothing is wrapped around it.
        place: which part of the input, in words, empty where there is one.
        path: where inside the part; None: it is the whole.
        webhook_id: the header beside it, if any.
        attempt_at_s: the other one.
    """

    body: bytes
    place: str = ""
    path: str | None = None
    webhook_id: str | None = None
    attempt_at_s: int | None = None


def copies(given: bytes) -> Iterator[Copy]:
    """The webhooks in `given`, in order; what holds none is one copy, with the bytes as they are."""
    try:
        document = orjson.loads(given)
    except orjson.JSONDecodeError:
        yield from _lines(given)
        return
    if isinstance(document, list) and len(document) > 1 and any(copy.path for copy in _found(document, given, "")):
        for number, element in enumerate(document, 1):
            yield from _found(element, orjson.dumps(element), f"element {number}")
    else:
        yield from _found(document, given, "")


def _lines(given: bytes) -> Iterator[Copy]:
    lines = [(number, line) for number, line in enumerate(given.splitlines(), 1) if line.strip()]
    found = []
    for number, line in lines:
        start = 0
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            # A log often writes something before the JSON.
            start = max(0, line.find(b"{"))
            try:
                document = orjson.loads(line[start:]) if start else None
            except orjson.JSONDecodeError:
                document = None
        if document is not None:
            place = f"line {number}"
            if start and isinstance(document, dict) and _is_webhook(document):
                found.append(Copy(line[start:], place, f"byte {start} on"))
            else:
                found += _found(document, line, place)
    if len(lines) > 1 and found:
        yield from found
    elif len(lines) == 1 and found and found[0].path is not None:
        yield from (copy._replace(place="") for copy in found)
    else:
        yield Copy(given)


class _Node(NamedTuple):
    value: Any
    path: str
    depth: int
    above: tuple[Any, ...]


def _found(document: Any, given: bytes, place: str) -> list[Copy]:
    """The webhooks in one document, in its order; none is looked for inside of one."""
    found: list[Copy] = []
    nodes: deque[_Node] = deque([_Node(document, "", 0, ())])
    seen = 0
    while nodes and seen < MAX_NODES:
        seen += 1
        value, path, depth, above = nodes.popleft()
        if isinstance(value, dict) and _is_webhook(value):
            webhook_id, attempt_at_s = _headers(above)
            body = given if not path else orjson.dumps(value)
            found.append(Copy(body, place, path.lstrip(".") or None, webhook_id, attempt_at_s))
        elif depth < MAX_DEPTH:
            nodes.extendleft(reversed(_inside(value, path, depth, above)))
    return found or [Copy(given, place)]


def _inside(value: Any, path: str, depth: int, above: tuple[Any, ...]) -> list[_Node]:
    match value:
        case dict():
            return [_Node(member, f"{path}.{name}", depth + 1, (*above, value)) for name, member in value.items()]
        case list():
            return [_Node(one, f"{path}[{index}]", depth + 1, (*above, value)) for index, one in enumerate(value)]
        case str() if value.lstrip()[:1] in {"{", "["}:
            try:
                return [_Node(orjson.loads(value), f"{path} (text)", depth + 1, above)]
            except orjson.JSONDecodeError:
                return []
        case _:
            return []


def _is_webhook(value: dict[str, Any]) -> bool:
    try:
        parse(orjson.dumps(value))
    except (UnreadableBodyError, TypeError):
        return False
    return True


def _headers(above: tuple[Any, ...]) -> tuple[str | None, int | None]:
    """The delivery's headers beside the body, in any of the objects around it, the nearest first."""
    webhook_id: str | None = None
    attempt_at_s: int | None = None
    for node in reversed(above):
        members = dict(node) if isinstance(node, dict) else {}
        for name in ("headers", "request_headers"):
            if isinstance(members.get(name), dict):
                members |= members[name]
        for name, value in members.items():
            known = name.lower()
            if known in ID_NAMES and webhook_id is None and isinstance(value, str) and value.strip():
                webhook_id = value.strip()
            if known in TIME_NAMES and attempt_at_s is None and _DIGITS.fullmatch(str(value)):
                attempt_at_s = int(value)
    return webhook_id, attempt_at_s
