"""From durable outputs to the acknowledgement, in the order of a partition's chunks.

Outputs durable, facts durable, acknowledged: a crash between any two of them repeats the later steps and loses none.
Facts of a chunk may be sent when its own outputs and those of every chunk before it are durable: a fact means that its
event is out. Those of several chunks are sent together (`departures`). The local store is written every few chunks, a
second later at most: the topic has the facts, and a restart reads from it what the store lacks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pipeline.errors import DeliveryError
from pipeline.kafka.producer import sending
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.observers import tell
from pipeline.statestore.events import TOMBSTONE, ChangesStored
from pipeline.statestore.transaction import Transaction, TransactionalStore
from pipeline.transform.chunk_stats import ChunkStats
from pipeline.transform.departures import Departures

HOLD_LOOK_S: Final = 0.1
"""How often facts that may not be sent or stored at the moment are looked at again."""

FLUSH_WITHIN_S: Final = 1.0
"""How long facts that are in the topic may be missing in the local store: what a restart after a crash reads again, and
how long a person who is forgotten is still in the file before it counts as one to be written anew."""


class Outgoing(sending.Outgoing, Protocol):
    """The same, for the facts of a chunk as well."""

    def extend(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes, bytes | None]],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Add many keys and values with the same headers, in order."""

    def offsets(self, topic: str, partition: int) -> range | None:
        """Where they lie, once durable; None when that is not known."""


class Producer(sending.Producer, Protocol):
    """The same, with chunks that take facts as well."""

    def chunk(self) -> Outgoing:
        """A new, empty chunk."""

    def abandon(self) -> None:
        """Give up what is not known to be durable: it fails, and none of it leaves this process any more."""


class Membership(Protocol):
    """Whether this process may still act for its partitions (`kafka.membership.Membership`)."""

    @property
    def generation(self) -> int:
        """The group's generation as it is known now."""

    def may_finish(self, generation: int) -> bool:
        """Whether work that was begun under `generation` may be ended now."""


@dataclass(slots=True, eq=False)
class InFlightChunk:
    """A chunk on its way; `store` and `writes` only with a state.

    `facts`: what took its facts to the brokers, with those of other chunks; `facts_at`: where its own begin and end.
    """

    batch: RecordBatch
    size: int
    tally: ChunkStats
    mapping_s: float
    sent_at: float
    store: TransactionalStore | None = None
    writes: Transaction | None = None
    outputs_durable: bool = False
    facts: Outgoing | None = None
    facts_at: tuple[int, int] = (0, 0)
    facts_sent_at: float = 0.0
    facts_durable: bool = False

    @property
    def has_facts(self) -> bool:
        """Whether the changelog must have something of it."""
        return self.writes is not None and bool(self.writes.values)

    def offsets(self, topic: str) -> range | None:
        """Where its facts lie, once durable; None when that is not known, or when it has none."""
        every = self.facts.offsets(topic, self.batch.partition) if self.facts is not None else None
        return None if every is None else every[slice(*self.facts_at)]


