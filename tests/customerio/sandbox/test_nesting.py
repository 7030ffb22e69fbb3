"""Deeply nested JSON is refused like any other bad request, and nothing of it is kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.sandbox.nesting import MAX_DEPTH, USUAL_DEPTH, is_too_deep

OPERATION = b'{"type":"person","action":"identify","identifiers":{"id":"a"},"attributes":{"a":%s}}'
LISTS = "[]"
OBJECTS = '{"a":1}'


def nested(depth: int, kind: str) -> bytes:
    """A value of so many levels."""
    opened, closed = (b"[", b"]") if kind == LISTS else (b'{"a":', b"}")
    return opened * depth + b"1" + closed * depth


@pytest.mark.parametrize("kind", [LISTS, OBJECTS])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 254, 255, 300, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("lenient", [False, True])
async def test_deep_operations_are_400(lenient: bool, depth: int, kind: str, asking: Any) -> None:
    """On both paths, strict or not; the sandbox can still be looked into afterwards."""
    client = await asking(lenient=lenient)
    operation = OPERATION % nested(depth, kind)
    for path, body in (("/api/v2/entity", operation), ("/api/v2/batch", b'{"batch":[%s]}' % operation)):
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["errors"]
    for path in ("/people", "/requests", "/events", "/stats", "/faults"):
        assert (await client.get(f"/__sandbox{path}")).status_code == 200
    assert (await client.get("/__sandbox/people/a")).status_code == 404


@pytest.mark.parametrize("depth", [250, 255, 300, 1025, 100_000])
@pytest.mark.parametrize("script", [b"%s", b'[{"match":{"person":%s}}]', b'[{"status":500,"body":%s}]'])
async def test_deep_fault_scripts_are_400(script: bytes, depth: int, asking: Any) -> None:
    """So are steps of a fault script, and none of it is kept."""
    client = await asking()
    assert (await client.post("/__sandbox/faults", content=script % nested(depth, LISTS))).status_code == 400
    assert (await client.get("/__sandbox/faults")).json() == {"steps": []}


@pytest.mark.parametrize("depth", [1, USUAL_DEPTH, 100])
async def test_what_nests_within_the_bound_is_taken(depth: int, asking: Any) -> None:
    """The bound is on depth alone, and what is kept can be shown."""
    client = await asking(lenient=True)
    body = b'{"batch":[%s]}' % (OPERATION % nested(depth, OBJECTS))
    answer = await client.post("/api/v2/batch", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert (await client.get("/__sandbox/people/a")).status_code == 200


def depth_of(value: Any) -> int:
    """Levels, counted the slow way."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


JSON = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a') | st.integers(0, 9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="[{a"), inner),
)


@given(JSON, st.integers(0, 260))
@settings(deadline=None, max_examples=60)
def test_brackets_in_text_deceive_nobody(value: Any, levels: int) -> None:
    """The short way by brackets and the count of levels agree on every document."""
    body = b"[" * levels + orjson.dumps(value) + b"]" * levels
    whole = orjson.loads(body)
    assert is_too_deep(body, whole) == (depth_of(whole) > MAX_DEPTH)
