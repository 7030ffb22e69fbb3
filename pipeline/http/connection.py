"""One connection as a state machine: reads one request at a time, and writes its answer.

    IDLE ── first byte ──▶ HEAD ── its end ──▶ BODY or CHUNKS ── its end ──▶ BUSY ── answered ──▶ IDLE
      any of them, refused or answered with bytes still to come ──▶ LINGER ──▶ closed

Bounds are checked before bytes are parsed: a read is no longer than the phase allows, a head's bytes are counted before
llhttp gets them, and bytes after a request stay unread until that request is answered. Each phase except BUSY has one
deadline, which nothing that the client sends can move. It is one module because it is this one state machine: every
method reads or changes the phase, and what needs no phase (heads, chunks, answers, memory) is in modules of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.types import Message, Scope

from pipeline import logs
from pipeline.http.answers import BODYLESS, CLOSE, CONTINUE, error_of, fields_of, scope_of, status_line
from pipeline.http.body import (
    BodyError,
    BodyIncompleteError,
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    OverloadedError,
)
from pipeline.http.chunks import Chunks
from pipeline.http.direct import Taking
from pipeline.http.events import Reason
from pipeline.http.head import Head, HeadError, HeadParser, HeadTooLargeError
from pipeline.http.limits import HEAD_BYTES, HEAD_WITHIN_S, LINGER_BYTES, LINGER_S, READ_BYTES, SEND_WITHIN_S
from pipeline.http.parts import add

if TYPE_CHECKING:
    from pipeline.http.server import Server

log = logs.get(__name__)

HEAD_END: Final = b"\r\n\r\n"
NEVER: Final = math.inf


IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
CHUNKS: Final = 3
BUSY: Final = 4
LINGER: Final = 5
CLOSED: Final = 6
"""Phases, as plain numbers: they are compared a dozen times a request, and to read a member of an Enum takes as long as
to parse a field of the head."""


class Connection(asyncio.BufferedProtocol):
    """See the module. `deadline` is by the loop's clock."""

    __slots__ = (
        "_answered", "_blank", "_body", "_busy", "_chunks", "_close", "_consumed", "_drained", "_due", "_eof",
        "_expected", "_fault", "_head", "_head_bytes", "_held", "_missing", "_parser", "_parts", "_paused", "_rest",
        "_served", "_server", "_started", "_status", "_tail", "_taking", "_task", "_transport", "_waiter",
        "_write_paused", "deadline", "peer", "phase",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._head: Head | None = None
        self._parser: HeadParser | None = None
        self._task: asyncio.Task[None] | None = None
        self._taking: Taking | None = None
        self._busy = self._due = self._served = False
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._rest = self._tail = b""
        self._blank = self._held = 0
        self._write_paused = self._eof = False
        self._close = self._started = self._answered = self._consumed = self._paused = False
        self._status, self._expected = 0, b""
        self._fault: BodyError | None = None
        self._body: bytes | None = None
        self._parts: list[bytes] | None = None
        self._chunks: Chunks | None = None
        self._missing = self._head_bytes = 0
        self.phase = IDLE
        self.deadline = NEVER
        self.peer: Any = None

    # --- asyncio's side -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.peer = transport.get_extra_info("peername")
        self.deadline = self._server.now + self._server.limits.idle_s
        self._server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Release what the connection held. An application that runs continues: what it stores is stored."""
        if self._body is None:
            self._forget_body()
        self.phase, self.deadline, self._rest = CLOSED, NEVER, b""
        self._parser = None
        if self._taking is not None and not self._served:
            self._failed(ClientGoneError("hung up before the body was complete"))
        self._wake()
        self._resume_writer()
        self._server.left(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        """The buffer for the next read: one for all connections, since the bytes are copied out before the next."""
        if self.phase == BODY:
            return self._server.buffer[: min(self._missing, READ_BYTES)]
        return self._server.small_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the bytes that were read."""
        self._take(bytes(self._server.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The client sends no more, and may still read: true keeps our side open for the answer."""
        self._eof = True
        if self.phase in (BODY, CHUNKS):
            self._fail(BodyIncompleteError("the body ended before its end"))
            return True
        if self.phase == HEAD:
            self._refuse(HeadError("the request ended in its head"), "malformed")
            return True
        if self.phase == BUSY:
            self._close = True
            return True
        return self._busy  # else asyncio closes

    def pause_writing(self) -> None:
        """Wait: the client does not read its answer."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Continue: the client reads again."""
        self._write_paused = False
        self._resume_writer()
        if self.phase == IDLE:
            self._next()

    # --- bytes in -------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        while data:
            phase = self.phase
            if phase <= HEAD:
                data = self._take_head(data)
            elif phase == BODY:
                data = self._take_body(data)
            elif phase == CHUNKS:
                data = self._take_chunks(data)
            elif phase == BUSY:
                self._rest = data  # one read at most: reading is paused until this request is answered
                self._pause()
                break
            else:
                self._missing -= len(data)
                if phase == LINGER and self._missing <= 0:
                    self._pause() if self._busy else self.close()
                return
        if self._due:
            self._due = False
            self._serve()

    def _take_head(self, data: bytes) -> bytes:
        if self.phase == IDLE:
            kept = data.lstrip(b"\r\n")  # RFC 9112 §2.2: a blank line before a request is ignored
            if not kept:
                self._blank += len(data)
                if self._blank > HEAD_BYTES:
                    self._refuse(HeadError("blank lines instead of a request"), "malformed")
                return b""
            data, self._parser, self._tail, self._head_bytes = kept, HeadParser(), b"", 0
            self.phase = HEAD
            self.deadline = self._server.now + HEAD_WITHIN_S
        parser, tail = cast("HeadParser", self._parser), self._tail
        end = (tail + data).find(HEAD_END) - len(tail) if tail else data.find(HEAD_END)
        found = end >= -len(tail)
        piece = data[: end + len(HEAD_END)] if found else data
        self._head_bytes += len(piece)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(HeadTooLargeError(f"the head is larger than {HEAD_BYTES} bytes"), "large head")
            return b""
        try:
            parser.feed(piece)
            head = parser.head
            if found and not head.complete:
                raise HeadError("no HTTP request")  # noqa: TRY301 - the parser and we disagree about its end
            if not found:
                if head.complete:
                    raise HeadError("no HTTP request")  # noqa: TRY301 - likewise
                self._tail = (tail + piece)[-3:]
                return b""
        except HeadError as error:
            self._refuse(error, "large head" if isinstance(error, HeadTooLargeError) else "malformed")
            return b""
        self._parser = None
        self._begin(head)
        return data[len(piece) :]

    def _take_body(self, data: bytes) -> bytes:
        piece = data[: self._missing]
        self._missing -= len(piece)
        complete = self._missing == 0
        if self._fault is None:
            if not self._hold(len(piece), complete=complete and self._parts is None):
                return data[len(piece) :]
            if self._parts is not None:
                add(self._parts, piece)
            elif not complete:
                self._parts = [piece]
        if complete:
            self._complete(piece if self._parts is None else b"".join(self._parts))
        return data[len(piece) :]

    def _take_chunks(self, data: bytes) -> bytes:
        chunks = cast("Chunks", self._chunks)
        before = chunks.size
        try:
            rest = chunks.feed(data)
        except BodyError as error:
            # The end of the body is unknown now: what follows is discarded, and the connection ends. The error that was
            # raised holds the frames of the parser, and so the body, for as long as the connection holds the error.
            self._fail(type(error)(str(error)))
            return b""
        if not self._hold(chunks.size - before, complete=False):
            return b""
        if chunks.complete:
            self._complete(b"".join(chunks.parts))
        return rest

    def _hold(self, size: int, *, complete: bool) -> bool:
        """Take memory for the body; refuse it where there is none."""
        if not self._server.memory.take(size, complete=complete):
            self._fail(OverloadedError("too much at once; try again"))
            return False
        if complete:
            self._held = size
        else:
            self._held += size
        return True

    def _complete(self, body: bytes) -> None:
        """Handle a body whose last byte has arrived."""
        if self._fault is None:
            if self._parts is not None or self._chunks is not None:
                self._server.memory.completed(self._held)
            self._body = body
        self._parts = self._chunks = None
        self.phase, self.deadline = BUSY, NEVER
        self._server.whole(self)
        self._due = self._taking is not None
        self._wake()

    def _fail(self, error: BodyError) -> None:
        """Handle a body that will not arrive, or is refused; the rest of it is discarded."""
        if self._fault is not None or self._body is not None:
            return
        self._fault = error
        self._forget_body()
        reason = REASONS.get(type(error))
        if reason is not None:
            self._server.told(reason)
        self._linger()
        if self._taking is not None:
            self._failed(error)
        self._wake()

    def _forget_body(self) -> None:
        """Release the memory of a body that will not be complete."""
        if self._parts is not None or self._chunks is not None:
            self._server.memory.completed(self._held)
            self._release()
            self._parts = self._chunks = None

    # --- requests -------------------------------------------------------------------------------------------------

    def _begin(self, head: Head) -> None:
        """Handle a complete head: start the application, and begin to read the body."""
        server = self._server
        self._head = head
        self._started = self._answered = False
        self._fault = self._body = None
        self._close = not head.keep_alive or server.closing
        self._consumed = False
        self._blank = 0
        self._busy, self._served = True, False
        direct = server.directs.get((head.method, head.path))
        if direct is not None:
            self._taking = direct.begin(self)
        else:
            self._task = server.loop.create_task(self._run(scope_of(head, self.peer, server.address, self.drop)))
        server.busy(self)
        length, most = head.length, server.limits.body_bytes
        if direct is not None and server.is_overloaded:
            self._fail(OverloadedError("too much at once; try again"))
            return
        if length == 0:
            self._body = b""
            self.phase, self.deadline = BUSY, NEVER
            server.whole(self)
            self._due = direct is not None
            return
        self.deadline = server.now + server.limits.body_within_s
        if length is None:
            self._chunks, self.phase = Chunks(most), CHUNKS
        else:
            self._missing, self.phase = length, BODY
        if length is not None and length > most:
            self._fail(BodyTooLargeError(f"the body is larger than {most} bytes"))
        elif head.expects_continue and head.version == "1.1":
            self._transport.write(CONTINUE)

    async def _run(self, scope: Scope) -> None:
        """Run the application, as a task. The next request begins when it has ended."""
        try:
            await self._server.app(scope, self._receive, self._send)
            if not self._started and self.phase != CLOSED:
                raise RuntimeError("the application returned without an answer")  # noqa: TRY301 - one place answers 500
        except BodyError as error:
            self._answer_for(error)
        except asyncio.CancelledError:  # only the server's stop cancels
            if not self._started:
                self._plain(503, "stopping; try again", retry=True)
        except Exception:
            log.exception("a request failed", method=scope["method"])
            if not self._started:
                self._plain(500, "internal error")
        finally:
            self._finished()

    # A handler without ASGI (`direct`) is called here, and answers through `headers`, `answer` and `leave`.

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields of the present request."""
        return cast("Head", self._head).headers

    def _serve(self) -> None:
        body, self._body, self._served = cast("bytes", self._body), None, True
        try:
            cast("Taking", self._taking).whole(body)
        except Exception as error:  # noqa: BLE001 - any error fails this request alone
            self._broken(error)

    def _failed(self, error: BodyError) -> None:
        self._served = True
        try:
            cast("Taking", self._taking).failed(error)
        except Exception as fault:  # noqa: BLE001 - likewise
            self._broken(fault)

    def _broken(self, error: Exception) -> None:
        log.error("a request failed", exc_info=error)
        if self._taking is not None:
            if not self._started:
                self._plain(500, "internal error")
            self._finished()

    def _finished(self) -> None:
        self._task = self._taking = self._head = self._body = None
        self._busy = False
        self._server.done(self)
        if self._parts is None and self._chunks is None:
            self._release()
        if self.phase == CLOSED:
            return
        if self._started and not self._answered:
            self.drop()  # half an answer
        elif self._fault is not None or self.phase in (BODY, CHUNKS):
            self._forget_body()
            self._linger()
        elif self._close:
            self._linger() if self._rest or self._server.closing else self.close()
        else:
            self.phase = IDLE
            pending = self._write_paused
            self.deadline = self._server.now + (SEND_WITHIN_S if pending else self._server.limits.idle_s)
            self._server.idle(self)
            if pending:
                self._pause()  # a client that does not read its answers gets no more of them
            elif self._rest:
                self._server.loop.call_soon(self._go_on)  # one request a turn of the loop, so that others get theirs
            else:
                self._resume()

    def _go_on(self) -> None:
        if self.phase == IDLE and not self._write_paused:
            self._next()

    def _next(self) -> None:
        """Begin the next request with what was read ahead, and read on."""
        self.deadline = self._server.now + self._server.limits.idle_s
        rest, self._rest = self._rest, b""
        self._resume()
        if rest:
            self._take(rest)

    async def _receive(self) -> Message:
        """ASGI's: the whole body, then the end of the connection.

        Raises:
            BodyError: there is no whole body.
        """
        if self._consumed:
            while self.phase != CLOSED and not self._answered:
                await self._wait()
            return {"type": "http.disconnect"}
        while self._fault is None and self._body is None and self.phase != CLOSED:
            await self._wait()
        if self._fault is not None:
            raise self._fault
        if self._body is None:
            raise ClientGoneError("hung up before the body was complete")
        body, self._body, self._consumed = self._body, None, True
        return {"type": "http.request", "body": body, "more_body": False}

    async def _wait(self) -> None:
        self._waiter = self._server.loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _send(self, message: Message) -> None:
        """ASGI's. The head of an answer is sent with the first part of its body."""
        if message["type"] == "http.response.start":
            self._status, self._expected = message["status"], self._head_of(message["status"], message["headers"])
            return
        if self.phase == CLOSED:
            self._started = self._answered = True
            return
        while self._write_paused and self.phase != CLOSED:
            self.deadline = self._server.now + SEND_WITHIN_S
            self._drained = self._server.loop.create_future()
            await self._drained
            self.deadline = NEVER
        body = message.get("body", b"")
        if cast("Head", self._head).method == "HEAD" or self._status in BODYLESS:
            body = b""
        if not self._started:
            self._started = True
            body = self._expected + body
        self._transport.write(body)
        if not message.get("more_body", False):
            self._answered = True
            self._wake()

    def answer(self, status: int, fields: bytes, body: bytes, close: bool) -> None:
        """Send the whole answer to a request that is answered without ASGI."""
        if self._taking is None:
            raise RuntimeError("answered twice")
        if self.phase != CLOSED and not self._started:
            self._started = self._answered = True
            if close or self._close or self.phase != BUSY or self._server.closing:
                self._close = True
                fields += CLOSE
            self._transport.write(status_line(status) + self._server.date + fields + b"\r\n" + body)
        self._finished()

    def leave(self) -> None:
        """End such a request without an answer: the client is gone."""
        if self.phase != CLOSED:
            self.drop()
        self._finished()

    def _resume_writer(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _head_of(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        fields, closes = fields_of(status, headers)
        if closes or self._close or self._fault is not None or self._server.closing or self.phase != BUSY:
            self._close = True
            fields += CLOSE
        return status_line(status) + self._server.date + fields + b"\r\n"

    def _answer_for(self, error: BodyError) -> None:
        if self._started or self.phase == CLOSED:
            return
        if error.status is None:
            self.drop()
        else:
            self._plain(error.status, str(error), retry=error.retry)

    def _plain(self, status: int, text: str, *, retry: bool = False) -> None:
        """Send an answer of the server's own, the last one on this connection."""
        if self.phase == CLOSED or self._transport.is_closing():
            return
        self._close = self._started = self._answered = True
        headers, body = error_of(text, retry=retry)
        self._transport.write(self._head_of(status, headers) + body)

    def _refuse(self, error: HeadError, reason: Reason) -> None:
        """Refuse a head that begins no request."""
        self._parser = None
        self._plain(error.status, str(error))
        self._server.told(reason)
        self._linger()
        self._missing = 8 * HEAD_BYTES

    # --- ends -----------------------------------------------------------------------------------------------------

    def late(self) -> None:
        """End the connection: the deadline of the phase has passed."""
        if self.phase == HEAD:
            self._parser = None
            self._plain(408, "the head did not arrive in time")
            self._server.told("late head")
            self._linger()
        elif self.phase in (BODY, CHUNKS):
            self._fail(BodyTooSlowError("the body did not arrive in time"))
        elif self._write_paused:
            self._server.told("late reader")
            self.drop()
        else:
            self.close()

    def _linger(self) -> None:
        """Discard what still arrives, for a bounded time, so that the client can read its answer."""
        if self.phase == CLOSED:
            return
        self.phase = LINGER
        self._missing = LINGER_BYTES
        self.deadline = NEVER if self._busy else self._server.now + LINGER_S
        self._rest = b""
        self._resume()
        if not self._busy:
            self._server.ending(self)
            if self._eof:
                self.close()
            elif not self._transport.is_closing():
                self._transport.write_eof()

    def close(self) -> None:
        """Close once all written bytes were sent."""
        self.phase, self.deadline = LINGER, self._server.now + SEND_WITHIN_S
        self._server.ending(self)
        if self._transport.is_closing():
            self.drop()
        else:
            self._transport.close()

    def drop(self) -> None:
        """Close now; no answer is expected any more."""
        self.deadline = NEVER
        self._started = self._answered = True
        self._transport.abort()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def cancel(self) -> None:
        """End the request: the process cannot wait for its answer."""
        if self._task is not None:
            self._task.cancel()
        elif self._taking is not None:
            self._taking.cancel()

    def _release(self) -> None:
        held, self._held = self._held, 0
        self._server.memory.release(held)


REASONS: Final[dict[type[BodyError], Reason]] = {
    BodyTooSlowError: "late body",
    BodyTooLargeError: "large body",
    OverloadedError: "overloaded",
    BodyIncompleteError: "malformed",
}
