"""A connection to a broker that ends with an error of Kafka's, on uvloop too.

Between the moment when a connection breaks and the one when aiokafka's reader hears of it lies one turn of the event
loop. Whoever writes in that turn is ignored by asyncio, and gets a `RuntimeError` from uvloop ("the handler is
closed"), for which aiokafka is not prepared: its fetcher, its sender and its coordinator end with it, and the worker
with them. A broker that is killed while it has unread requests breaks its connections so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's own, whose two ways of writing tell of a broken connection as it tells of a refused one."""

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """Write a request; the answer.

        Raises:
            KafkaConnectionError: the connection is closed or broken.
        """
        return self._unless_broken(lambda: super(Connection, self).send(request, expect_response))

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Awaitable[Any]:
        return self._unless_broken(lambda: super(Connection, self)._send_sasl_token(payload, expect_response))

    def _unless_broken(self, write: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        try:
            return write()
        except RuntimeError as error:  # before the request was noted as sent (pinned), so nobody waits for an answer
            if not self._writer.transport.is_closing():
                raise
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} broken: {error}") from error


def use_our_connections() -> None:
    """Let every client of this process connect this way; for processes that run on uvloop.

    aiokafka names the class at one place, as a global of its module, and has no other seam (pinned). Calling it again
    changes nothing.
    """
    conn.AIOKafkaConnection = Connection
