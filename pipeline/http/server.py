"""A listening socket and its connections, inside a running event loop; it installs no signal handlers.

Ingest and the sandbox run their own loop, a worker's is run by Faust: the server works in either.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Sequence
from email.utils import formatdate
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp

from pipeline.http.connection import Connection
from pipeline.http.direct import Directs
from pipeline.http.events import ConnectionEnded, ConnectionsCounted, DescriptorsExhausted, Observer, Reason
from pipeline.http.limits import AHEAD_BYTES, READ_BYTES, SWEEP_S, Limits, affordable
from pipeline.http.memory import Memory
from pipeline.observers import tell
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

ACCEPTS_A_TURN: Final = 64
"""Connections that are accepted in one turn of the event loop."""

ASKING: Final = 4
"""A quarter of the connections may be ones that have not asked yet, however many others wait for their next request: by
such others, which cost one request each, nobody can keep the next client out."""

TURNS_TO_ASK: Final = 6
"""Turns of the event loop in which a new connection's request is read, before as many others can come as there is room
for: else it would be ended for them while its request waits in the kernel. It takes three or four."""

PROBES: Final = 16
"""Connections beyond the limit, an eighth of it at most, while each within it waits for its answer. Kafka may be away,
and a probe that finds no room then would have the process restarted. A webhook is told there that there is too much."""

ACCEPT_AGAIN_S: Final = 0.1
"""How long to wait after file descriptors ran out: the connection that was ended to free one is closed by then."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

NO_DIRECTS: Final[Directs] = MappingProxyType({})

SWEEP: Final = BackgroundTask("http deadlines", OnEnd.RESTART)


