"""The flow through the transform: chunks of webhooks in, chunks of operations out, acknowledged in order.

While one chunk's records are on their way to the brokers the next is already mapped, within a bound of bytes and
chunks. A chunk is acknowledged when everything that it caused is durable, and never before the chunk ahead of it in its
partition (`commits` has the steps). A send that fails is not skipped: the flow ends for good, the worker crashes and
Kafka redelivers.

It stays one module: all of it is one loop over the same bound and the same chunks in flight, and each record passes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from faust.types import TP

from pipeline import logs
from pipeline.deadletters.envelope import without_content
from pipeline.deadletters.logged import log_letters
from pipeline.errors import DeliveryError, RecordTooLargeError
from pipeline.kafka.records import OutRecord, Record, source_of
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.observers import tell
from pipeline.statestore.events import ChangesStored
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.store import KeyValueStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.tasks import Tasks
from pipeline.telemetry.traceparent import trace_id_of
from pipeline.transform.address_owners import AddressOwners
from pipeline.transform.chunk_stats import ChunkTransformed, LoggedLetter
from pipeline.transform.commits import InFlightChunk, Membership, Outgoing, PartitionCommits, Producer
from pipeline.transform.decision import Decision
from pipeline.transform.departures import Departures
from pipeline.transform.enrichment import Enrichment
from pipeline.transform.parked import Answer, Chunk, Parked
from pipeline.transform.product_lookups import ProductLookups
from pipeline.transform.read_ahead import LookAhead, readings
from pipeline.transform.records import dead_letter_record, operation_records, sent_on_record
from pipeline.transform.resolver import FoundCustomer
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations, SentOn
from pipeline.transform.webhook import Reading

if TYPE_CHECKING:
    from pipeline.transform.spans import RecordSpan, RecordSpans

MAX_CHUNKS: Final = 8
"""Chunks on their way at once: enough to hide a round trip to the brokers behind the mapping of the chunks after it."""

MAX_WAITING: Final = 4 * MAX_CHUNKS
"""Chunks that are not acknowledged yet: most wait for their facts, or for a chunk before them."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of webhooks on their way at once; a larger chunk goes alone. Bounds memory while the brokers stall."""

HOLD_LOOK_S: Final = 0.1
"""How often a chunk that may not leave at the moment is looked at again."""

SLICE_S: Final = 0.02
"""Longest piece of mapping without a turn of the event loop, on which probes, sends and rebalances run too."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """What the flow needs to keep the customers' state."""

    stores: PartitionStores
    topic: str
    """The customers' topic; the customers of partition n of the webhooks have their facts in partition n."""

    membership: Membership


@dataclass(slots=True)
class Outcome:
    """What a chunk sends on: operations and dead letters, then commands, which lead to operations behind these."""

    operations: Outgoing
    commands: Outgoing | None = None

    def send(self) -> asyncio.Future[None]:
        """Hand it over; done when every record is durable."""
        sending = self.operations.send()
        if self.commands is None:
            return asyncio.ensure_future(sending)
        return asyncio.ensure_future(_one_after_the_other(sending, self.commands))


