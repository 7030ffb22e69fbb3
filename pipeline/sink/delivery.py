"""Delivery: one batch to its end.

An answer is read by `customerio.interpreter`; here stands what follows from it:

- accepted: done.
- some refused: those become dead letters, the rest is done and never sent again. Errors that name no operation of the
  batch: what was not refused is sent once more, alone; if that answer cannot be matched either, it becomes dead letters
  with the raw answer.
- refused as a whole: halves, one after the other, until the culprit is alone; it becomes a dead letter.
- try later, no answer: the same bytes again with full jitter, or when Retry-After says, which holds all lanes.
  After the second time-out in a row the halves go instead, since a slow API may never take the whole.
- credentials refused, wrong region: the gate holds all lanes, and the same bytes go again when it opens.

Groups of a batch are kept in a stack with the earliest on top, so nothing is sent before all that stands in front of it
is decided: a person's operations stay in order through every split.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from pipeline import logs
from pipeline.customerio.interpreter import interpret
from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.customerio.outcomes import (
    Accepted,
    Outcome,
    PartlyRefused,
    Refusal,
    RetryLater,
    Split,
    Unauthorized,
    WrongRegion,
)
from pipeline.errors import RequestUnansweredError
from pipeline.sink.backoff import FIRST_S, full_jitter
from pipeline.sink.batching import Draft, halve
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
from pipeline.sink.group import Group, Step
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.item import Item
from pipeline.sink.lanes import Lane
from pipeline.sink.letters import DeadLetters

log = logs.get(__name__)

SLOW_S: Final = 4.5
"""A request that stayed unanswered for so long was too slow; before, a connection broke. The client's phase time-outs
after sending began are 5 s and 8 s."""

FOREIGN_ATTEMPTS: Final = 3
"""How often one operation alone is tried against 400s that are not in Customer.io's form (a proxy's page)."""


class Answer(Protocol):
    """`pipeline.customerio.client.Response` fits."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in any case."""

    @property
    def body(self) -> bytes:
        """The body as it came."""


