"""The pace of fetches: what comes in within a moment is fetched together.

At 200 records a second each comes alone, and each would pay for all that a poll costs: a request to the broker and its
answer, a hop to the event loop and one back, a chunk, requests to write what became of it. A fetch that follows on an
answer waits a moment before it leaves, and the next answer has what came meanwhile. A record that comes alone, after a
silence, finds a fetch that waits at the broker, and is not delayed. Nor is a backlog: an answer with much in it is
followed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest

MUCH_BYTES: Final = 64 * 1024
"""An answer with so much shows a flow, or a backlog, whose polls are large enough; some 25 webhooks."""

Pause = Callable[[float], float]
"""Until when nobody needs more, told when the last answer came; both by the loop's time, which is the same for all
loops of a process. Called in the consumer's thread."""


def pace(client: Any, pause: Pause) -> None:
    """Let the fetches of an `AIOKafkaClient` that is not started yet keep to `pause`."""
    client.send = _Paced(client, pause).send


class _Paced:
    """A client's `send`, of which each broker's fetches keep their distance."""

    def __init__(self, client: Any, pause: Pause) -> None:
        self._send: Callable[..., Any] = client.send
        self._pause = pause
        self._answered_at: dict[Any, float] = {}

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """The answer. For who waits for it, a fetch that has not left yet is one that takes longer."""
        if not isinstance(request, FetchRequest):
            return await self._send(node_id, request, **options)
        clock = asyncio.get_running_loop().time
        answered_at = self._answered_at.pop(node_id, None)
        if answered_at is not None and (wait_s := self._pause(answered_at) - clock()) > 0:
            await asyncio.sleep(wait_s)
        answer = await self._send(node_id, request, **options)
        size = sum([len(one[-1] or b"") for _, partitions in answer.topics for one in partitions])
        if 0 < size < MUCH_BYTES:
            self._answered_at[node_id] = clock()
        return answer
