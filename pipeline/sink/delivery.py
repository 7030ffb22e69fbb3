"""Delivery: one batch to its end.

An answer is read by `customerio.interpreter`; here stands what follows from it:

- accepted: done.
- some refused: those become dead letters, the rest is done and never sent again. (But where one of the batch is no
  operation, though the transform vouched for it, indexes mean nothing: that one becomes a dead letter, and the others
  go again.) Errors that name no operation of the batch: what was not refused is sent once more, alone; if that answer
  cannot be matched either, it becomes dead letters with the raw answer.
- refused as a whole, or for its credentials: halves, one after the other, until the culprit is alone; it becomes a dead
  letter if it is to blame (`judge`). If all may be refused alike it waits, and others go before it (`poison.suspects`).
- try later, no answer: the same bytes again with full jitter, or at the time of Retry-After, which holds all lanes.
  After the second time-out in a row the halves go instead, since a slow API may never take the whole. What fails for
  minutes, and more often than chance allows, while others succeed is halved as well, down to the record that fails.
- nothing succeeds in any lane, everybody's credentials are refused: the gate holds all lanes, and the operations go
  again when it opens.

Groups of a batch are kept in a stack with the earliest on top, so nothing is sent before all that stands in front of it
is decided: a person's operations stay in order through every split.

It stays one module though it is long: each consequence works on the same stack and gate, which pieces would hand to and
fro. What can be decided without them lies beside it (`judge`, `poison.suspects`, `backoff`, `letters`, `clearance`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from pipeline.customerio.interpreter import interpret
from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.customerio.outcomes import (
    Accepted,
    PartlyRefused,
    Refusal,
    RetryLater,
    Split,
    Unauthorized,
    WrongRegion,
)
from pipeline.errors import RequestUnansweredError
from pipeline.kafka.records import time_ms
from pipeline.sink.acks import is_owed
from pipeline.sink.admission import unsound
from pipeline.sink.answers import Answer, name_of
from pipeline.sink.backoff import FIRST_S, full_jitter
from pipeline.sink.batching import halve
from pipeline.sink.clearance import Clearance
from pipeline.sink.events import (
    BatchClosed,
    BatchSplit,
    ByteBudgetChanged,
    OperationsAccepted,
    RequestEnded,
    RequestOutcome,
    RetryPlanned,
    SinkEvent,
)
from pipeline.sink.gate import Gate, Pass
from pipeline.sink.group import Group, Step, Work, share_out
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.holds import Refused
from pipeline.sink.item import Item
from pipeline.sink.judge import AGAIN, Judge, Ruling
from pipeline.sink.lanes import Lane, Queue
from pipeline.sink.letters import DeadLetters
from pipeline.sink.poison.suspects import set_aside

SLOW_S: Final = 4.5
"""A request that stayed unanswered for so long was too slow; before, a connection broke. The client's phase time-outs
after sending began are 5 s and 8 s."""

STARVED_FAILURES: Final = 10
"""After so many, minutes later, it asks for somebody else's operation beyond the memory that is full of its own."""

SHARED_FAILURES: Final = 2
"""After so many in a row, lanes that are free take parts of a batch. One may be an accident, and each part costs a
request."""

SOON_FAILURES: Final = 4
"""The pause of a suspect grows no further while others are accepted: up to 4 s."""

TOO_MANY_REQUESTS: Final = 429

NO_LANE: Final = -1
"""Stands for a lane's number where records are in hand that need no request."""