class Delivery:
    """Brings the batches of all lanes to their end, one at a time for each lane.

    Args:
        post: sends a body once (`TrackClient.send_batch`).
        done: called with operations that are accepted or dead-lettered, in the same turn of the loop as the answer.
        dropped: called with operations that a hand-over leaves to the partition's next owner.
        lanes: how many lanes there are.
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
        lanes: int,
    ) -> None:
        self._post = post
        self._clearance = clearance
        self._gate = gate
        self._handover = handover
        self._letters = letters
        self._done = done
        self._dropped = dropped
        self._emit = emit
        self._lanes = lanes
        self._accepted_at = float("-inf")
        self._failed_in_a_row = 0
        self._backoffs: set[asyncio.Future[bool]] = set()

    async def deliver(self, lane: Lane, draft: Draft) -> None:
        """Return when every operation of `draft` is done, or dropped because a hand-over began.

        Raises:
            BrokenSequenceError: dead letters cannot be written by this process any more.
        """
        if draft.faults:
            await self._give_up_faults(draft.faults)
        if not draft.items:
            return
        fill = draft.body_bytes / BODY_MAX_BYTES
        self._emit(BatchClosed(lane.number, len(draft.items), draft.body_bytes, fill, draft.cause))
        stack = [Group(draft.items)]
        while stack:
            given = await self._clearance.ask(stack[-1].items[0].generation, lane.number)
            if given is None:
                break
            with self._handover.in_flight():
                step = await self._request(stack.pop(), given, lane)
            stack.extend(reversed(step.groups))
            if step.pause_s and not await self._back_off(step.pause_s):
                break
        for group in stack:
            self._dropped(group.items)

    async def _back_off(self, seconds: float) -> bool:
        nap = self._handover.nap(seconds)
        self._backoffs.add(nap)
        try:
            return await nap
        finally:
            self._backoffs.discard(nap)

    async def _request(self, group: Group, given: Pass, lane: Lane) -> Step:
        loop = asyncio.get_running_loop()
        started = loop.time()
        group.first_at = started if group.first_at is None else group.first_at
        group.attempts += 1

        def ended(outcome: RequestOutcome, status: int | None) -> None:
            took_s = loop.time() - started
            size = len(group.body)
            self._emit(RequestEnded(lane.number, len(group.items), size, group.attempts, outcome, status, took_s))

        try:
            answer = await self._post(group.body)
        except RequestUnansweredError as error:
            self._gate.left(given)
            ended("unanswered", None)
            return self._unanswered(group, error, lane, slow=error.sent and loop.time() - started >= SLOW_S)
        except BaseException:
            self._gate.left(given)
            raise
        outcome = interpret(answer.status, answer.headers, answer.body, len(group.items), now_s=time.time())
        ended(_named(outcome), answer.status)
        group.slow = 0
        match outcome:
            case Unauthorized(_, reason):
                self._gate.refused(given, "credentials", reason)
                return Step((group,))
            case WrongRegion(status, location):
                where = f" to {location}" if location else ""
                self._gate.refused(given, "region", f"{status}: redirected{where}, the workspace lives elsewhere")
                return Step((group,))
            case RetryLater(after_s, _, reason):
                self._gate.left(given)
                return self._later(group, reason, lane, after_s=after_s)
        self._gate.answered(given)
        return await self._decided(group, outcome, lane)

    async def _decided(self, group: Group, outcome: Accepted | PartlyRefused | Split, lane: Lane) -> Step:
        match outcome:
            case Accepted():
                self._accept(group.items, lane)
                return Step()
            case PartlyRefused(refused, unmatched):
                return await self._partly(group, refused, unmatched, lane)
            case Split(refusal) if len(group.items) > 1:
                return self._halves(group, refusal.status, lane)
            case Split(refusal, from_api) if not from_api and self._may_be_innocent(group, refusal):
                return self._later(group, f"{refusal.text} (not in Customer.io's form: from a proxy?)", lane)
            case Split(refusal):
                await self._refuse(group, {0: refusal})
                return Step()

    def _accept(self, items: list[Item], lane: Lane) -> None:
        self._accepted_at = asyncio.get_running_loop().time()
        if self._failed_in_a_row >= self._lanes:
            # As many failures as lanes, and now a success: an outage is over, and nobody has to sleep on for a minute.
            # A lane that fails while others succeed does not get here.
            for nap in list(self._backoffs):
                wake(nap)
        self._failed_in_a_row = 0
        self._done(items)
        age_s = max(time.time() - items[0].record.timestamp / 1000, 0.0)
        self._emit(OperationsAccepted(lane.number, len(items), age_s))
        if lane.grow():
            self._emit(ByteBudgetChanged(lane.number, lane.budget_bytes))

    async def _partly(self, group: Group, refused: Mapping[int, Refusal], unmatched: str | None, lane: Lane) -> Step:
        rest = [item for index, item in enumerate(group.items) if index not in refused]
        if unmatched is None:
            if rest:
                self._accept(rest, lane)
            await self._refuse(group, refused)
            return Step()
        if not group.resent:
            await self._refuse(group, refused)
            return Step((group.part(rest, resent=True),) if rest else ())
        # Twice the same: nobody knows which of them Customer.io means. Kept with its own words, they can be replayed.
        raw = Refusal(None, None, f"the answer names no operation of the batch: {unmatched}", 0)
        everything = {index: refused.get(index, raw) for index in range(len(group.items))}
        await self._refuse(group, everything)
        return Step()

    async def _refuse(self, group: Group, refused: Mapping[int, Refusal]) -> None:
        """Dead letters for the items at these indexes; they are done when all are durable."""
        items = [group.items[index] for index in refused]
        await asyncio.gather(
            *(
                self._letters.write(
                    group.items[index],
                    "refused",
                    refusal.text,
                    field=refusal.field,
                    status=refusal.status or None,
                    attempts=group.attempts,
                )
                for index, refusal in refused.items()
            )
        )
        self._done(items)

    async def _give_up_faults(self, items: list[Item]) -> None:
        with self._handover.in_flight():
            await asyncio.gather(
                *(
                    self._letters.write(item, item.fault.class_, item.fault.reason)
                    for item in items
                    if item.fault is not None
                )
            )
            self._done(items)

    def _may_be_innocent(self, group: Group, refusal: Refusal) -> bool:
        """Whether an operation that is alone should be tried again against a 400 that Customer.io did not write.

        A proxy that answers everything so is an outage, not a fault of the data: the operation is given up only when
        others were accepted meanwhile. By its size (413) it is refused at once, whoever says so.
        """
        if refusal.status != 400:  # noqa: PLR2004 - Bad Request
            return False
        others_pass = group.first_at is not None and self._accepted_at > group.first_at
        return group.failures + 1 < FOREIGN_ATTEMPTS or not others_pass

    def _halves(self, group: Group, status: int | None, lane: Lane, *, slow: int = 0) -> Step:
        first, second = halve(group.items)
        self._emit(BatchSplit(lane.number, len(group.items), status))
        return Step((group.part(first, slow=slow), group.part(second, slow=slow)))

    def _unanswered(self, group: Group, error: RequestUnansweredError, lane: Lane, *, slow: bool) -> Step:
        if not slow:
            group.slow = 0
            return self._later(group, str(error), lane)
        group.slow += 1
        if lane.shrink():
            self._emit(ByteBudgetChanged(lane.number, lane.budget_bytes))
        if group.slow > 1 and len(group.items) > 1:
            return self._halves(group, None, lane, slow=1)
        return self._later(group, str(error), lane)

    def _later(self, group: Group, reason: str, lane: Lane, *, after_s: float | None = None) -> Step:
        group.failures += 1
        self._failed_in_a_row += 1
        pause_s = full_jitter(group.failures, random.random())  # noqa: S311 - spreads attempts, guards nothing
        if after_s is not None:
            self._gate.wait(after_s, reason)
            # A server that says "at once" does not want everybody at once.
            pause_s = pause_s if after_s < FIRST_S else 0.0
        if group.failures.bit_count() == 1:  # 1, 2, 4, 8 …: an outage of hours is told in some lines a lane
            log.warning(
                "no success, the same bytes go again",
                lane=lane.number,
                operations=len(group.items),
                failures=group.failures,
                reason=reason,
            )
        self._emit(RetryPlanned(lane.number, group.attempts, max(pause_s, after_s or 0.0), reason))
        return Step((group,), pause_s)


def _named(outcome: Outcome) -> RequestOutcome:
    match outcome:
        case Accepted():
            return "accepted"
        case PartlyRefused():
            return "partly-refused"
        case Split():
            return "refused-whole"
        case RetryLater():
            return "retry"
        case Unauthorized():
            return "unauthorized"
        case WrongRegion():
            return "wrong-region"
