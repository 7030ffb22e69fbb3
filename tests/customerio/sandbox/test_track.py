"""The API answers as documented: credentials, region, sizes, partial refusals, deduplication, rate."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from pipeline.customerio.interpreter import interpret
from pipeline.customerio.outcomes import Accepted, PartlyRefused, Refusal, Split

Asking = Callable[..., Awaitable[httpx.AsyncClient]]

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
IDENTIFY = {"type": "person", "identifiers": {"id": "cus_1"}, "action": "identify"}
EVENT = {
    "type": "person",
    "identifiers": {"id": "cus_1"},
    "action": "event",
    "name": "x",
    "id": ULID,
    "timestamp": 1_795_600_000,
}
BAD = {"type": "person", "identifiers": {"id": "cus_1"}, "action": "payment_completed"}


def filled(wrapper: bytes, size: int, field: bytes = b"PAD") -> bytes:
    """`wrapper` with its marker replaced so that the whole has `size` bytes."""
    return wrapper.replace(field, b"x" * (size - len(wrapper) + len(field)))


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    """The counts."""
    found: dict[str, Any] = (await client.get("/__sandbox/stats")).json()
    return found


async def post(client: httpx.AsyncClient, body: bytes, path: str = "/api/v2/batch") -> httpx.Response:
    """Send bytes as JSON."""
    return await client.post(path, content=body, headers={"content-type": "application/json"})


async def test_success_is_as_recorded(asking: Asking) -> None:
    """An empty object and a newline, with the recorded headers."""
    answer = await (await asking()).post("/api/v2/batch", json={"batch": [IDENTIFY]})
    assert (answer.status_code, answer.content) == (200, b"{}\n")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert "no-store" in answer.headers["cache-control"]


async def test_bad_items_are_listed_and_the_rest_applied(asking: Asking) -> None:
    """207 names the bad ones by index, every fault of each; all others are accepted."""
    client = await asking()
    several = {**EVENT, "name": "", "timestamp": "now"}
    answer = await client.post("/api/v2/batch", json={"batch": [IDENTIFY, BAD, EVENT, several]})
    outcome = interpret(answer.status_code, answer.headers, answer.content, 4)
    assert isinstance(outcome, PartlyRefused)
    assert outcome.unmatched is None
    assert sorted(outcome.refused) == [1, 3]
    assert outcome.refused[1].field == "action"
    assert outcome.refused[3] == Refusal(
        "invalid", "name; timestamp", "must not be blank; must be an integer of unix seconds", 207
    )
    counts = await stats(client)
    assert (counts["operations"], counts["accepted"], counts["refused"]) == (4, 2, 2)
    assert (counts["people"], counts["events"]) == (1, 1)


@pytest.mark.parametrize(("setting", "status"), [(207, 207), (400, 400)])
async def test_all_bad(asking: Asking, setting: int, status: int) -> None:
    """When every item is bad the answer is 207, or 400 where that is chosen."""
    answer = await (await asking(all_refused_status=setting)).post("/api/v2/batch", json={"batch": [BAD, BAD]})
    assert answer.status_code == status
    assert len(answer.json()["errors"]) == 2


async def test_a_bad_entity_is_400(asking: Asking) -> None:
    """A single operation is refused without an index."""
    client = await asking()
    answer = await client.post("/api/v2/entity", json=BAD)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "action"
    assert "batch_index" not in answer.json()["errors"][0]
    assert (await client.post("/api/v2/entity", json=EVENT)).content == b"{}\n"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"{", ""),
        (b'{"batch":[NaN]}', ""),
        (b'{"batch":["\xff"]}', ""),
        (b"[]", ""),
        (b"{}", "batch"),
        (b'{"batch":{}}', "batch"),
        (b'{"batch":null}', "batch"),
        (b'{"batch":[]}', "batch"),
    ],
)
async def test_a_malformed_request_is_400(asking: Asking, body: bytes, field: str) -> None:
    """A request that is malformed as a whole is refused as a whole."""
    client = await asking()
    answer = await post(client, body)
    outcome = interpret(answer.status_code, answer.headers, answer.content, 1)
    assert isinstance(outcome, Split)
    assert outcome.from_api
    assert answer.json()["errors"][0]["field"] == field
    assert (await stats(client))["operations"] == 0


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {}, {"content-type": "application/json", "content-encoding": "gzip"}]
)
async def test_only_plain_json_is_documented(asking: Asking, headers: dict[str, str]) -> None:
    """Strict takes only what the documentation names; lenient reads any."""
    body = json.dumps({"batch": [IDENTIFY]}).encode()
    assert (await (await asking()).post("/api/v2/batch", content=body, headers=headers)).status_code == 400
    assert (await (await asking(lenient=True)).post("/api/v2/batch", content=body, headers=headers)).status_code == 200


ITEM = b'{"type":"person","identifiers":{"id":"cus_1"},"action":"delete","pad":"PAD"}'


@pytest.mark.parametrize(
    ("settings", "largest", "status"),
    [({}, 499_999, 400), ({"oversize_status": 413}, 499_999, 413), ({"lenient": True}, 512_000, 400)],
)
async def test_body_limit(asking: Asking, settings: dict[str, Any], largest: int, status: int) -> None:
    """A body of the limit is taken, one byte more is refused as a whole."""
    items = b",".join([filled(ITEM, 30_000)] * 16)
    wrapper = b'{"batch":[' + items + b"," + ITEM + b"]}"
    client = await asking(**settings)
    assert (await post(client, filled(wrapper, largest))).status_code == 200
    assert (await post(client, filled(wrapper, largest + 1))).status_code == status


@pytest.mark.parametrize(("lenient", "largest"), [(False, 32_000), (True, 32_768)])
async def test_item_limit(asking: Asking, lenient: bool, largest: int) -> None:
    """An item of the limit is taken, one byte more is refused alone."""
    client = await asking(lenient=lenient)
    fits, too_large = filled(ITEM, largest), filled(ITEM, largest + 1)
    answer = await post(client, b'{"batch":[' + fits + b"," + too_large + b"," + fits + b"]}")
    assert answer.status_code == 207
    assert [error["batch_index"] for error in answer.json()["errors"]] == [1]


@pytest.mark.parametrize(("lenient", "largest"), [(False, 31_999), (True, 32_768)])
async def test_entity_limit(asking: Asking, lenient: bool, largest: int) -> None:
    """A single operation must be smaller than 32 kB."""
    client = await asking(lenient=lenient)
    assert (await post(client, filled(ITEM, largest), "/api/v2/entity")).status_code == 200
    assert (await post(client, filled(ITEM, largest + 1), "/api/v2/entity")).status_code == 400


@pytest.mark.parametrize(
    ("header", "settings", "status"),
    [
        (None, {}, 401),
        ("Bearer abc", {}, 401),
        ("Basic", {}, 401),
        ("Basic !!!", {}, 401),
        ("Basic c2l0ZQ==", {}, 401),  # no colon
        ("Basic Omtl", {}, 401),  # no user
        ("Basic c2l0ZTo=", {}, 401),  # no password
        ("Basic _-8_Og==", {}, 401),  # the URL-safe alphabet
        ("basic c2l0ZTprZXk=", {}, 200),
        ("Basic c2l0ZTprZXk=", {"site_id": "site", "api_key": "key"}, 200),
        ("Basic c2l0ZTprZXk=", {"site_id": "other"}, 401),
        ("Basic c2l0ZTprZXk=", {"api_key": "other"}, 401),
    ],
)
async def test_credentials(asking: Asking, header: str | None, settings: dict[str, Any], status: int) -> None:
    """Standard Basic credentials, any or the given ones, on every path; nothing is applied without."""
    client = await asking(**settings)
    client.auth = httpx.Auth()  # sends none
    headers = {} if header is None else {"authorization": header}
    for answer in (
        await client.post("/api/v2/batch", json={"batch": [IDENTIFY]}, headers=headers),
        await client.post("/api/v2/entity", json=IDENTIFY, headers=headers),
        await client.get("/api/v1/accounts/region", headers=headers),
    ):
        assert answer.status_code == status
    assert (await stats(client))["people"] == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("region", "url"), [("us", "https://track.customer.io"), ("eu", "https://track-eu.customer.io")]
)
@pytest.mark.parametrize("wrong_region", [True, False])
async def test_either_host_knows_the_region(asking: Asking, region: str, url: str, wrong_region: bool) -> None:
    """The region endpoint names the workspace's own region on both hosts."""
    client = await asking(region=region, wrong_region=wrong_region, environment_id=7)
    assert (await client.get("/api/v1/accounts/region")).json() == {"url": url, "region": region, "environment_id": 7}


