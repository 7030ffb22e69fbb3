"""Client and sandbox over real TCP: what is lost, slow, cut or redirected, and what the same bytes do afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pipeline.customerio.batch import join
from pipeline.customerio.client import Response, TrackClient
from pipeline.customerio.interpreter import interpret
from pipeline.customerio.operations import event, identify
from pipeline.customerio.outcomes import Accepted, Outcome, PartlyRefused, RetryLater, Split, Unauthorized, WrongRegion
from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.faults import parse_steps
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.customerio.timeouts import Timeouts
from pipeline.customerio.workspace import Workspace, find
from pipeline.errors import CredentialError, RequestUnansweredError, SettingsError
from tests.asking import local_client

AT_S = 1_795_600_000
COUNT = 20
ITEMS = [
    event(f"cus_{n}", "payment_completed", id=f"01ARZ3NDEKTSV4RRFFQ69G5F{n:02d}", timestamp_s=AT_S, attributes={"n": n})
    for n in range(COUNT)
]
BODY = join(ITEMS)


@contextlib.asynccontextmanager
async def running(
    *steps: dict[str, Any], timeouts: Timeouts | None = None, **settings: Any
) -> AsyncIterator[tuple[SandboxServer, TrackClient]]:
    """A sandbox with a fault script, and a client of it."""
    config = SandboxConfig(faults=parse_steps(list(steps)), **settings)
    async with SandboxServer(config) as server:
        client = TrackClient(server.url, "site", "key", timeouts=timeouts or Timeouts())
        try:
            yield server, client
        finally:
            await client.aclose()


def meaning(response: Response, sent: int = COUNT) -> Outcome:
    """What the answer means."""
    return interpret(response.status, response.headers, response.body, sent, now_s=time.time())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens inside the server; the suite's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


def assert_counted_once(server: SandboxServer, duplicates: int) -> None:
    """Every event is there once; `duplicates` deliveries were absorbed."""
    events = server.sandbox.workspace.events
    assert (events.stored, events.duplicates) == (COUNT, duplicates)


async def test_what_may_not_leave_any_more_is_not_sent() -> None:
    """Asked with the connection in hand: no means that not a byte arrives, and the pool is as it was."""
    async with running() as (server, client):
        for _ in range(200):
            with pytest.raises(RequestUnansweredError, match="nothing was sent") as caught:
                await client.send_batch(BODY, lambda: False)
            assert not caught.value.sent
        assert server.sandbox.stats()["requests"] == 0
        assert meaning(await client.send_batch(BODY, lambda: True)) == Accepted()
        assert_counted_once(server, 0)


async def test_a_batch_arrives_byte_for_byte() -> None:
    """What the client sends is what the sandbox keeps, in order."""
    async with running() as (server, client):
        assert meaning(await client.send_batch(BODY)) == Accepted()
        assert [request.body for request in server.sandbox.requests] == [BODY]
        assert [kept.person for kept in server.sandbox.workspace.events] == [f"cus_{n}" for n in range(COUNT)]


async def test_connections_are_reused() -> None:
    """One request after the other needs one connection."""
    async with running() as (server, client):
        for _ in range(5):
            await client.send_batch(BODY)
        assert server.connections == 1


@pytest.mark.parametrize(("drop", "applied"), [("before", 0), ("after", COUNT)])
async def test_a_cut_connection_then_the_same_bytes(drop: str, applied: int) -> None:
    """Whether the batch was applied before the cut or not, sending it again counts each event once."""
    async with running({"drop": drop}) as (server, client):
        with pytest.raises(RequestUnansweredError) as caught:
            await client.send_batch(BODY)
        assert caught.value.sent is True
        assert server.sandbox.workspace.events.stored == applied
        assert meaning(await client.send_batch(BODY)) == Accepted()
        assert_counted_once(server, duplicates=applied)
        crcs = [request.body_crc32 for request in server.sandbox.requests]
        assert crcs[0] == crcs[1]


@pytest.mark.parametrize("delay", ["delay_s", "delay_after_s"])
async def test_a_late_answer_then_the_same_bytes(delay: str) -> None:
    """The first request goes on after its deadline, and the repetition beside it doubles nothing."""
    async with running({delay: 2.0}, timeouts=Timeouts(deadline_s=0.1)) as (server, client):
        with pytest.raises(RequestUnansweredError, match=r"within 0\.1 s"):
            await client.send_batch(BODY)
        assert client.in_flight == 1
        async with TrackClient(server.url, "site", "key") as patient:
            assert meaning(await patient.send_batch(BODY)) == Accepted()
        await client.drained()
        assert_counted_once(server, duplicates=COUNT)
        assert [request.status for request in server.sandbox.requests] == [200, 200]


async def test_a_slow_body_is_still_an_answer() -> None:
    """An answer that comes in pieces is read whole."""
    steps = {"refuse_items": [0, 3], "trickle_s": 0.2}
    async with running(steps) as (_, client):
        outcome = meaning(await client.send_batch(BODY))
        assert isinstance(outcome, PartlyRefused)
        assert sorted(outcome.refused) == [0, 3]


async def test_a_body_that_is_too_slow_ends() -> None:
    """An answer that does not end in time counts as none, and the batch may have been applied."""
    async with running({"trickle_s": 600}, timeouts=Timeouts(answer_s=2.0)) as (server, client):
        with pytest.raises(RequestUnansweredError, match="did not end its answer") as caught:
            await client.send_batch(BODY)
        assert caught.value.sent is True
        assert server.sandbox.workspace.events.stored == COUNT


@pytest.mark.parametrize(
    ("retry_after", "least", "most"), [(7, 7.0, 7.0), ("date+20", 15.0, 60.0), ("soon", None, None), (9999, 300, 300)]
)
async def test_throttling_says_how_long(retry_after: float | str, least: float | None, most: float | None) -> None:
    """Both forms of Retry-After are understood, garbage is not, and nothing was applied."""
    async with running({"status": 429, "retry_after": retry_after}) as (server, client):
        outcome = meaning(await client.send_batch(BODY))
        assert isinstance(outcome, RetryLater)
        if least is None or most is None:
            assert outcome.after_s is None
        else:
            assert outcome.after_s is not None
            assert least <= outcome.after_s <= most
        assert server.sandbox.workspace.events.stored == 0
        assert meaning(await client.send_batch(BODY)) == Accepted()


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_a_server_fault_after_acceptance_then_the_same_bytes(status: int) -> None:
    """An error that hides an acceptance doubles nothing."""
    async with running({"status": status, "process": True, "body": "<html>oops</html>"}) as (server, client):
        assert isinstance(meaning(await client.send_batch(BODY)), RetryLater)
        assert meaning(await client.send_batch(BODY)) == Accepted()
        assert_counted_once(server, duplicates=COUNT)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_told_not_followed(status: int) -> None:
    """The client comes back with the redirect, and the target hears nothing."""
    async with SandboxServer() as other:
        target = f"{other.url}/api/v2/batch"
        async with running({"status": status, "location": target}) as (_, client):
            assert meaning(await client.send_batch(BODY)) == WrongRegion(status, target)
        assert other.sandbox.requests.total == 0


async def test_a_page_instead_of_an_answer() -> None:
    """A proxy's page about the size is a reason to split, without a culprit."""
    page = "<html><head><title>413 Request Entity Too Large</title></head></html>"
    async with running({"status": 413, "body": page}) as (server, client):
        response = await client.send_batch(BODY)
        outcome = meaning(response)
        assert response.headers["content-type"].startswith("text/html")
        assert isinstance(outcome, Split)
        assert not outcome.from_api
        assert server.sandbox.workspace.events.stored == 0