@dataclass(slots=True, eq=False)
class PartitionCommits:
    """The chunks of one partition and one generation.

    Args:
        topic: the customers' topic.
        chunk: makes an empty chunk of records to send.
        membership: decides whether facts may leave; None where there is no state.
        landed: called once for each chunk that is done, and for each that is given up because its partition has gone.
        failed: called with the error that ends the flow.
        observe: called with stored facts.
        departures: when facts leave.
    """

    topic: str
    chunk: Callable[[], Outgoing]
    membership: Membership | None
    finished: Callable[[InFlightChunk], None]
    failed: Callable[[BaseException], None]
    observe: Callable[[ChangesStored], None]
    departures: Departures = field(default_factory=lambda: Departures(0.0))
    _queue: deque[InFlightChunk] = field(default_factory=deque)
    _unsent: deque[InFlightChunk] = field(default_factory=deque)
    _leaving: list[InFlightChunk] = field(default_factory=list)
    _look: asyncio.TimerHandle | None = None
    _flush: asyncio.TimerHandle | None = None

    def add(self, sent: InFlightChunk) -> None:
        """One more chunk, behind the others."""
        self._queue.append(sent)
        self._unsent.append(sent)

    def outputs_stored(self, sent: InFlightChunk) -> None:
        """Everything that `sent` sends on is durable."""
        sent.outputs_durable = True
        self.move()

    def move(self) -> None:
        """Take every step that can be taken."""
        try:
            self._send_facts()
            self._finish()
        except Exception as error:  # noqa: BLE001 - in a completion callback the loop would log it and go on
            self.failed(error)

    def give_up(self) -> None:
        """The partition has gone, or a new generation began: nothing of these chunks is stored or acknowledged."""
        for timer in (self._look, self._flush):
            if timer is not None:
                timer.cancel()
        self._look = self._flush = None
        given_up, self._queue, self._unsent, self._leaving = self._queue, deque(), deque(), []
        for sent in given_up:
            self.finished(sent)

    def _send_facts(self) -> None:
        while self._unsent and self._unsent[0].outputs_durable:
            sent = self._unsent.popleft()
            if sent.has_facts:
                assert sent.writes is not None  # noqa: S101 - `has_facts` says so
                self._leaving.append(sent)
                self.departures.ask(self._leave, len(sent.writes.values))
            else:
                sent.facts_durable = True

    def _leave(self) -> None:
        try:
            if self._leaving and self._may_send(self._leaving[0]):
                leaving, self._leaving = self._leaving, []
                self._send(leaving)
        except Exception as error:  # noqa: BLE001 - as in `move`
            self.failed(error)

    def _may_send(self, sent: InFlightChunk) -> bool:
        """Whether its facts may leave now. A worker that was frozen past its session must not write over its heir's."""
        generation = sent.batch.generation
        if self.membership is None or self.membership.may_finish(generation):
            return True
        if self.membership.generation != generation:
            self.give_up()
        else:  # the brokers are away; the same membership may go on
            self._look_later()
        return False

    def _look_later(self) -> None:
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(HOLD_LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._leave()
        self.move()

    def _send(self, leaving: list[InFlightChunk]) -> None:
        partition = leaving[0].batch.partition
        facts, begin, now = self.chunk(), 0, time.perf_counter()
        for sent in leaving:
            assert sent.writes is not None and sent.store is not None  # noqa: S101, PT018 - `has_facts` says so
            changes = list(sent.writes.changes())
            facts.extend(self.topic, partition, changes, sent.store.schema.headers)
            sent.facts, sent.facts_at, sent.facts_sent_at = facts, (begin, begin + len(changes)), now
            begin += len(changes)
        sending = asyncio.ensure_future(facts.send())
        sending.add_done_callback(lambda done: self._facts_stored(leaving, done))

    def _facts_stored(self, stored: list[InFlightChunk], done: asyncio.Future[None]) -> None:
        error = DeliveryError("a send was cancelled") if done.cancelled() else done.exception()
        if error is not None:
            if stored[0] in self._queue:  # else they were given up, and are another's
                self.failed(error)
            return
        for sent in stored:
            sent.facts_durable = True
        self.move()

    def _finish(self) -> None:
        if self._queue and (store := self._queue[0].store) is not None and store.is_held:
            self._look_later()
            return
        ready: list[InFlightChunk] = []
        while self._queue and self._queue[0].facts_durable:
            ready.append(self._queue.popleft())
        if not ready:
            return
        store = ready[0].store
        if store is not None:
            if store.is_given_up:
                self._queue.extendleft(reversed(ready))
                self.give_up()
                return
            self._write(store, ready)
        for sent in ready:
            sent.batch.done()
            self.finished(sent)
        if store is not None and self._flush is None and not store.is_flushed:
            self._flush = asyncio.get_running_loop().call_later(FLUSH_WITHIN_S, self._flush_now, store)

    def _flush_now(self, store: TransactionalStore) -> None:
        self._flush = None
        try:
            if not store.is_given_up:
                store.flush()
        except Exception as error:  # noqa: BLE001 - as in `move`
            self.failed(error)

    def _write(self, store: TransactionalStore, ready: list[InFlightChunk]) -> None:
        partition = ready[0].batch.partition
        written = [(sent, sent.writes) for sent in ready if sent.writes]
        if not written:
            return
        store.commit([writes for _, writes in written], [sent.offsets(self.topic) for sent, _ in written])
        kinds: Counter[str] = Counter()
        kind_of = store.schema.kind_of
        size = 0
        for _, writes in written:
            for key, value in writes.values.items():
                kinds[kind_of(key) if value is not None else TOMBSTONE] += 1
                size += len(key) + len(value or b"")
        sent_at = min((sent.facts_sent_at for sent, _ in written if sent.facts), default=time.perf_counter())
        took_s = time.perf_counter() - sent_at
        tell((self.observe,), ChangesStored(self.topic, partition, kinds, size, took_s))