class Flow:
    """Takes chunks one at a time, in the order of delivery.

    Args:
        decide: what becomes of a record that was read, with the facts of its partition; never raises for what it holds.
        producer: where the outcome goes.
        operations_topic: name of the operations' topic.
        dead_letters_topic: name of the dead letters' topic.
        observe: called with each chunk once what it sends on is durable, and with facts once they are stored.
        state: the customers' state; without one every record is decided for itself.
        may_send: whether what was delivered under a generation may leave this process now. A worker that was frozen
            and replaced must not write its chunk behind what its heir has written since.
        is_lost: whether the group has gone on without this process since that generation: then nothing of it can leave.
        enrichment: puts into the state who customers are, before a webhook is decided that does not name their address.
            The chunk waits for that, and those of its partition behind it; all others go on.
        lookups: find the names of products that a webhook is the first to mention, before it is decided; likewise.
        fail: called once with the error that ended the flow; must end the worker.
        current: asked at each chunk's first record for what decides all of it, where that changes; else `decide` does.
        look_ahead: is shown records, a slice at a time, before they are decided.
        spans: makes traces, where they are on.
        clock: unix seconds.
    """

    def __init__(
        self,
        decide: Callable[[Reading, KeyValueStore | None], Decision],
        producer: Producer,
        *,
        operations_topic: str,
        dead_letters_topic: str,
        observe: Callable[[ChunkTransformed | ChangesStored], None],
        fail: Callable[[BaseException], None],
        state: State | None = None,
        may_send: Callable[[int], bool] = lambda _: True,
        is_lost: Callable[[int], bool] = lambda _: False,
        enrichment: Enrichment | None = None,
        lookups: ProductLookups | None = None,
        current: Callable[[], Callable[[Reading, KeyValueStore | None], Decision]] | None = None,
        look_ahead: LookAhead | None = None,
        spans: RecordSpans | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decide = decide
        self._producer = producer
        self._operations_topic = operations_topic
        self._dead_letters_topic = dead_letters_topic
        self._observe = observe
        self._fail = fail
        self._state = state
        self._may_send = may_send
        self._is_lost = is_lost
        self._enrichment = enrichment
        self._lookups = lookups
        self._current = current
        self._look_ahead = look_ahead
        self._spans = spans
        self._clock = clock
        self._addresses = AddressOwners()
        self._departures = Departures()
        self._open = False  # until the first assignment
        self._error: BaseException | None = None
        self._generation = -1
        self._stay = 0  # assignments so far; a static member joins again under the generation that it had (KIP-345)
        self._commits: dict[TP, PartitionCommits] = {}
        self._in_flight: set[InFlightChunk] = set()
        self._sends: set[asyncio.Future[None]] = set()
        self._bytes = 0
        self._is_full = False
        self._changed = asyncio.Event()
        self._parked = Parked(self._go_on, self._changed.set, Tasks(crash=self._failed, observers=[observe]))

    @property
    def in_flight(self) -> int:
        """Chunks that are on their way."""
        return len(self._in_flight)

    def held_up(self) -> set[TP] | None:
        """The partitions that wait for brokers which do not take records at the moment; None: all of them do.

        Those are the ones with something on its way; and all, while no chunk is taken.
        """
        if self._is_full or not self._open:
            return None
        return {sent.batch.tp for sent in self._in_flight if not sent.facts_durable}

    # Hand-over of partitions, as the transport asks for it.

    def begin(self) -> None:
        """Send nothing more of what was delivered so far; a chunk in the making is dropped, its owner maps it again."""
        self._open = False
        self._parked.give_up()
        self._departures.hurry(on=True)
        self._changed.set()

    async def drained(self) -> None:
        """Return when nothing is on its way."""
        await self._until(lambda: not self._sends and not self._in_flight)

    def is_vain(self) -> bool:
        """Whether the producer's gate keeps what is on its way for good.

        What left before that may still be stored, and is done again: under the same ids, and with the next owner's
        last word behind it.
        """
        return self._is_lost(self._generation)

    def abandon(self) -> None:
        """What could not leave in time never does.

        The partitions' next owner maps the same webhooks again, with all that came since. Written behind that, an
        identify with an old total would be the last that Customer.io hears.
        """
        in_flight = bool(self._sends or self._in_flight)
        self._give_up()
        if in_flight:
            self._producer.abandon()

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Take chunks of this assignment; what an earlier one left behind is not acknowledged any more."""
        self._generation = generation
        self._stay += 1
        self._give_up()
        if self._state is not None:
            self._state.stores.keep({tp.partition for tp in assigned})
        self._departures.hurry(on=False)
        self._open = self._error is None

    def _give_up(self) -> None:
        self._parked.give_up()
        given_up, self._commits = self._commits, {}
        for commits in given_up.values():
            commits.give_up()

    # Chunks.

    async def take(self, batch: RecordBatch) -> None:
        """Map `batch` and start sending what it becomes; returns as soon as the next chunk may be mapped.

        Raises:
            DeliveryError: an earlier send failed. Nothing of `batch` was sent.
        """
        chunk = Chunk(batch, sum(len(record.value or b"") for record in batch), self._stay)
        if not self._has_room(chunk.size):
            self._departures.now()
            self._is_full = True
            try:
                await self._until(lambda: self._has_room(chunk.size) or not self._open)
            finally:
                self._is_full = False
        if self._parked.holds(batch.tp):
            await self._room_behind(chunk)
        if self._error is not None:
            raise self._error
        if self._parked.holds(batch.tp):
            self._parked.add(chunk)
        elif (answer := await self._go_on(chunk)) is not None:
            self._parked.park(chunk, answer)

    async def _room_behind(self, chunk: Chunk) -> None:
        """Wait for room among the chunks in waiting: nobody is waited for any more who would keep others waiting."""
        self._parked.hurry(self._parked.is_full(chunk.size))
        try:
            await self._until(lambda: not self._parked.is_full(chunk.size) or not self._open)
        finally:
            self._parked.hurry(False)

    async def _go_on(self, chunk: Chunk) -> Answer | None:
        """Map what is left of the chunk and start sending what it became, or return what it must wait for first."""
        batch = chunk.batch
        if chunk.store is None:
            chunk.store = await self._store_of(chunk)
        if not self._takes(chunk):
            return None  # a gap was read meanwhile, and the producer may have been given up with the partitions
        started = time.perf_counter()
        answer = await self._map(chunk)
        now = time.perf_counter()
        chunk.mapping_s += now - started
        if answer is not None:
            return answer
        if not await self._allowed(chunk):
            return None  # what was put is dropped with the store: an assignment that is over takes it along
        now, store, mapping_s = time.perf_counter(), chunk.store, chunk.mapping_s
        writes = store.seal() if store is not None else None
        sent = InFlightChunk(
            batch, chunk.size, chunk.tally, mapping_s=mapping_s, sent_at=now, store=store, writes=writes
        )
        commits = self._commits.get(batch.tp) or self._commits.setdefault(batch.tp, self._new_commits())
        commits.add(sent)
        self._in_flight.add(sent)
        self._bytes += chunk.size
        sending = chunk.outgoing.send()
        self._sends.add(sending)
        sending.add_done_callback(lambda done: self._sent(commits, sent, done))
        return None

    async def _store_of(self, chunk: Chunk) -> TransactionalStore | None:
        """The facts of the chunk's partition; none without a state, or when the partition has gone."""
        if self._state is None or not self._takes(chunk):
            return None
        partition = chunk.batch.partition
        store = self._state.stores.store(partition)
        if store.has_gap:
            await self._state.stores.read_gap(partition, store)
        return store

    async def _map(self, chunk: Chunk) -> Answer | None:
        """Decide the records that are not yet; stops at one for which there is something to wait for.

        It stops as well when the partition is about to go or has gone to another worker.
        """
        batch, store = chunk.batch, chunk.store
        if chunk.outgoing is None:
            chunk.outgoing = Outcome(self._producer.chunk())
        decide = chunk.decide
        if decide is None:
            decide = chunk.decide = self._decide if self._current is None else self._current()
        slice_ends = time.perf_counter() + SLICE_S
        for record, reading in readings(islice(batch, chunk.decided, None), self._look_ahead):
            if time.perf_counter() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = time.perf_counter() + SLICE_S
            if not self._takes(chunk):
                return None
            if self._enrichment is not None and store is not None:
                answer = self._enrich(self._enrichment, chunk, reading, store)
                if answer is not None:
                    return answer
            if self._lookups is not None:
                waiting = self._lookups.missing(reading, waits=chunk.patience_s > 0)
                if waiting is not None:
                    return waiting
            span = None if self._spans is None else self._spans.begin(record)
            decision = self._append(chunk.outgoing.operations, record, decide(reading, store), span)
            chunk.tally.add(decision)
            if type(decision.verdict) is DeadLettered:
                letter = LoggedLetter(source_of(record), decision.verdict, trace_id_of(record.headers))
                chunk.tally.letters.append(letter)
            if span is not None:
                span.decided(decision)
                chunk.tally.spans.append(span)
            if self._addresses.is_shared(decision):
                chunk.tally.notes["shared-address"] += 1
            for command in decision.commands:
                self._command(chunk.outgoing, batch.topic, command)
            chunk.decided += 1
        return None

    def _enrich(self, enrichment: Enrichment, chunk: Chunk, reading: Reading, store: KeyValueStore) -> Answer | None:
        """Put into the store who the customer is, if that must be asked; the answer to wait for while there is none."""
        customer_id = enrichment.unknown_customer(reading, store)
        if customer_id is None:
            return None
        found = enrichment.ask(customer_id, waits=chunk.patience_s > 0)
        if isinstance(found, FoundCustomer):
            enrichment.put(found, customer_id, store)
            return None
        return found

    async def _allowed(self, chunk: Chunk) -> bool:
        """Whether the chunk may leave, once that is known; while the brokers are away it is not."""
        while self._takes(chunk) and not self._may_send(chunk.batch.generation):  # noqa: ASYNC110 - heartbeats are heard in another thread
            await asyncio.sleep(HOLD_LOOK_S)
        return self._takes(chunk)

    def _new_commits(self) -> PartitionCommits:
        return PartitionCommits(
            topic=self._state.topic if self._state is not None else "",
            chunk=self._producer.chunk,
            membership=self._state.membership if self._state is not None else None,
            finished=self._finished,
            failed=self._failed,
            observe=self._observe,
            departures=self._departures,
        )

    def _append(
        self, outgoing: Outgoing, record: Record, decision: Decision, span: RecordSpan | None = None
    ) -> Decision:
        """Add what the record becomes; what it became in the end."""
        match decision.verdict:
            case Operations() as operations:
                topic = self._operations_topic
                key = operations.person_key
                partition = self._producer.partition_for(topic, key)
                traceparent = None if span is None else span.sends(len(operations.operations))
                for out in operation_records(record, decision, operations, traceparent):
                    own = partition if out.key is key else self._producer.partition_for(topic, out.key)
                    outgoing.append(topic, own, out)
            case DeadLettered() as verdict:
                topic = self._dead_letters_topic
                letter = dead_letter_record(record, verdict, int(self._clock() * 1000))
                partition = self._producer.partition_for(topic, letter.key)
                try:
                    outgoing.append(topic, partition, letter)
                except RecordTooLargeError as error:
                    log.warning(
                        "A dead letter is too large for its topic; only its place is kept",
                        source=source_of(record), reason=str(error),
                    )  # fmt: skip
                    outgoing.append(topic, partition, without_content(letter))
            case SentOn() as verdict:
                try:
                    outgoing.append(record.topic, verdict.partition, sent_on_record(record, verdict))
                except RecordTooLargeError as error:
                    letter_of = DeadLettered("oversize", f"it must be sent on to its customer's partition: {error}")
                    return self._append(outgoing, record, replace(decision, verdict=letter_of), span)
            case Dropped():
                pass
        return decision

    def _command(self, outcome: Outcome, topic: str, command: OutRecord) -> None:
        if outcome.commands is None:
            outcome.commands = self._producer.chunk()
        outcome.commands.append(topic, self._producer.partition_for(topic, command.key), command)

    def _takes(self, chunk: Chunk) -> bool:
        return self._open and chunk.batch.generation == self._generation and chunk.stay == self._stay

    def _has_room(self, size: int) -> bool:
        if not self._in_flight:
            return True
        return len(self._sends) < MAX_CHUNKS and len(self._in_flight) < MAX_WAITING and self._bytes + size <= MAX_BYTES

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # Completions.

    def _sent(self, commits: PartitionCommits, sent: InFlightChunk, done: asyncio.Future[None]) -> None:
        """What the chunk sends on is durable, or is not known to be."""
        self._sends.discard(done)
        self._changed.set()
        error = DeliveryError("a send was cancelled") if done.cancelled() else done.exception()
        if error is None:
            commits.outputs_stored(sent)
            log_letters(log, sent.tally.letters, _fields)
            for span in sent.tally.spans:
                span.durable()
            tell((self._observe,), _told(sent))
        elif sent in self._in_flight:  # else it was given up, and is another's
            self._failed(error)

    def _finished(self, sent: InFlightChunk) -> None:
        """The chunk is done, or another's."""
        if sent in self._in_flight:
            self._in_flight.discard(sent)
            self._bytes -= sent.size
            self._changed.set()

    def _failed(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            self._open = False
            self._give_up()
            self._fail(error)
        self._changed.set()


async def _one_after_the_other(sending: Awaitable[None], commands: Outgoing) -> None:
    await sending
    await commands.send()


def _fields(letter: LoggedLetter) -> dict[str, str | None]:
    source, verdict, trace_id = letter
    traced = {} if trace_id is None else {"trace_id": trace_id}
    return {"dlq_class": verdict.class_, "source": source, "field": verdict.field, **traced}


def _told(sent: InFlightChunk) -> ChunkTransformed:
    batch, tally = sent.batch, sent.tally
    return ChunkTransformed(
        topic=batch.topic,
        partition=batch.partition,
        first_offset=batch.first_offset,
        last_offset=batch.last_offset,
        records=len(batch),
        bytes=sent.size,
        webhooks=tally.webhooks,
        operations=tally.operations,
        notes=tally.notes,
        mapping_s=sent.mapping_s,
        produce_s=time.perf_counter() - sent.sent_at,
        last=tally.last,
    )
