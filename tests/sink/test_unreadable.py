"""Successes that do not say what was accepted: a proxy's sign-in page, an empty answer, half an answer."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.customerio.client import ANSWER_MAX_BYTES
from pipeline.kafka.records import text_header
from pipeline.sink.events import LanesHeld, LanesReleased

Virtual = Callable[[Any], Any]

ANSWERS = {
    "empty": httpx.Response(200),
    "no content": httpx.Response(204),
    "accepted by somebody": httpx.Response(202),
    "white space": httpx.Response(200, content=b"\r\n \n"),
    "null": httpx.Response(200, content=b"null"),
    "array": httpx.Response(200, content=b"[]"),
    "text": httpx.Response(200, content=b'"ok"'),
    "half": httpx.Response(200, content=b'{"errors'),
    "page": httpx.Response(200, content=b"<html>Sign in</html>", headers={"content-type": "text/html"}),
    "byte order mark alone": httpx.Response(200, content=b"\xef\xbb\xbf"),
    "compressed and not said so": httpx.Response(200, content=gzip.compress(b"{}")),
    "compressed by its word alone": httpx.Response(
        200, stream=httpx.ByteStream(b"{}"), headers={"content-encoding": "gzip"}
    ),
    "huge": httpx.Response(200, content=b"{}" + b" " * ANSWER_MAX_BYTES),
}  # fmt: skip


def again(answer: httpx.Response) -> httpx.Response:
    """The same answer once more: httpx spends the body of one."""
    stream = httpx.ByteStream(b"".join(answer.stream))  # type: ignore[arg-type] # all of ours are bytes
    return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_unreadable_success_is_no_acceptance(virtual: Virtual, api: Any, make: Any, name: str) -> None:
    """Nothing is acknowledged or given up while all answers are of that kind; when they are Customer.io's again,
    everything is sent."""  # noqa: D205, D209 - one promise
    api.last = lambda _operations, _body: again(ANSWERS[name])
    rig = make.rig(api, lanes=2)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(20)))
            await asyncio.sleep(3_600)
            assert (rig.acked, rig.producer.letters) == ({0: []}, [])
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    assert len(api.accepted) == 20
    assert (
        {event.cause for event in rig.of(LanesHeld)} == {event.cause for event in rig.of(LanesReleased)} == {"outage"}
    )


@pytest.mark.parametrize("name", ["page", "empty", "half"])
def test_one_record_that_is_always_answered_so(virtual: Virtual, api: Any, make: Any, name: str) -> None:
    """While others are accepted, the record that a proxy answers for is narrowed down and given up, and nobody else."""

    def proxy(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return again(ANSWERS[name])
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = proxy
    rig = make.rig(api, lanes=4)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, **({"poison": True} if n == 7 else {})) for n in range(20)))
            for n in range(20, 1_000):
                await rig.take(make.record(f"p{n % 20}", n))
                await asyncio.sleep(2)
            await rig.settled()

    virtual(scenario())
    (letter,) = rig.producer.letters
    assert text_header(letter.headers, "dlq-source") == "customerio.operations/0/7"
    assert text_header(letter.headers, "dlq-class") == "undeliverable"
    assert text_header(letter.headers, "dlq-status") == "200"
    assert sorted(n for _, n in set(api.accepted)) == [n for n in range(1_000) if n != 7]
