"""`POST /webhooks/dodo`: read, verify, store, answer; in that order, and nothing else.

An ASGI application rather than a Starlette view: the hot path of the process needs no request object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from pipeline.dodo.signature import Mode, Verifier
from pipeline.errors import SignatureError, StaleError
from pipeline.ingest import replies
from pipeline.ingest.body import (
    BodyTooLargeError,
    ClientGoneError,
    OverloadedError,
    declared_length,
    drain,
    read_body,
)
from pipeline.ingest.events import Observer, Outcome, RequestEnded
from pipeline.ingest.memory import Lease, Memory
from pipeline.ingest.records import MAX_BODY_BYTES, Unreadable, decide
from pipeline.ingest.replies import Reply
from pipeline.ingest.store import NotStored, Store
from pipeline.observers import tell


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a request ends, and the answer; no answer when nobody is left to hear it."""

    outcome: Outcome
    reply: Reply | None
    reason: str = ""
    size_bytes: int = 0
    mode: Mode | None = None
    type: str | None = None
    skew_s: float | None = None


class WebhookEndpoint:
    """The webhook path.

    Args:
        verifier: tells genuine requests, and their mode.
        store: where records go.
        webhooks_topic: for genuine webhooks.
        dead_letters_topic: for what is genuine but no webhook.
        observers: see a `RequestEnded` for each request.
        clock: seconds since the epoch.

    `in_flight` is how many requests are being answered now.
    """

    def __init__(
        self,
        verifier: Verifier,
        store: Store,
        *,
        webhooks_topic: str,
        dead_letters_topic: str,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._store = store
        self._webhooks_topic = webhooks_topic
        self._dead_letters_topic = dead_letters_topic
        self._observers = observers
        self._clock = clock
        self._memory = Memory()
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        # Of a repeated header the first counts, as in Starlette; ASGI gives names in lower case.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        self.in_flight += 1
        with Lease(self._memory) as lease:
            try:
                end = await self._conclude(headers, receive, lease)
            except asyncio.CancelledError:  # only the server's stop cancels a request; uvicorn would answer 500
                end = Conclusion("unavailable", replies.STOPPING, "the process is stopping")
            finally:
                self.in_flight -= 1
        event = RequestEnded(
            end.outcome,
            end.reply.status if end.reply else 0,
            time.monotonic() - began,
            end.size_bytes,
            end.mode,
            end.type,
            end.reason,
            end.skew_s,
        )
        tell(self._observers, event)
        if end.reply is not None:
            await end.reply.send(send)

    async def _conclude(self, headers: Mapping[str, str], receive: Receive, lease: Lease) -> Conclusion:
        try:
            async with asyncio.timeout(replies.READ_WITHIN_S):
                body = await _read(headers, receive, lease)
        except BodyTooLargeError:
            return Conclusion("too-large", replies.TOO_LARGE, f"larger than {MAX_BODY_BYTES} bytes")
        except ClientGoneError:
            return Conclusion("client-gone", None, "hung up before its body was complete")
        except OverloadedError:
            return Conclusion("overloaded", replies.OVERLOADED, f"{self._memory.held_bytes} bytes are in memory")
        except TimeoutError:
            return Conclusion("too-slow", replies.TOO_SLOW, f"no complete body in {replies.READ_WITHIN_S:.0f} s")
        try:
            mode = self._verifier.verify(headers, body)
        except SignatureError as error:
            reason = str(error)
            skew_s = error.skew_s if isinstance(error, StaleError) else None
            return Conclusion("forged", Reply.of(401, reason), reason, len(body), skew_s=skew_s)
        return await self._keep(headers, body, mode)

    async def _keep(self, headers: Mapping[str, str], body: bytes, mode: Mode) -> Conclusion:
        decision = decide(
            body,
            webhook_id=headers["webhook-id"],
            webhook_timestamp=headers["webhook-timestamp"],
            mode=mode,
            received_at_ms=int(self._clock() * 1000),
            traceparent=headers.get("traceparent"),
        )
        unreadable = isinstance(decision, Unreadable)
        topic = self._dead_letters_topic if unreadable else self._webhooks_topic
        stored = await self._store.store(topic, decision.record, replies.STORE_WITHIN_S)
        if isinstance(stored, NotStored):
            return Conclusion("unavailable", replies.UNAVAILABLE, stored.reason, len(body), mode)
        if isinstance(decision, Unreadable):
            return Conclusion("dead-lettered", replies.STORED, decision.reason, len(body), mode)
        return Conclusion("accepted", replies.STORED, "", len(body), mode, decision.type)


async def _read(headers: Mapping[str, str], receive: Receive, lease: Lease) -> bytes:
    declared = declared_length(headers.get("content-length"))
    if declared is not None and declared > MAX_BODY_BYTES:
        if headers.get("expect", "").lower() != "100-continue":  # else it has not begun to send
            await drain(receive, min(declared, MAX_BODY_BYTES * 8))
        raise BodyTooLargeError
    return await read_body(receive, MAX_BODY_BYTES, lease.take)