async def test_scripted_refusals_reach_the_right_items() -> None:
    """A step for one person refuses that person's items alone, with the given reason."""
    steps = {
        "match": {"person": "cus_4"},
        "refuse_items": "matched",
        "error": {"reason": "invalid", "field": "name", "message": "is forbidden"},
    }
    async with running(steps) as (server, client):
        outcome = meaning(await client.send_batch(BODY))
        assert isinstance(outcome, PartlyRefused)
        assert {index: refusal.text for index, refusal in outcome.refused.items()} == {
            4: "reason: invalid, field: name, message: is forbidden"
        }
        assert server.sandbox.workspace.events.stored == COUNT - 1


async def test_wrong_credentials() -> None:
    """A key that is not the sandbox's is refused on every path."""
    async with running(site_id="site", api_key="another") as (_, client):
        assert isinstance(meaning(await client.send_batch(BODY)), Unauthorized)
        with pytest.raises(CredentialError):
            await find(client)


async def test_the_region_is_found() -> None:
    """The client understands the region endpoint."""
    async with running(region="eu", environment_id=9) as (_, client):
        assert await find(client) == Workspace("eu", 9)


async def test_the_rate_limit_throttles() -> None:
    """A limit below one request lets none through, and says when to come again."""
    async with running(rate_limit=0.5, retry_after=1) as (server, client):
        assert meaning(await client.send_batch(BODY)) == RetryLater(
            1.0, 429, "429 Too Many Requests: message: Too many requests"
        )
        assert (server.sandbox.rate.most, server.sandbox.workspace.events.stored) == (1, 0)


