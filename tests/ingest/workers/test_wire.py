"""The socket between two processes: what is said arrives, and who asks gets an answer or hears that there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.workers.wire import LostError, Wire


class End:
    """One end, and what it heard; it answers with what it was asked, twice, or not at all."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lost = asyncio.Event()
        self.silent = False
        self.wire = Wire(self.heard.append, self._answer, self.lost.set)

    def _answer(self, question: Any, reply: Any) -> None:
        if not self.silent:
            reply([question, question])


def _same(wire: Wire) -> Wire:
    return wire


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[End, End]]:
    """Two ends."""
    ends = End(), End()
    for end, sock in zip(ends, socket.socketpair(), strict=True):
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(partial(_same, end.wire), sock=sock)
    yield ends
    for end in ends:
        end.wire.close()
        await end.lost.wait()


async def test_both_may_ask_at_once() -> None:
    """Answers find whoever asked, however many ask."""
    async with wired() as (one, other):
        asked = [*(one.wire.ask(number) for number in range(20)), *(other.wire.ask(f"q{n}") for n in range(20))]
        answers = await asyncio.gather(*asked)
    assert answers == [*([n, n] for n in range(20)), *([f"q{n}"] * 2 for n in range(20))]


async def test_notices_come_in_order() -> None:
    """Each once."""
    async with wired() as (one, other):
        for number in range(100):
            one.wire.tell({"number": number, "text": "ü" * number * 100})
        await one.wire.ask("all of them?")
    assert [notice["number"] for notice in other.heard] == list(range(100))


async def test_who_does_not_answer() -> None:
    """It is not waited for, and an answer that comes later disturbs nobody."""
    async with wired() as (one, other):
        other.silent = True
        with pytest.raises(TimeoutError):
            await one.wire.ask("first", within_s=0.01)
        other.silent = False
        assert await one.wire.ask("second") == ["second", "second"]


async def test_an_end_is_heard_of() -> None:
    """Whoever waits for an answer, and whoever asks later, hears that nobody is there."""
    async with wired() as (one, other):
        other.silent = True
        asked = asyncio.ensure_future(one.wire.ask("anybody?", within_s=300))
        await asyncio.sleep(0)
        other.wire.close()
        with pytest.raises(LostError):
            await asked
        await one.lost.wait()
        with pytest.raises(LostError):
            await one.wire.ask("again")
        one.wire.tell("into nothing")


@given(st.lists(st.recursive(st.none() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)), st.data())
def test_messages_survive_any_cut(notices: list[Any], data: st.DataObject) -> None:
    """However the bytes arrive, each message comes once and whole."""
    heard: list[Any] = []
    written = bytearray()

    class Written(asyncio.Transport):
        def write(self, part: Any) -> None:
            written.extend(part)

    sender = Wire(heard.append, lambda *_: None, lambda: None)
    sender.connection_made(Written())
    for notice in notices:
        sender.tell(notice)
    receiver = Wire(heard.append, lambda *_: None, lambda: None)
    while written:
        cut = data.draw(st.integers(1, len(written)))
        receiver.data_received(bytes(written[:cut]))
        del written[:cut]
    assert heard == notices