@pytest.mark.parametrize("path", ["/api/v2/batch", "/api/v2/entity"])
async def test_the_wrong_host_takes_nothing(asking: Asking, path: str) -> None:
    """A workspace of the EU is redirected by the US host; one of the US is refused by the EU host."""
    eu, us = await asking(region="eu", wrong_region=True), await asking(region="us", wrong_region=True)
    redirected = await eu.post(path, json={"batch": [IDENTIFY]})
    assert redirected.status_code == 301
    assert redirected.headers["location"] == f"https://track-eu.customer.io{path}"
    assert (await us.post(path, json={"batch": [IDENTIFY]})).status_code == 401
    assert (await stats(eu))["people"] == (await stats(us))["people"] == 0


async def test_an_event_id_counts_once(asking: Asking) -> None:
    """A repeated event is accepted and ignored: between requests, inside one, and for another person."""
    client = await asking()
    other = {**EVENT, "identifiers": {"id": "cus_2"}, "name": "y"}
    for _ in range(2):
        answer = await client.post("/api/v2/batch", json={"batch": [EVENT, EVENT, other]})
        assert answer.content == b"{}\n"
    counts = await stats(client)
    assert (counts["events"], counts["duplicates"], counts["accepted"]) == (1, 5, 6)


async def test_a_suppressed_person_is_ignored(asking: Asking) -> None:
    """Calls for a suppressed person answer 200 and do nothing, until it is lifted."""
    client = await asking()
    suppress, lift = {**IDENTIFY, "action": "suppress"}, {**IDENTIFY, "action": "unsuppress"}
    answer = await client.post("/api/v2/batch", json={"batch": [IDENTIFY, suppress, EVENT, IDENTIFY]})
    assert answer.status_code == 200
    counts = await stats(client)
    assert (counts["people"], counts["events"], counts["suppressed_ignored"]) == (0, 0, 2)
    await client.post("/api/v2/batch", json={"batch": [lift, EVENT]})
    assert (await stats(client))["events"] == 1


