"""The socket between the supervisor and one worker: notices, and questions with their answers, both ways."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from typing import Any, Final, cast

import orjson

LENGTH: Final = struct.Struct(">I")

ANSWER_WITHIN_S: Final = 2.0
"""A process whose loop turns answers in milliseconds; a probe waits for a second or more."""

Reply = Callable[[Any], None]


class LostError(Exception):
    """The other process has ended."""


class Wire(asyncio.Protocol):
    """One end of it.

    Args:
        hear: called with each notice.
        answer: given each question and the function that its answer is to be given to.
        lost: called once when the other end is gone.
    """

    def __init__(
        self, hear: Callable[[Any], None], answer: Callable[[Any, Reply], None], lost: Callable[[], None]
    ) -> None:
        self._hear = hear
        self._answer = answer
        self._on_lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """End: whoever waits for an answer gets none."""
        self._transport = None
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(LostError())
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take messages apart."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[LENGTH.size : end], self._buffer[end:]
            self._take(*orjson.loads(message))

    def tell(self, notice: Any) -> None:
        """Send a notice; to nobody when the other end is gone."""
        self._send("notice", 0, notice)

    async def ask(self, question: Any, within_s: float = ANSWER_WITHIN_S) -> Any:
        """The answer to a question.

        Raises:
            LostError: the other end is gone.
            TimeoutError: it does not answer.
        """
        if self._transport is None:
            raise LostError
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send("question", number, question)
        try:
            async with asyncio.timeout(within_s):
                return await asked
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, kind: str, number: int, content: Any) -> None:
        match kind:
            case "notice":
                self._hear(content)
            case "question":
                self._answer(content, lambda answer: self._send("answer", number, answer))
            case _:
                asked = self._asked.get(number)
                if asked is not None and not asked.done():
                    asked.set_result(content)

    def _send(self, kind: str, number: int, content: Any) -> None:
        if self._transport is not None:
            message = orjson.dumps([kind, number, content])
            self._transport.write(LENGTH.pack(len(message)) + message)