class Delivery:
    """Brings the batches of all lanes to their end, one at a time for each lane.

    Args:
        post: sends a body once (`TrackClient.send_batch`).
        done: called with operations that are accepted or dead-lettered, in the same turn of the loop as the answer.
        dropped: called with operations that a hand-over leaves to the partition's next owner.
        patience_s: seconds that operations may fail while others are accepted.
        starved: called when a lane has nobody else's operation to find out with whose fault its failure is.
        lanes: how many there are.
    """

    def __init__(
        self,
        *,
        post: Callable[[bytes], Awaitable[Answer]],
        clearance: Clearance,
        gate: Gate,
        handover: SinkHandOver,
        letters: DeadLetters,
        done: Callable[[list[Item]], None],
        dropped: Callable[[list[Item]], None],
        emit: Callable[[SinkEvent], None],
        patience_s: float,
        starved: Callable[[], None],
        lanes: int,
    ) -> None:
        self._post = post
        self._lanes = lanes
        self._clearance = clearance
        self._gate = gate
        self._handover = handover
        self._letters = letters
        self._done = done
        self._dropped = dropped
        self._emit = emit
        self._judge = Judge(patience_s)
        self._starved = starved
        self._works: dict[int, Work] = {}
        self._backoffs: set[asyncio.Future[bool]] = set()

    @property
    def on_their_way(self) -> list[Item]:
        """Operations in requests that were sent and not answered, or whose dead letters are being written."""
        return [item for work in self._works.values() for item in work.on_their_way]

    @property
    def resting(self) -> list[Item]:
        """Operations that wait out a backoff; a hand-over leaves them to the next owner."""
        resting = (work for work in self._works.values() if work.resting)
        return [item for work in resting for group in work.stack for item in group.items]

    def leave(self) -> list[Item]:
        """Another assignment begins: nothing of the one before is sent again; returns what was not on its way."""
        self._judge.moved()
        return [item for work in self._works.values() for item in work.leave()]

    @property
    def busy(self) -> set[int]:
        """The lanes that have something in hand, and `NO_LANE` while dead letters are written that need none."""
        return set(self._works)

    def waits(self, lane: int) -> bool:
        """Whether the lane waits for leave to send, or out a backoff: waits that a clock ends."""
        work = self._works.get(lane)
        return work is not None and work.sending is None and not work.writing

    def in_hand(self, lane: int) -> Iterator[Item]:
        """What the lane has drawn and not decided."""
        if (work := self._works.get(lane)) is not None:
            yield from work.on_their_way
            for group in work.stack:
                yield from group.items

    async def deliver(self, lane: Lane, queue: Queue, drawn: Callable[[], None]) -> None:
        """Return when every operation of the next batch is done, or dropped because a hand-over began.

        The batch is drawn, and `drawn` called, when its first request may leave.

        Raises:
            BrokenSequenceError: dead letters cannot be written by this process any more.
        """
        work = self._works[lane.number] = Work(lane.number, queue.assignment, queue.waiting)
        try:
            if (shared := queue.take_shared()) is not None:
                work.hold(shared)
                drawn()
            self._gate.began(lane.number)
            await self._to_its_end(work, lane, queue, drawn)
        finally:
            self._gate.ended(lane.number)
            del self._works[lane.number]
        keys = set(work.keys)
        if left := work.leave():
            self._dropped(left)
        queue.release(keys)

    async def give_up_faults(self, queue: Queue) -> None:
        """Return when all records that need no request, and were due, are durable dead letters, or were dropped.

        Called by one task at a time, beside the lanes: a letter waits for no request, no turn and no hold.

        Raises:
            BrokenSequenceError: dead letters cannot be written by this process any more.
        """
        work = Work(NO_LANE, queue.assignment, queue.waiting)
        if not self._handover.is_open:  # a letter that was begun before has ended after the hand-over
            self._leave_waiting(work)
            return
        work.writing = faults = work.waiting.draw_faults()
        work.keys = {item.key for item in faults}
        self._works[NO_LANE] = work
        try:
            await self._letters.unusable(faults)
        finally:
            del self._works[NO_LANE]
        self._done(faults)
        queue.release(work.keys)

    async def _to_its_end(self, work: Work, lane: Lane, queue: Queue, drawn: Callable[[], None]) -> None:
        stack = work.stack
        while stack or not work.is_drawn:
            finishing = self._handover.is_finishing
            if finishing:
                if left := work.keep(is_owed):
                    self._dropped(left)
                if not stack and (work.is_drawn or not work.waiting.has_batch):
                    return
            given = await self._clearance.ask(work.assignment, lane.number, finishing=finishing)
            if given is None:
                if not finishing and self._handover.is_finishing:
                    continue  # what this lane owes is still sent
                if not work.is_drawn:
                    self._leave_waiting(work)
                return
            if not work.is_drawn:
                if not work.waiting.has_batch:  # another lane took it for its suspect
                    self._gate.left(given)
                    return
                self._draw(work, lane)
                drawn()
            group = work.begin()
            count = len(group.items)
            step = await self._request(group, given, lane)
            is_decided = sum(len(one.items) for one in step.groups) < count
            groups = self._share_out(work, step.groups, queue) if step.share else step.groups
            if left := work.end(groups):
                self._dropped(left)
            if work.is_over:
                return
            if is_decided:
                queue.release(work.settled())
            if step.aside and not self._set_aside(work) and step.groups[0].failures >= STARVED_FAILURES:
                self._starved()
            if step.pause_s and not await self._back_off(work, step.pause_s):
                return

    def _leave_waiting(self, work: Work) -> None:
        """Nothing of the assignment is sent any more: what still waits is the next owner's."""
        left = work.waiting.keep(lambda _: False)
        if left:
            self._dropped(left)

    def _draw(self, work: Work, lane: Lane) -> None:
        draft = work.waiting.draw(lane.budget_bytes)
        work.hold(Group(draft.items))
        fill = draft.body_bytes / BODY_MAX_BYTES
        self._emit(BatchClosed(lane.number, len(draft.items), draft.body_bytes, fill, draft.cause))

    def _share_out(self, work: Work, groups: tuple[Group, ...], queue: Queue) -> tuple[Group, ...]:
        """Let lanes that are free have a part each of what failed; returns what stays in this one."""
        free = self._lanes - len(self._works.keys() - {NO_LANE})
        if work.is_over or self._handover.is_finishing or free < 1:
            return groups
        stays = {item.key for group in work.stack for item in group.items}
        own, shares = share_out(groups, free, stays)
        if shares:
            work.keys.difference_update([item.key for group in shares for item in group.items])
            queue.share_out(shares)
        return own

    def _set_aside(self, work: Work) -> bool:
        is_any = set_aside(work.stack, work.waiting)
        work.keys.update([item.key for item in work.stack[-1].items])  # it may come out of what waited
        return is_any

    async def _back_off(self, work: Work, seconds: float) -> bool:
        if self._handover.is_finishing:
            return False
        nap = self._handover.nap(seconds)
        self._backoffs.add(nap)
        work.resting = True
        try:
            return await nap
        finally:
            work.resting = False
            self._backoffs.discard(nap)

    async def _request(self, group: Group, given: Pass, lane: Lane) -> Step:
        loop = asyncio.get_running_loop()
        started = loop.time()
        group.attempts += 1

        def ended(outcome: RequestOutcome, status: int | None) -> None:
            took_s = loop.time() - started
            size = len(group.body)
            self._emit(
                RequestEnded(lane.number, len(group.items), size, group.attempts, outcome, status, took_s, group.items)
            )

        try:
            answer = await self._post(group.body)
        except RequestUnansweredError as error:
            ended("unanswered", None)
            slow = error.sent and loop.time() - started >= SLOW_S
            return await self._unanswered(group, given, str(error), lane, slow=slow)
        except BaseException:
            self._gate.left(given)
            raise
        outcome = interpret(answer.status, answer.headers, answer.body, len(group.items), now_s=time.time())
        ended(name_of(outcome), answer.status)
        group.slow = 0
        match outcome:
            case Unauthorized(status, reason):
                return await self._key_refused(group, given, lane, cause="credentials", status=status, reason=reason)
            case WrongRegion(status, location):
                reason = f"{status}: redirected{f' to {location}' if location else ''}"
                return await self._key_refused(group, given, lane, cause="region", status=status, reason=reason)
            case RetryLater(after_s, status, reason):
                return await self._later(group, given, reason, lane, status=status, after_s=after_s)
            case Split(refusal, from_api):
                return await self._refused_whole(group, given, refusal, lane, from_api=from_api)
            case Accepted():
                self._accept(group, group.items, given, lane, started)
                return Step()
            case PartlyRefused(refused, unmatched):
                if spoilt := unsound(group.items):
                    self._gate.answered(given)
                    return await self._spoilt(group, spoilt)
                rest = [item for index, item in enumerate(group.items) if index not in refused]
                if unmatched is None and rest:
                    self._accept(group, rest, given, lane, started)
                else:
                    self._gate.answered(given)
                return await self._partly(group, rest, refused, unmatched)

    def _accept(self, group: Group, items: list[Item], given: Pass, lane: Lane, started: float) -> None:
        self._judge.accepted(group, started, asyncio.get_running_loop().time())
        was_held = self._gate.held
        self._gate.accepted(given)
        if was_held and not self._gate.held:
            for nap in list(self._backoffs):  # the outage is over, nobody has to sleep on for a minute
                wake(nap)
        self._done(items)
        written_ms = time_ms(items[0].record)
        age_s = None if written_ms is None else max(time.time() - written_ms / 1000, 0.0)
        self._emit(OperationsAccepted(lane.number, len(items), age_s, [item.record for item in items]))
        if lane.grow():
            self._emit(ByteBudgetChanged(lane.number, lane.budget_bytes))

    async def _partly(
        self, group: Group, rest: list[Item], refused: Mapping[int, Refusal], unmatched: str | None
    ) -> Step:
        if unmatched is not None and group.resent:
            # Twice the same: nobody knows which of them Customer.io means. Kept with its words, they can be replayed.
            raw = Refusal(None, None, f"the answer names no operation of the batch: {unmatched}", 0)
            refused = {index: refused.get(index, raw) for index in range(len(group.items))}
        self._done(await self._letters.refused(group, refused))
        if unmatched is None or group.resent or not rest:
            return Step()
        return Step((group.part(rest, resent=True),))

    async def _spoilt(self, group: Group, spoilt: list[Item]) -> Step:
        """Some of the group are no operations, so no index in its answer can be attributed: the others go again.

        Those that were accepted with it are so once more: an event has its id, and an identify sets the same
        attributes.
        """
        await self._letters.unusable(spoilt)
        self._done(spoilt)
        rest = [item for item in group.items if item.fault is None]
        return Step((group.part(rest),) if rest else ())

    async def _refused_whole(self, group: Group, given: Pass, refusal: Refusal, lane: Lane, *, from_api: bool) -> Step:
        now = asyncio.get_running_loop().time()
        last_refused_at, group.refused_at, group.refused_as = group.refused_at, now, refusal.words
        group.compared_since = now if group.compared_since is None else group.compared_since
        if len(group.items) > 1:
            if from_api:
                self._gate.answered(given)
            else:
                self._gate.left(given)  # whether Customer.io takes the credentials is as unknown as before
            return self._halves(group, refusal.status, lane, share=True)
        group.refused_since = now if group.refused_since is None else group.refused_since
        if not from_api:
            ruling = self._judge.refused_by_proxy(group, now, refusal.status)
            if ruling.verdict != "give-up":
                reason = f"{refusal.text} (not in Customer.io's form: from a proxy?)"
                if ruling.others_pass:
                    self._gate.left(given)  # it is this one's size, or a proxy's that few come to
                else:
                    self._gate.failed(given, reason)
                return self._again(group, reason, lane, ruling)
        else:
            groups = [other for work in self._works.values() for other in work.groups]
            if not self._judge.is_own(group, refusal, last_refused_at, now, groups):
                reason = f"{refusal.text} (nothing else is accepted either, so it may not be the record's fault)"
                self._gate.refused_content(given, reason)
                return self._again(group, reason, lane, Ruling("again", aside=True))
        self._gate.judged(given)
        self._done(await self._letters.refused(group, {0: refusal}))
        return Step()

    async def _key_refused(
        self, group: Group, given: Pass, lane: Lane, *, cause: Refused, status: int, reason: str
    ) -> Step:
        """401, 403 or a redirect: for the credentials, or for what one operation contains."""
        ruling = self._judge.key_refused(group, asyncio.get_running_loop().time())
        self._gate.refused(given, cause, reason, ruling.whose, stubborn=ruling.stubborn)
        if ruling.verdict == "halve":
            # While the key is in doubt parts of one batch are one piece of evidence, and stay together.
            return self._halves(group, status, lane, share=ruling.whose is None)
        if ruling.verdict == "give-up":
            told = f"{reason}, for this operation alone: a firewall or proxy in front of Customer.io?"
            self._done(await self._letters.refused(group, {0: Refusal(None, None, told, status)}))
            return Step()
        return self._again(group, reason, lane, ruling)

    def _halves(
        self, group: Group, status: int | None, lane: Lane, *, slow: int = 0, pause_s: float = 0.0, share: bool = False
    ) -> Step:
        first, second = halve(group.items)
        self._emit(BatchSplit(lane.number, len(group.items), status))
        return Step((group.part(first, slow=slow), group.part(second, slow=slow)), pause_s, share=share)

    async def _unanswered(self, group: Group, given: Pass, reason: str, lane: Lane, *, slow: bool) -> Step:
        group.slow = group.slow + 1 if slow else 0
        if slow and lane.shrink(len(group.body)):
            self._emit(ByteBudgetChanged(lane.number, lane.budget_bytes))
        if group.slow > 1 and len(group.items) > 1:
            self._judge.witnesses.failed()
            self._gate.failed(given, reason)
            return self._halves(group, None, lane, slow=1)
        return await self._later(group, given, reason, lane)

    async def _later(
        self,
        group: Group,
        given: Pass,
        reason: str,
        lane: Lane,
        *,
        status: int | None = None,
        after_s: float | None = None,
    ) -> Step:
        """Nothing came of a request: the same bytes again, unless only this group fails and has for too long."""
        throttled = status == TOO_MANY_REQUESTS
        if after_s is not None:
            self._gate.wait(after_s, reason)
        self._gate.failed(given, reason, throttled=throttled)
        if throttled:  # too many: that is no record's fault
            return self._again(group, reason, lane, AGAIN, after_s=after_s)
        ruling = self._judge.failed(group, asyncio.get_running_loop().time())
        match ruling.verdict:
            case "halve":
                return self._halves(group, status, lane, pause_s=full_jitter(1, random.random()))  # noqa: S311 - as below
            case "give-up":
                self._gate.judged(given)
                self._done(await self._letters.undeliverable(group, reason, status))
                return Step()
        return self._again(group, reason, lane, ruling, after_s=after_s)

    def _again(self, group: Group, reason: str, lane: Lane, ruling: Ruling, *, after_s: float | None = None) -> Step:
        """The same bytes, after a pause or when the gate opens."""
        group.failures += 1
        attempt = min(group.failures, SOON_FAILURES) if ruling.soon else group.failures
        pause_s = full_jitter(attempt, random.random())  # noqa: S311 - spreads attempts, guards nothing
        if self._gate.holds(lane.number) or (after_s is not None and after_s >= FIRST_S):
            # A server that asks for a retry "at once" does not want everybody at once.
            pause_s = 0.0
        self._emit(RetryPlanned(lane.number, group.attempts, max(pause_s, self._gate.shut_s(lane.number)), reason))
        share = group.failures == SHARED_FAILURES and ruling is not AGAIN
        return Step((group,), pause_s, ruling.aside, share)
