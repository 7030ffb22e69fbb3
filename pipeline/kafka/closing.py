"""The end of a consumer or a producer, within a limit, whatever the broker does.

aiokafka's `stop` waits for an answer to "I leave the group" for as long as any request may take (40 s of a frozen
broker), raises the cancellation of a request of its own as if it were the caller's, and may wait for ever: a fetcher
that is cancelled at the end of an earlier assignment's fetches misses that (`_fetch_requests_routine` swallows it), and
a second cancellation ends it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline import logs

CLOSE_WITHIN_S: Final = 3.0
"""For the broker to hear that a member leaves. One that does not hear it takes the member for dead after a session."""

log = logs.get(__name__)


async def close(consumer: Any, within_s: float = CLOSE_WITHIN_S) -> None:
    """Stop an `AIOKafkaConsumer`, to its end when the caller is cancelled; never raises for how it ends."""
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({stopping}, timeout=within_s)
    finally:
        if not await _in_order(stopping):
            await asyncio.wait({asyncio.ensure_future(_abandon(consumer))}, timeout=within_s)


async def close_producer(producer: Any, within_s: float = CLOSE_WITHIN_S) -> None:
    """Stop an `AIOKafkaProducer`: with a flush if the brokers answer within the time, else without."""
    with suppress(KafkaError, OSError):  # a time-out is an OSError
        async with asyncio.timeout(within_s):
            await producer.stop()
        return
    await close_unflushed(producer)


async def close_unflushed(producer: Any) -> None:
    """End an `AIOKafkaProducer` without its `stop`, which waits for a flush that an absent broker never ends.

    What is not sent fails, and so does what is not confirmed.
    """
    client = producer.client
    producer._closed = True  # noqa: SLF001 - what is left of its stop()
    # A request that fails asks for metadata before it gives up, and nobody answers once the client is closed.
    client.force_metadata_update = _no_update
    await client.close()  # fails the requests that the sender waits for
    if (asked := client._md_update_fut) is not None and not asked.done():  # noqa: SLF001
        asked.set_result(False)
    await asyncio.wait({closing := asyncio.ensure_future(producer._sender.close())}, timeout=CLOSE_WITHIN_S)  # noqa: SLF001
    await _in_order(closing)
    for connection in list(client._conns.values()):  # noqa: SLF001 - what the sender had begun may connect anew
        connection.close()  # not waited for: a broker that is frozen need not answer


def _no_update() -> asyncio.Future[bool]:
    """The answer of a client that is closed."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    answer.set_result(False)
    return answer


async def _in_order(stopping: asyncio.Future[None]) -> bool:
    """Whether the stop came to its own end; one that did not is cancelled."""
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=CLOSE_WITHIN_S)
    if not stopping.done() or stopping.cancelled():
        return False
    error = stopping.exception()
    if error is not None:
        log.info("A Kafka client did not stop in order", error=repr(error))
    return error is None


async def _abandon(consumer: Any) -> None:
    """What is left of a stop that did not come to its end: fetches are cancelled, connections closed."""
    with suppress(asyncio.CancelledError):  # of a fetch, which is awaited there
        await consumer._fetcher.close()  # noqa: SLF001 - a second stop does nothing
    await consumer._client.close()  # noqa: SLF001
