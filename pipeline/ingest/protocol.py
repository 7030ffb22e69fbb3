"""uvicorn's HTTP protocol with bounds on a request's head.

httptools collects a head of any length for any time; a proxy in front usually has bounds, but nothing says that there
is one.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 2**10
"""Request line and headers; proxies stop at 8 to 32 kB."""

HEAD_WITHIN_S: Final = 10.0
"""From the connection, or the head's first byte, to its last."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Ends connections whose head is too large or too slow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._unset_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what still belongs to an unfinished head."""
        super().data_received(data)
        if self._in_head and self.parser is not None:  # most heads come in one piece and never get here
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._hang_up)
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("Request head too large.")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        if self._head_timer is not None:
            self._unset_head_timer()
        super().on_headers_complete()

    def _hang_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _unset_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
