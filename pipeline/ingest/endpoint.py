"""`POST /webhooks/dodo`: verify, store, answer; in that order, and nothing else.

Answered without ASGI (`pipeline.http.direct`): a webhook costs as much as its signature, its JSON and its place in a
batch do. Under a server that knows nothing of that it is an ASGI application as any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

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
from pipeline.http.direct import Exchange
from pipeline.ingest import replies
from pipeline.ingest.events import Observer, Outcome, RequestEnded
from pipeline.ingest.records import AcceptedWebhook, Unreadable, decide
from pipeline.ingest.replies import Reply
from pipeline.ingest.store import NotStored, Store, Stored
from pipeline.observers import tell

if TYPE_CHECKING:
    from pipeline.ingest.spans import WebhookSpan, WebhookSpans


class WebhookEndpoint:
    """The webhook path.

    Args:
        verifier: recognises genuine requests, and their mode.
        store: where records go.
        webhooks_topic: for genuine webhooks.
        dead_letters_topic: for what is genuine but no webhook.
        observers: see a `RequestEnded` for each request.
        spans: makes traces, where they are on.
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
        spans: WebhookSpans | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.verifier = verifier
        self.store = store
        self.observers = observers
        self.spans = spans
        self._webhooks_topic = webhooks_topic
        self._dead_letters_topic = dead_letters_topic
        self._clock = clock
        self.in_flight = 0

    def begin(self, exchange: Exchange) -> Request:
        """A request has begun: its head is there."""
        self.in_flight += 1
        return Request(self, exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of an ASGI server."""
        exchange = _AsgiExchange(scope["headers"])
        request = self.begin(exchange)
        try:
            try:
                request.whole(await whole_body(receive))
            except BodyError as error:
                request.failed(error)
            await exchange.ended.wait()
        except asyncio.CancelledError:  # only the server's stop cancels a request
            request.cancel()
        await exchange.send(send)

    def decide(
        self, headers: Mapping[str, str], body: bytes, mode: Mode, traceparent: str | None
    ) -> AcceptedWebhook | Unreadable:
        """What a genuine request becomes."""
        return decide(
            body,
            webhook_id=headers["webhook-id"],
            webhook_timestamp=headers["webhook-timestamp"],
            mode=mode,
            received_at_ms=int(self._clock() * 1000),
            traceparent=traceparent,
        )

    def topic_of(self, decision: AcceptedWebhook | Unreadable) -> str:
        """Where it is stored."""
        return self._webhooks_topic if isinstance(decision, AcceptedWebhook) else self._dead_letters_topic


class Request:
    """One request, from its head to its answer."""

    __slots__ = ("_began", "_dated_s", "_decision", "_ended", "_endpoint", "_exchange", "_mode", "_size_bytes", "_span")

    def __init__(self, endpoint: WebhookEndpoint, exchange: Exchange) -> None:
        self._endpoint = endpoint
        self._exchange = exchange
        self._began = time.monotonic()
        self._size_bytes = 0
        self._mode: Mode | None = None
        self._dated_s: int | None = None
        self._decision: AcceptedWebhook | Unreadable | None = None
        self._span: WebhookSpan | None = None
        self._ended = False

    def whole(self, body: bytes) -> None:
        """The body is there."""
        self._size_bytes = len(body)
        headers, endpoint = _headers(self._exchange.headers), self._endpoint
        try:
            self._mode = mode = endpoint.verifier.verify(headers, body)
        except SignatureError as error:
            skew_s = None
            if isinstance(error, StaleError):
                skew_s, self._dated_s = error.skew_s, int(headers["webhook-timestamp"])
            self._end("forged", Reply.of(401, str(error)), str(error), skew_s=skew_s)
            return
        self._dated_s = int(headers["webhook-timestamp"])
        traceparent = headers.get("traceparent")
        if endpoint.spans is not None:
            self._span = span = endpoint.spans.begin(traceparent, self._began)
            traceparent = traceparent if span is None else span.traceparent
        self._decision = decision = endpoint.decide(headers, body, mode, traceparent)
        topic = endpoint.topic_of(decision)
        if self._span is not None:
            self._span.decided(decision, topic)
        endpoint.store.put(topic, decision.record, self._stored)

    def failed(self, error: BodyError) -> None:
        """There is no body, and why."""
        self._end(*_without_body(error))

    def cancel(self) -> None:
        """The process stops, and cannot wait for Kafka any longer."""
        self._end("unavailable", replies.STOPPING, "the process is stopping")

    def _stored(self, stored: Stored | NotStored) -> None:
        if isinstance(stored, NotStored):
            self._end("unavailable", replies.UNAVAILABLE, stored.reason)
        elif isinstance(decision := self._decision, Unreadable):
            self._end("dead-lettered", replies.STORED, decision.reason)
        else:
            self._end("accepted", replies.STORED)

    def _end(self, outcome: Outcome, reply: Reply | None, reason: str = "", *, skew_s: float | None = None) -> None:
        if self._ended:  # it was cancelled before
            return
        self._ended = True
        decision, endpoint = self._decision, self._endpoint
        endpoint.in_flight -= 1
        event = RequestEnded(
            outcome,
            reply.status if reply else 0,
            time.monotonic() - self._began,
            self._size_bytes,
            self._mode,
            decision.type if outcome == "accepted" and isinstance(decision, AcceptedWebhook) else None,
            reason,
            skew_s,
            decision.webhook_id if decision is not None else b"",
            self._dated_s,
        )
        tell(endpoint.observers, event)
        if self._span is not None:
            self._span.ended(event)
        if reply is None:
            self._exchange.leave()
        else:
            self._exchange.answer(reply.status, reply.fields, reply.body, reply.close)


class _AsgiExchange:
    """A request of another server than ours."""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.ended = asyncio.Event()
        self._answer: tuple[int, bytes, bytes, bool] | None = None

    def answer(self, status: int, fields: bytes, body: bytes, close: bool) -> None:
        """To be sent."""
        self._answer = status, fields, body, close
        self.ended.set()

    def leave(self) -> None:
        """Nobody hears it."""
        self.ended.set()

    async def send(self, send: Send) -> None:
        """Hand the answer to the server, if there is one."""
        if self._answer is not None:
            status, fields, body, close = self._answer
            lines = [*fields.split(b"\r\n")[:-1], *([b"connection: close"] if close else [])]
            headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _without_body(error: BodyError) -> tuple[Outcome, Reply | None, str]:
    match error:
        case BodyTooLargeError():
            return "too-large", replies.TOO_LARGE, str(error)
        case BodyTooSlowError():
            return "too-slow", replies.TOO_SLOW, f"no complete body in {replies.READ_WITHIN_S:.0f} s"
        case OverloadedError():
            return "overloaded", replies.OVERLOADED, "too many bodies are in memory"
        case BodyIncompleteError():
            return "incomplete", Reply.of(400, str(error), close=True), str(error)
        case ClientGoneError():
            return "client-gone", None, str(error)
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
