"""Reconnects clients to brokers that are away: after longer and longer pauses, as Java's clients do.

aiokafka 0.14 has no pause of its own in two places. Its sender and its fetcher ask for metadata again as soon as an
answer did not name a leader, and a refused connection is an answer within microseconds: one broker that goes down while
a batch is on its way costs a whole core and 8,000 log lines a second for as long as it is away. And each request to a
node that is gone opens a connection, ten times a second for each client.

`steady` puts both behind a backoff, at the two methods of the client through which everything goes. There too each new
connection takes the password and the certificates of its files, and each answer is asked for its throttle time.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from pipeline.kafka.certificates import renewed
from pipeline.kafka.connection import Connection
from pipeline.kafka.outage import Outage, outage
from pipeline.kafka.passwords import FilePassword
from pipeline.kafka.throttling import Throttling, throttling

FIRST_S: Final = 0.1
"""Kafka's `retry.backoff.ms`, after a first question at once: most are answered with a new leader."""

LONGEST_S: Final = 1.0
"""Kafka's `retry.backoff.max.ms` and `reconnect.backoff.max.ms`: so much later than the broker a client may be back."""

FIRST_CONNECTION: Final = "bootstrap_conn"
"""The local variable in which aiokafka's `bootstrap` keeps its connection, and which is all that it has of it."""

T = TypeVar("T")

_choosing: ContextVar[bool] = ContextVar("choosing", default=False)
"""Whether the caller asks for a connection to any broker, and has another one to try."""


class Backoff:
    """Pauses that double with each failure in a row; the times are those of the caller's clock."""

    def __init__(self) -> None:
        self._failures: dict[object, tuple[int, float]] = {}

    def failed(self, key: object, now: float) -> None:
        """It failed once more, and is to be left alone for a while."""
        count, _ = self._failures.get(key, (0, 0.0))
        self._failures[key] = (count + 1, now + min(FIRST_S * 2**count, LONGEST_S))

    def succeeded(self, key: object) -> None:
        """The next failure is a first one."""
        self._failures.pop(key, None)

    def keep(self, keys: Iterable[object]) -> None:
        """Forget all others."""
        kept = set(keys)
        for key in [key for key in self._failures if key not in kept]:
            del self._failures[key]

    def wait_s(self, key: object, now: float) -> float:
        """How long it is to be left alone yet."""
        _, until = self._failures.get(key, (0, now))
        return max(until - now, 0.0)


def steady(client: T, watch: Outage = outage, quotas: Throttling = throttling) -> T:
    """Let an `AIOKafkaClient` pause between its attempts, and report brokers that do not answer to `watch`; returns it.

    `quotas` gets each answer, which has whether the broker throttles us.

    Call it before the client is started.
    """
    _Steady(client, watch, quotas)
    return client


class _Steady:
    """The methods, for one client."""

    def __init__(self, client: Any, watch: Outage, quotas: Throttling) -> None:
        self._client = client
        self._watch = watch
        self._quotas = quotas
        self._nodes = Backoff()
        self._metadata = Backoff()
        self._locks: dict[object, asyncio.Lock] = {}
        self._connect: Callable[..., Any] = client._get_conn  # noqa: SLF001 - the client has no setting for any of it
        self._update: Callable[..., Any] = client._metadata_update  # noqa: SLF001
        self._send: Callable[..., Any] = client.send
        self._bootstrap: Callable[[], Any] = client.bootstrap
        client.bootstrap = self.bootstrap
        client.send = self.send
        client._get_conn = self.get_conn  # noqa: SLF001
        client._metadata_update = self.metadata_update  # noqa: SLF001
        watch.watched = True

    async def bootstrap(self) -> None:
        """Learn of the cluster. Whoever is told to stop meanwhile leaves no connection open: aiokafka's would."""
        try:
            await self._bootstrap()
        except asyncio.CancelledError as stopped:
            for frame, _ in traceback.walk_tb(stopped.__traceback__):
                if (conn := frame.f_locals.get(FIRST_CONNECTION)) is not None:
                    conn.close()
            raise

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send a request; its answer, which may report a throttling."""
        answer = await self._send(node_id, request, **options)
        self._quotas.answered(request, answer, self._client._client_id)  # noqa: SLF001
        return answer

    async def get_conn(self, node_id: Any, **options: Any) -> Any:
        """A connection to the node, or None; whoever has no other node waits for his turn to try."""
        conn = self._client._conns.get((node_id, options.get("group", 0)))  # noqa: SLF001
        if conn is not None and isinstance(conn, Connection):
            # Here and not while it is written: the write gate has looked before that, and must not have looked in vain.
            await conn.logged_in()
        if conn is not None and conn.connected():
            return conn
        if not _choosing.get():
            await asyncio.sleep(self._nodes.wait_s(node_id, self._now()))
        async with self._locks.setdefault(node_id, asyncio.Lock()):
            if self._nodes.wait_s(node_id, self._now()):
                return None  # somebody tried meanwhile
            known = self._client._sasl_plain_password  # noqa: SLF001
            if isinstance(known, FilePassword):
                self._client._sasl_plain_password = known.anew()  # noqa: SLF001
            context = self._client._ssl_context  # noqa: SLF001
            if context is not None:
                self._client._ssl_context = renewed(context)  # noqa: SLF001
            conn = await self._connect(node_id, **options)
            broker = self._client.cluster.broker_metadata(node_id)
            if conn is not None:
                self._nodes.succeeded(node_id)
                self._watch.answered(_address(broker))
            else:
                self._nodes.failed(node_id, self._now())
                if broker is not None:
                    self._watch.refused(_address(broker), others=len(self._client.cluster.brokers()) - 1)
        return conn

    async def metadata_update(self, cluster: Any, topics: Any) -> Any:
        """Ask one broker after the other, after a pause when the last question was in vain."""
        await asyncio.sleep(self._metadata.wait_s("", self._now()))
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()]
        # When all are being left alone, the next that may be tried is worth the wait; skipping all would be in vain.
        await asyncio.sleep(min((self._nodes.wait_s(node, self._now()) for node in nodes), default=0.0))
        choosing = _choosing.set(True)
        try:
            updated = await self._update(cluster, topics)
        finally:
            _choosing.reset(choosing)
        if updated:
            brokers = self._client.cluster.brokers()
            self._nodes.keep(broker.nodeId for broker in brokers)
            self._watch.known([_address(broker) for broker in brokers])
        if updated and not self._is_leaderless():
            self._metadata.succeeded("")
        else:
            self._metadata.failed("", self._now())
        return updated

    def _is_leaderless(self) -> bool:
        """Whether a topic of interest is unknown or has a partition without a leader: somebody will ask again."""
        cluster = self._client.cluster
        for topic in self._client._topics:  # noqa: SLF001
            partitions = cluster.partitions_for_topic(topic)
            if partitions is None or len(cluster.available_partitions_for_topic(topic)) < len(partitions):
                return True
        return False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _address(broker: Any) -> str:
    return f"{broker.host}:{broker.port}" if broker is not None else "unknown"
