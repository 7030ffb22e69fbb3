"""Everything that happened can be looked at, a page at a time, and forgotten."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

Asking = Callable[..., Awaitable[httpx.AsyncClient]]

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def event(n: int, person: str = "cus_1", name: str = "x") -> dict[str, Any]:
    """The n-th event."""
    return {
        "type": "person",
        "identifiers": {"id": person},
        "action": "event",
        "name": name,
        "id": f"{ULID[:-1]}{n}",
        "timestamp": 1_795_600_000 + n,
        "attributes": {"n": n, "nested": {"a": [1]}},
    }


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    """A page of the inspection."""
    answer = await client.get(f"/__sandbox/{path}", params=query)
    assert answer.status_code == 200
    return answer.json()


async def pages(client: httpx.AsyncClient, path: str, limit: int, **query: Any) -> list[Any]:
    """Every entry, fetched page by page."""
    found: list[Any] = []
    after: Any = None
    while True:
        page = await get(client, path, limit=limit, **query, **({} if after is None else {"after": after}))
        found += page[path]
        after = page["next"]
        if after is None:
            return found


async def test_events_tell_when_where_and_what(asking: Asking) -> None:
    """Each event has its attributes, its arrival, and its place in which request."""
    client = await asking()
    for batch in ([event(0)], [event(1, "cus_2"), event(0), event(2, name="y")]):
        await client.post("/api/v2/batch", json={"batch": batch})
    found = (await get(client, "events"))["events"]
    assert [(e["seq"], e["id"][-1], e["person"], e["request"], e["index"]) for e in found] == [
        (1, "0", "cus_1", 1, 0),
        (2, "1", "cus_2", 2, 0),
        (3, "2", "cus_1", 2, 2),
    ]
    assert found[0]["attributes"] == {"n": 0, "nested": {"a": [1]}}
    lines = (await get(client, "requests"))["requests"]
    assert [e["arrived_at_ms"] for e in found] == [lines[e["request"] - 1]["arrived_at_ms"] for e in found]


@pytest.mark.parametrize(
    ("query", "digits"),
    [
        ({}, "0123456789"),
        ({"person": "cus_1"}, "02468"),
        ({"name": "y"}, "012"),
        ({"person": "cus_0", "name": "y"}, "1"),
        ({"id": f"{ULID[:-1]}7"}, "7"),
        ({"person": "nobody"}, ""),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_events_are_filtered_and_paged(asking: Asking, query: dict[str, str], digits: str, limit: int) -> None:
    """Filters hold on every page, and pages neither repeat nor skip."""
    client = await asking()
    batch = [event(n, f"cus_{(n + 1) % 2}", "y" if n < 3 else "x") for n in range(10)]
    await client.post("/api/v2/batch", json={"batch": batch})
    assert "".join(e["id"][-1] for e in await pages(client, "events", limit, **query)) == digits


async def test_events_kept_are_bounded(asking: Asking) -> None:
    """Only the last are kept, and the page says how many left."""
    client = await asking(keep_events=3)
    await client.post("/api/v2/batch", json={"batch": [event(n) for n in range(5)]})
    page = await get(client, "events")
    assert [e["seq"] for e in page["events"]] == [3, 4, 5]
    assert (page["total"], page["dropped"]) == (5, 2)


async def test_people_are_found_and_paged(asking: Asking) -> None:
    """People come by page, by any identifier, and by a path that may hold slashes."""
    client = await asking()
    people = [
        {
            "type": "person",
            "identifiers": {"id": f"team/{n}"},
            "action": "identify",
            "attributes": {"email": f"p{n}@example.com"},
        }
        for n in range(5)
    ]
    await client.post("/api/v2/batch", json={"batch": people})
    assert [p["id"] for p in await pages(client, "people", 2)] == [f"team/{n}" for n in range(5)]
    assert [p["id"] for p in (await get(client, "people", email="P3@example.com"))["people"]] == ["team/3"]
    assert (await get(client, "people", id="nobody"))["people"] == []
    for path in ("people/team/3", "people/p3@example.com", "people/000000000004"):
        assert (await get(client, path))["id"] == "team/3"
    assert (await client.get("/__sandbox/people/nobody")).status_code == 404


async def test_requests_tell_what_was_asked_and_answered(asking: Asking) -> None:
    """Each request has its size, status, operations and the exact body; a repetition shows by its checksum."""
    client = await asking()
    body = b'{"batch": [ {"type":"person","identifiers":{"id":"1"},"action":"event"} ] }'
    for _ in range(2):
        await client.post("/api/v2/batch", content=body, headers={"content-type": "application/json"})
    await client.get("/api/v1/accounts/region")
    first, second, region = (await get(client, "requests"))["requests"]
    assert (first["status"], first["bytes"], first["operations"], first["refused"]) == (207, len(body), 1, 1)
    assert first["body_crc32"] == second["body_crc32"] == f"{zlib.crc32(body):08x}"
    assert (region["method"], region["path"], region["status"]) == ("GET", "/api/v1/accounts/region", 200)
    assert (await client.get("/__sandbox/requests/1/body")).content == body
    assert [r["number"] for r in (await get(client, "requests", status=200))["requests"]] == [3]
    assert [r["number"] for r in await pages(client, "requests", 1)] == [1, 2, 3]


async def test_requests_kept_are_bounded(asking: Asking) -> None:
    """Only the last are kept; the counts go on."""
    client = await asking(keep_requests=2)
    for _ in range(4):
        await client.get("/api/v1/accounts/region")
    page = await get(client, "requests")
    assert [r["number"] for r in page["requests"]] == [3, 4]
    assert page["total"] == 4


async def test_faults_are_set_seen_and_cleared(asking: Asking) -> None:
    """Steps are added or replaced while running, show how often they were taken, and can be removed."""
    client = await asking()
    await client.post("/__sandbox/faults", json=[{"status": 500}])
    shown = await client.post("/__sandbox/faults", json={"status": 503})
    assert [step["status"] for step in shown.json()["steps"]] == [500, 503]
    assert (await client.get("/api/v1/accounts/region")).status_code == 500
    assert [step["taken"] for step in (await get(client, "faults"))["steps"]] == [1, 0]
    replaced = await client.post("/__sandbox/faults?replace=true", json=[{"status": 502}])
    assert [step["status"] for step in replaced.json()["steps"]] == [502]
    assert (await client.delete("/__sandbox/faults")).json() == {"steps": []}
    assert (await client.get("/api/v1/accounts/region")).status_code == 200


@pytest.mark.parametrize(("body", "fault"), [(b"{", "malformed JSON"), (b'[{"drp": 1}]', "step 1: drp")])
async def test_a_wrong_fault_is_refused(asking: Asking, body: bytes, fault: str) -> None:
    """A script that cannot be used changes nothing and says why."""
    client = await asking()
    answer = await client.post("/__sandbox/faults", content=body)
    assert answer.status_code == 400
    assert fault in answer.json()["error"]
    assert await get(client, "faults") == {"steps": []}


async def test_reset_forgets(asking: Asking) -> None:
    """A reset begins anew, numbers and known ids included; faults stay unless they are named."""
    client = await asking()
    await client.post("/__sandbox/faults", json=[{"status": 500, "match": {"request": 9}}])
    await client.post("/api/v2/batch", json={"batch": [event(0)]})
    counts = (await client.post("/__sandbox/reset")).json()
    assert (counts["requests"], counts["events"], counts["people"], counts["max_requests_per_second"]) == (0, 0, 0, 0)
    assert len((await get(client, "faults"))["steps"]) == 1
    await client.post("/api/v2/batch", json={"batch": [event(0)]})
    (again,) = (await get(client, "events"))["events"]
    assert (again["seq"], again["request"]) == (1, 1)
    await client.post("/__sandbox/reset?faults=true")
    assert await get(client, "faults") == {"steps": []}


async def test_the_index_lists_what_answers(asking: Asking) -> None:
    """Each path without a parameter that the index names can be fetched."""
    client = await asking()
    see = (await client.get("/__sandbox")).json()["see"]
    paths = [entry.removeprefix("GET ") for entry in see if entry.startswith("GET ") and "{" not in entry]
    assert len(paths) >= 6
    for path in paths:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "query", ["limit=x&after=y", "limit=-1", "limit=0", "limit=99999999999", "after=٣", f"limit={'9' * 5000}"]
)
async def test_odd_queries_are_harmless(asking: Asking, query: str) -> None:
    """A number that is none counts as not given."""
    client = await asking()
    await client.post("/api/v2/batch", json={"batch": [event(0)]})
    answer = await client.get(f"/__sandbox/events?{query}")
    assert [e["seq"] for e in answer.json()["events"]] == [1]


@pytest.mark.parametrize("number", ["99", "x", "-1", "9" * 5000])
async def test_a_request_that_was_not(asking: Asking, number: str) -> None:
    """404, whatever stands for its number."""
    assert (await (await asking()).get(f"/__sandbox/requests/{number}/body")).status_code == 404
