"""HTTP load over keep-alive connections: as fast as answers come, or at a steady rate.

Requests are made before the clock starts; a connection has one in flight. At a steady rate a request that could not
leave when it was due counts from when it was due.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

from tests.bench.figures import per

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"\r\ncontent-length:"


@dataclass
class Answers:
    """What came back: statuses, and seconds from when each request was due until its answer was complete."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return per(len(self.seconds), self.took_s)


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End a waiting request."""
        self._lost.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Put an answer together."""
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end]
        _, found, rest = head.lower().partition(LENGTH)
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(self._buffer) - end - len(HEAD_END) >= length and self._answer is not None:
            self._buffer = b""
            self._answer.set_result(int(head[9:12]))

    async def ask(self, request: bytes) -> int:
        """Send a request; the status of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    async def close(self) -> None:
        """End the connection, and return when it has ended."""
        self._transport.close()
        await self._lost.wait()


@asynccontextmanager
async def connections(url: str, count: int) -> Any:
    """Open connections."""
    host, _, port = urlsplit(url).netloc.partition(":")
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(Connection, host, int(port)))[1] for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            await connection.close()


async def as_fast_as_it_goes(pool: Sequence[Connection], requests: Iterator[bytes], seconds: float | None) -> Answers:
    """Every connection asks again as soon as it has its answer, for some seconds or until the requests are used up."""
    answers = Answers()
    began = time.perf_counter()

    async def ask(connection: Connection) -> None:
        for request in requests:
            sent = time.perf_counter()
            answers.statuses[await connection.ask(request)] += 1
            answers.seconds.append(time.perf_counter() - sent)
            if seconds is not None and time.perf_counter() - began > seconds:
                return

    await asyncio.gather(*map(ask, pool))
    answers.took_s = time.perf_counter() - began
    return answers


async def steadily(
    pool: Sequence[Connection],
    requests: Sequence[bytes],
    per_second: float,
    *,
    on_send: Callable[[int], None] = lambda _: None,
) -> Answers:
    """Every request at its time, whatever became of the others; `on_send` is told its number."""
    answers = Answers()
    numbers = iter(range(len(requests)))
    began = time.perf_counter()

    async def ask(connection: Connection) -> None:
        for number in numbers:
            due = began + number / per_second
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
                due = time.perf_counter()  # a timer's lateness is not the server's
            on_send(number)
            answers.statuses[await connection.ask(requests[number])] += 1
            answers.seconds.append(time.perf_counter() - due)

    await asyncio.gather(*map(ask, pool))
    answers.took_s = time.perf_counter() - began
    return answers