async def test_latency_is_added() -> None:
    """Each request takes at least the latency, and requests wait beside each other."""
    async with running(latency_ms=100) as (server, client):
        await asyncio.gather(*(client.send_batch(BODY) for _ in range(4)))
        assert all(request.took_ms is not None and request.took_ms > 99 for request in server.sandbox.requests)
        assert_counted_once(server, duplicates=3 * COUNT)


async def test_a_stop_ends_pauses() -> None:
    """A sandbox that stops does not wait for the pauses of its script; the client hears that the connection went."""
    async with running({"delay_s": 600}) as (server, client):
        waiting = asyncio.create_task(client.send_batch(BODY))
        await until(lambda: server.sandbox.requests.total == 1)
        await server.stop()
        with pytest.raises(RequestUnansweredError):
            await waiting


async def test_a_client_that_leaves_early_counts_nothing() -> None:
    """A request whose body never ends is dropped whole."""
    async with SandboxServer() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        writer.write(b"POST /api/v2/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n" + BODY[:100])
        await writer.drain()
        await until(lambda: server.sandbox.requests.total == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: server.sandbox.requests.dropped == 1)
        assert server.sandbox.requests.operations == 0


async def test_a_body_without_end_is_cut() -> None:
    """The memory of one request is bounded."""
    async with running() as (server, client):
        with pytest.raises(RequestUnansweredError):
            await client.send_batch(b"x" * 9_000_000)
        assert server.sandbox.requests.dropped == 1


async def test_identify_and_event_in_one_batch() -> None:
    """Items of a batch are applied in their order."""
    body = join([identify("cus_1", {"email": "jane@example.com"}, timestamp_s=AT_S), *ITEMS[1:2]])
    async with running() as (server, client), local_client(server.url) as looking:
        await client.send_batch(body)
        person = (await looking.get("/__sandbox/people/cus_1")).json()
        assert (person["email"], person["events"]) == ("jane@example.com", 1)


async def test_a_port_that_is_taken_is_named() -> None:
    """An address that cannot be used is told with its number, and leaves nothing open."""
    async with SandboxServer() as server:
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match=rf"port {port}"):
            SandboxServer(port=port)


async def test_a_server_that_never_starts_can_be_stopped() -> None:
    """Stopping before starting closes the socket."""
    await SandboxServer().stop()
