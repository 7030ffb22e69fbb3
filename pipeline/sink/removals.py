"""The people whom later operations of a partition delete, so that no earlier one creates them again.

As a rule the sink never sees an operation again. But an operator may set its offsets back, or give it another group,
and then it reads what was sent to somebody who asked to be forgotten since. The request itself lies there, too: the
`delete` or `suppress` is in the person's partition, behind all that it is about, and goes by retention after all of it.
So before records flow, each partition is read from where the sink begins to its end, and operations that lie before
such a request for the same person are passed over. The request is sent again; one that cannot be sent, and becomes a
dead letter, removes nobody.

What a backlog of an outage has before a request is passed over in the same way; at Customer.io it would be gone with
the person a moment later.

A partition without a leader cannot be read. It holds up no other: it is looked at when it has one again, and its own
records wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from pipeline import logs
from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.incidents import Incident
from pipeline.kafka.closing import close
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.reach import explaining, is_passing
from pipeline.kafka.readers import new_reader
from pipeline.kafka.records import Record
from pipeline.settings import Settings
from pipeline.sink.admission import admit
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

ACTIONS: Final = frozenset({"delete", "suppress"})
SIGNS: Final = tuple(b'"%b"' % action.encode() for action in sorted(ACTIONS))
"""One of them is in every removal, and in next to nothing else: the others are not decoded."""

MERGE: Final = b'"merge"'
"""Who is merged into the person comes along, and goes with the person."""

CLOCKS_MS: Final = 60_000
"""How far an operation may be dated after a removal that lies behind it: writers' clocks differ. One that is later is
of a topic that was made anew under its name, in which offsets begin again."""

POLL_MS: Final = 200
RETRY_S: Final = 0.5

ANSWER_S: Final = 5.0
"""For the bounds of one partition. One that has a leader answers within milliseconds."""

STALLED_S: Final = 30.0
"""Without a record for so long, whatever is left has no leader any more."""

LOOKING: Final = BackgroundTask("look ahead", OnEnd.CRASH, returns=True)

log = logs.get(__name__)


class Removal(NamedTuple):
    """The last one of a person in a partition."""

    offset: int
    at_ms: int


Known = dict[int, dict[bytes, Removal]]
"""By partition and key of the person."""


class Removals:
    """Those that lie ahead in the partitions of this assignment. Belongs to one event loop."""

    def __init__(self) -> None:
        self._known: Known = {}
        self._unread: set[int] = set()

    def restart(self, partitions: Iterable[int]) -> None:
        """Another assignment begins, of these partitions; nothing is known of them yet."""
        self._known, self._unread = {}, set(partitions)

    def learn(self, known: Known) -> None:
        """These partitions were read."""
        self._known |= {partition: people for partition, people in known.items() if people}
        self._unread -= known.keys()

    def is_unread(self, partition: int) -> bool:
        """Whether what lies ahead in the partition is not known yet, so that none of its records may be sent."""
        return partition in self._unread

    @property
    def any(self) -> bool:
        """Whether there are any; as a rule not."""
        return bool(self._known)

    def cover(self, record: Record) -> bool:
        """Whether `record` is about somebody who is removed further on, and would bring them back."""
        removal = self._known.get(record.partition, {}).get(record.key or b"")
        if removal is None or record.offset >= removal.offset or record.timestamp > removal.at_ms + CLOCKS_MS:
            return False
        value = record.value or b""
        return not removes(value) and MERGE not in value


def removes(value: bytes | None) -> bool:
    """Whether an operation takes a person out of Customer.io."""
    if not value or not any(sign in value for sign in SIGNS):
        return False
    try:
        operation = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    if type(operation) is not dict:
        return False
    action = operation.get("action")
    return isinstance(action, str) and action in ACTIONS  # a list has no hash


class LookAhead:
    """Finds them before the records of an assignment flow.

    Args:
        settings: the topic, the group, the brokers.
        removals: where they are put.
        going_on: called while it reads: a long backlog is no standstill.
        crash: ends the process, where what is read later meets an error that does not pass.
    """

    def __init__(
        self,
        settings: Settings,
        removals: Removals,
        going_on: Callable[[], None],
        crash: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._settings = settings
        self._removals = removals
        self._going_on = going_on
        self._tasks = Tasks(crash=crash)
        self._rest: asyncio.Task[None] | None = None

    async def __call__(self, partitions: Iterable[int]) -> None:
        """Return when all is known of the partitions that have a leader; may be cancelled at any moment.

        Raises:
            TopicError: the topic may not be read.
            BrokerUnreachableError: the brokers refuse this user.
        """
        self.stop()
        tps = [TopicPartition(self._settings.operations_topic, number) for number in sorted(partitions)]
        self._removals.restart(tp.partition for tp in tps)
        if left := await self._look(tps):
            log.warning(
                "Partitions give no answer (no leader?): their records wait until what lies ahead in them was read",
                topic=self._settings.operations_topic, partitions=[tp.partition for tp in left],
            )  # fmt: skip
            self._rest = self._tasks.start(LOOKING, partial(self._look_again, left))

    def stop(self) -> None:
        """The partitions are about to go: what was not read yet is the next owner's to read."""
        rest, self._rest = self._rest, None
        if rest is not None:
            self._tasks.let_end(rest)
            rest.cancel()

    async def _look_again(self, left: list[TopicPartition]) -> None:
        while left:
            await asyncio.sleep(RETRY_S)
            left = await self._look(left)

    async def _look(self, tps: list[TopicPartition]) -> list[TopicPartition]:
        """Read these partitions; returns those that could not be read, while others could."""
        incident = Incident(
            log, "What lies ahead cannot be read yet", "It was read", topic=self._settings.operations_topic
        )
        while True:
            try:
                known = await self._read(tps)
            except TopicAuthorizationFailedError:
                raise TopicError(
                    f"topic {self._settings.operations_topic}: this user may not read it; it needs the ACL READ on it"
                ) from None
            except BrokerUnreachableError as error:
                if not error.may_pass:
                    raise
                incident.failed(error)
            except KafkaError as error:
                if not is_passing(error):
                    raise
                incident.failed(error)
            else:
                incident.succeeded()
                break
            await asyncio.sleep(RETRY_S)
        self._removals.learn(known)
        if found := sum(map(len, known.values())):
            log.warning(
                "People are removed further on in the topic: operations about them from before are passed over",
                topic=self._settings.operations_topic, people=found,
            )  # fmt: skip
        return [tp for tp in tps if self._removals.is_unread(tp.partition)]

    async def _read(self, tps: list[TopicPartition]) -> Known:
        async with open_admin(self._settings) as admin:
            committed = await admin.committed(self._settings.sink_group, tps)
        consumer = new_reader(self._settings)
        try:
            with explaining(self._settings):
                await consumer.start()
            asked = await asyncio.gather(*[_bounds(consumer, tp) for tp in tps])
            bounds = {tp: one for tp, one in zip(tps, asked, strict=True) if one is not None}
            if tps and not bounds:
                raise KafkaTimeoutError(f"no partition has answered within {ANSWER_S:.0f} s")
            begins = {tp: _begin(committed.get(tp), start, end) for tp, (start, end) in bounds.items()}
            left = {tp: end for tp, (_, end) in bounds.items() if begins[tp] < end}
            consumer.assign(list(left))
            for tp in left:
                consumer.seek(tp, begins[tp])
            known = await self._ahead(left, consumer.getmany, consumer.position) if left else {}
            return {tp.partition: known.get(tp.partition, {}) for tp in bounds if tp not in left}
        finally:
            await close(consumer)

    async def _ahead(
        self,
        left: dict[TopicPartition, int],
        getmany: Callable[..., Awaitable[Mapping[TopicPartition, list[Record]]]],
        position: Callable[[TopicPartition], Awaitable[int]],
    ) -> Known:
        """Those of the partitions; what is in `left` when this returns could not be read to its end."""
        known: Known = {}
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        while left and clock() - heard_at < STALLED_S:
            for tp, records in (await getmany(*left, timeout_ms=POLL_MS)).items():
                heard_at = clock()
                people = known.setdefault(tp.partition, {})
                for record in records:
                    if record.key and removes(record.value) and admit(record).fault is None:
                        people[record.key] = Removal(record.offset, record.timestamp)
            for tp in [tp for tp in left if await position(tp) >= left[tp]]:
                del left[tp]
                heard_at = clock()
            self._going_on()
        return known


async def _bounds(consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int] | None:
    """Where a partition begins and ends; None for one without a leader.

    It is asked for alone: together, one without a leader would leave all of them without an answer.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            starts, ends = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
    except (TimeoutError, KafkaTimeoutError):
        return None
    return starts[tp], ends[tp]


def _begin(committed: int | None, start: int, end: int) -> int:
    """Where the sink begins: where the topic does when it has no offset, or one that the topic has not."""
    return committed if committed is not None and start <= committed <= end else start
