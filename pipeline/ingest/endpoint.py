"""`POST /webhooks/dodo`: read, verify, store, answer; in that order, and nothing else.

An ASGI application rather than a Starlette view: the hot path of the process needs no request object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from starlette.types import Receive, Scope, Send

from pipeline.dodo.signature import SIGNATURE_HEADERS, Mode, Verifier
from pipeline.errors import SignatureError, StaleError
from pipeline.http.body import (
    BodyError,
    BodyIncompleteError,
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    OverloadedError,
    whole_body,
)
from pipeline.ingest import replies
from pipeline.ingest.events import Observer, Outcome, RequestEnded
from pipeline.ingest.records import Unreadable, decide
from pipeline.ingest.replies import Reply
from pipeline.ingest.store import NotStored, Store
from pipeline.observers import tell


class Conclusion(NamedTuple):
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
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        self.in_flight += 1
        try:
            end = await self._conclude(_headers(scope["headers"]), receive)
        except asyncio.CancelledError:  # only the server's stop cancels a request
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
            await end.reply.send(scope, send)

    async def _conclude(self, headers: Mapping[str, str], receive: Receive) -> Conclusion:
        try:
            body = await whole_body(receive)
        except BodyError as error:
            return _without_body(error)
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


def _without_body(error: BodyError) -> Conclusion:
    match error:
        case BodyTooLargeError():
            return Conclusion("too-large", replies.TOO_LARGE, str(error))
        case BodyTooSlowError():
            return Conclusion("too-slow", replies.TOO_SLOW, f"no complete body in {replies.READ_WITHIN_S:.0f} s")
        case OverloadedError():
            return Conclusion("overloaded", replies.OVERLOADED, "too many bodies are in memory")
        case BodyIncompleteError():
            return Conclusion("incomplete", Reply.of(400, str(error), close=True), str(error))
        case ClientGoneError():
            return Conclusion("client-gone", None, str(error))
        case _:
            raise error


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those that count here: of a repeated one the first; signatures are a list in any number of fields."""
    found: dict[str, str] = {}
    for name, value in raw:
        known = WANTED.get(name)
        if known is None:
            continue
        text = value.decode("latin-1")
        if known not in found:
            found[known] = text
        elif known == SIGNATURES:
            found[known] += f", {text}"
    return found


SIGNATURES: Final = "webhook-signature"
WANTED: Final = {name.encode(): name for name in (*SIGNATURE_HEADERS, "traceparent")}
"""ASGI gives names in lower case."""