class Server:
    """Serves `app` on `listener` from `start` to `stop`.

    Args:
        app: ASGI; see `pipeline.http.body` for how bodies come.
        listener: bound and listening; closed by `stop`.
        limits: of this port.
        observers: get the events of connections.
        directs: handlers without ASGI.
        beside: connections that the process's other port may have.

    Attributes:
        connections: the open ones.
        closing: set by `drain`: every answer is the last one of its connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        limits: Limits,
        *,
        observers: Sequence[Observer] = (),
        directs: Directs = NO_DIRECTS,
        beside: int = 0,
    ) -> None:
        self.app = app
        self.directs = directs
        self.limits = limits
        self.most = affordable(limits.connections, beside)
        self.memory = Memory(limits.incoming_bytes, limits.held_bytes)
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.small_buffer = self.buffer[:AHEAD_BYTES]
        self.connections: set[Connection] = set()
        self.closing = False
        self.now = 0.0
        self._looked_at = 0.0
        self.date = b""
        self.address = listener.getsockname()[:2]
        self._listener = listener
        self._observers = observers
        self._running: set[Connection] = set()
        self._probes = min(PROBES, self.most // 8)
        self._asking = self.most // ASKING
        self._accepts = max(1, min(ACCEPTS_A_TURN, self._asking // TURNS_TO_ASK))
        self._ending: OrderedDict[Connection, None] = OrderedDict()
        self._unproven: OrderedDict[Connection, None] = OrderedDict()
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._changed = asyncio.Event()
        self._joining: set[asyncio.Task[None]] = set()
        self._tasks = Tasks(observers=observers)
        self._accepting = False

    @property
    def requests(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    @property
    def is_overloaded(self) -> bool:
        """Whether more requests are being answered than connections are allowed."""
        return len(self._running) > self.most

    def start(self) -> None:
        """Accept connections, in the running loop."""
        self.loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self.look()
        self._tasks.start(SWEEP, self.sweep)
        self._accept_again()

    def drain(self) -> None:
        """From here on each answer is the connection's last (`Connection: close`)."""
        self.closing = True

    async def stop(self, grace_s: float) -> None:
        """Accept no more connections, answer the requests in flight, close.

        Args:
            grace_s: for requests in flight; then they are cancelled.
        """
        self.drain()
        self._pause_accepting()
        self._listener.close()
        for connection in [one for one in (*self._unproven, *self._idle) if one not in self._running]:
            connection.close()
        if not await self._answered(grace_s):
            self.give_up()
            await self._answered(grace_s)
        await self._tasks.stop()
        for connection in list(self.connections):
            connection.drop()
        for task in list(self._joining):
            task.cancel()
        while self.connections or self._joining:
            self._changed.clear()
            await self._changed.wait()

    def give_up(self) -> None:
        """Cancel all requests in flight."""
        for connection in list(self._running):
            connection.cancel()

    async def _answered(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while self._running:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # --- accepting ------------------------------------------------------------------------------------------------

    def _accept_again(self) -> None:
        if not self._accepting and self._listener.fileno() >= 0:
            self._accepting = True
            self.loop.add_reader(self._listener.fileno(), self._accept)

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self.loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(self._accepts):
            beyond = len(self.connections) + len(self._joining) - self.most
            full = beyond >= 0
            if full and self._joining and not self._unproven:
                return  # connections that are about to join are worth less than the one that would be ended for them
            try:
                accepted, _ = self._listener.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    tell(self._observers, DescriptorsExhausted(error.strerror or str(error)))
                    self._make_room()
                    self._pause_accepting()
                    self.loop.call_later(ACCEPT_AGAIN_S, self._accept_again)
                return  # no connection waits, or its client is gone again
            if full and not self._make_room() and beyond >= self._probes:
                self.told("refused")
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self.loop.create_task(self._join(accepted))
            self._joining.add(task)
            task.add_done_callback(self._has_joined)

    async def _join(self, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: Connection(self), accepted)
        except OSError:
            accepted.close()  # the client is gone again
        except asyncio.CancelledError:
            accepted.close()
            raise

    def _has_joined(self, task: asyncio.Task[None]) -> None:
        self._joining.discard(task)
        self._changed.set()

    def _make_room(self) -> bool:
        """End the connection that is missed least; false when each has a request to be answered.

        First one that was answered for the last time, then the oldest that has not sent a whole request, then the one
        that is idle for longest. While few have not asked yet, an idle one goes before them.
        """
        asking = self._unproven, self._idle
        for waiting in (self._ending, *(asking if len(self._unproven) > self._asking else reversed(asking))):
            if waiting:
                connection, _ = waiting.popitem(last=False)
                self.connections.discard(connection)
                self.told("evicted")
                connection.drop()
                return True
        return False

    # --- what connections report ----------------------------------------------------------------------------------

    def joined(self, connection: Connection) -> None:
        """A connection is open, without a request yet."""
        self.connections.add(connection)
        self._unproven[connection] = None

    def left(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self._ending.pop(connection, None)
        self._unproven.pop(connection, None)
        self._idle.pop(connection, None)
        self._changed.set()

    def busy(self, connection: Connection) -> None:
        """A request has begun. It does not make the connection more valuable before its body is complete."""
        self._running.add(connection)
        self._idle.pop(connection, None)

    def whole(self, connection: Connection) -> None:
        """A request is complete, and is answered before its connection is ended."""
        self._unproven.pop(connection, None)

    def done(self, connection: Connection) -> None:
        """The connection's request was answered."""
        self._running.discard(connection)
        self._changed.set()

    def idle(self, connection: Connection) -> None:
        """The connection waits for its next request."""
        self._idle[connection] = None

    def ending(self, connection: Connection) -> None:
        """The connection has its last answer, and is open only until its client has read it."""
        if connection in self.connections:
            self._unproven.pop(connection, None)
            self._idle.pop(connection, None)
            self._ending[connection] = None

    def told(self, reason: Reason) -> None:
        """The server ends a connection."""
        tell(self._observers, ConnectionEnded(reason))

    # --- the one timer --------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Check every deadline, again and again."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.look()

    def look(self) -> None:
        """End the connections whose deadline has passed, once."""
        at = self.loop.time()
        # While the process stood still it heard nobody: that time makes no client late.
        self.now = now = self.now + min(at - self._looked_at, 2 * SWEEP_S)
        self._looked_at = at
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode()
        for connection in [one for one in self.connections if one.deadline < now]:
            connection.late()
        tell(self._observers, ConnectionsCounted(len(self.connections), self.most))