async def test_every_action_is_applied(asking: Asking) -> None:
    """Devices, relationships, objects, merges, deliveries and deletions change what can be seen."""
    client = await asking()
    related = [
        {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "relationship_attributes": {"role": "admin"}}
    ]
    acme = {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
    to_jane = [{"identifiers": {"id": "cus_1"}}]
    batch = [
        {**IDENTIFY, "attributes": {"email": "jane@example.com"}, "cio_relationships": related},
        {**IDENTIFY, "action": "add_device", "device": {"token": "t1", "platform": "ios"}},
        {**IDENTIFY, "action": "add_device", "device": {"token": "t2", "platform": "ios"}},
        {**IDENTIFY, "action": "delete_device", "device": {"token": "t1"}},
        {**acme, "action": "identify", "attributes": {"seats": 5, "plan": "free"}},
        {**acme, "action": "identify", "attributes": {"plan": ""}},
        {**acme, "action": "add_relationships", "cio_relationships": to_jane},
        {"type": "delivery", "identifiers": {"id": "d"}, "action": "event", "name": "opened",
         "attributes": {"device_token": "t2"}},
        {"type": "person", "identifiers": {"id": "cus_2"}, "action": "identify", "attributes": {"plan": "paid"}},
        {"type": "person", "action": "merge", "primary": {"id": "cus_1"}, "secondary": {"id": "cus_2"}},
        {"type": "person", "identifiers": {"id": "cus_3"}, "action": "page", "name": "/pricing"},
        {"type": "person", "identifiers": {"id": "cus_3"}, "action": "delete"},
    ]  # fmt: skip
    assert (await client.post("/api/v2/batch", json={"batch": batch})).content == b"{}\n"
    jane = (await client.get("/__sandbox/people/cus_1")).json()
    assert [device["token"] for device in jane["devices"]] == ["t2"]
    assert (jane["relationships"], jane["attributes"], jane["email"]) == (related, {"plan": "paid"}, "jane@example.com")
    objects = (await client.get("/__sandbox/objects")).json()["objects"]
    assert [(entry["attributes"], entry["relationships"]) for entry in objects] == [({"seats": 5}, to_jane)]
    counts = await stats(client)
    assert (counts["people"], counts["deliveries"], counts["events"]) == (1, 1, 1)
    gone = [{**IDENTIFY, "action": "delete_relationships", "cio_relationships": related}, {**acme, "action": "delete"}]
    await client.post("/api/v2/batch", json={"batch": gone})
    assert (await client.get("/__sandbox/people/cus_1")).json()["relationships"] == []
    assert (await stats(client))["objects"] == 0


async def test_lenient_timestamps_become_now(asking: Asking) -> None:
    """What is no number counts as happening at its arrival, as observed."""
    client = await asking(lenient=True)
    await client.post("/api/v2/batch", json={"batch": [{**EVENT, "timestamp": "2026-01-01T00:00:00Z"}]})
    (event,) = (await client.get("/__sandbox/events")).json()["events"]
    assert event["timestamp"] == event["arrived_at_ms"] // 1000


async def test_above_the_rate_is_429(asking: Asking) -> None:
    """Requests above the limit in a sliding second are refused and not applied; each arrival counts."""
    client = await asking(rate_limit=2, retry_after="date+5", clock=lambda: 1000.0)
    answers = [await client.post("/api/v2/batch", json={"batch": [IDENTIFY]}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[2].headers["retry-after"].endswith(" GMT")
    counts = await stats(client)
    assert (counts["operations"], counts["max_requests_per_second"]) == (2, 4)
    assert counts["statuses"] == {"200": 2, "429": 2}


async def test_hints_tell_what_was_hardly_meant(asking: Asking) -> None:
    """Valid and still wrong: counted for the developer."""
    client = await asking()
    event = {"type": "person", "identifiers": {"id": "cus_1"}, "action": "event", "name": "x"}
    batch = [
        {**event, "data": {"amount": 1}},
        {**event, "timestamp": 1_795_600_000_000},
        {**event, "timestamp": 1_000_000_000, "attributes": {"reply_to": "jane@example.com"}},
    ]
    await client.post("/api/v2/batch", json={"batch": batch})
    hints = (await stats(client))["hints"]
    assert {text.split(":")[0].split("?")[0]: count for text, count in hints.items()} == {
        "event without an id": 3,
        "event of a person without an e-mail address": 3,
        "event without a timestamp": 1,
        "event with `data` and no `attributes`": 1,
        "timestamp in milliseconds": 1,
        "event older than 72 hours": 1,
        "event with recipient, from_address or reply_to": 1,
    }


@pytest.mark.parametrize(("order_by", "violations"), [("timestamp", 0), ("n", 1)])
async def test_steps_back_are_counted(asking: Asking, order_by: str, violations: int) -> None:
    """A person's first deliveries that go back behind one before are counted by the chosen attribute."""
    client = await asking(order_by=order_by)
    batch = [
        {**EVENT, "id": f"{ULID[:-1]}{index}", "attributes": {"n": n}, "identifiers": {"id": person}}
        for index, (person, n) in enumerate([("a", 1), ("b", 9), ("a", 3), ("a", 2), ("b", 9)])
    ]
    await client.post("/api/v2/batch", json={"batch": batch})
    await client.post("/api/v2/batch", json={"batch": batch[:1]})  # a repetition is no step back
    counts = await stats(client)
    assert counts["order_violations"] == violations
    assert counts["order_violations_by_person"] == ({"a": 1} if violations else {})


async def test_fast_keeps_no_content(asking: Asking) -> None:
    """For benchmarks nothing of what was sent is kept but identifiers, ids and counts."""
    client = await asking(fast=True)
    identify = {**IDENTIFY, "attributes": {"email": "jane@example.com", "plan": "paid"}}
    answer = await client.post("/api/v2/batch", json={"batch": [identify, EVENT, EVENT, BAD]})
    assert answer.status_code == 207
    (event,) = (await client.get("/__sandbox/events")).json()["events"]
    assert (event["id"], event["attributes"]) == (ULID, None)
    person = (await client.get("/__sandbox/people/cus_1")).json()
    assert (person["email"], person["attributes"]) == ("jane@example.com", {})
    assert (await client.get("/__sandbox/requests/1/body")).status_code == 404
    assert (await stats(client))["duplicates"] == 1


async def test_elsewhere_is_404(asking: Asking) -> None:
    """Other paths and methods are answered, and not counted as requests to the API."""
    client = await asking()
    assert (await client.post("/api/v1/customers/1/events", json={})).status_code == 404
    assert (await client.get("/api/v2/batch")).status_code == 405
    assert (await stats(client))["requests"] == 0


async def test_all_accepted_is_read_as_accepted(asking: Asking) -> None:
    """The interpreter and the sandbox understand each other."""
    answer = await (await asking()).post("/api/v2/batch", json={"batch": [EVENT]})
    assert interpret(answer.status_code, answer.headers, answer.content, 1) == Accepted()
