"""Events of the sink, as frozen records for observers.

The core builds one record a fact and hands it on; metrics and tests are observers. They run on the event loop and
must not block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.deadletters.envelope import DeadLetterClass
from pipeline.kafka.records import Record
from pipeline.sink.batching import BatchCause
from pipeline.sink.holds import HoldCause
from pipeline.sink.item import Item

RequestOutcome = Literal[
    "accepted", "partly-refused", "refused-whole", "retry", "unauthorized", "wrong-region", "unanswered"
]


@dataclass(frozen=True, slots=True)
class BatchClosed:
    """A lane has drawn a batch.

    `cause`: it is full (`bytes`), nothing else waited (`idle`), or all that waits must wait for a `barrier`.
    `fill` is its share of what Customer.io takes in one request, 0 to 1.
    """

    lane: int
    operations: int
    body_bytes: int
    fill: float
    cause: BatchCause


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """One request was answered, or its deadline passed. `attempt` counts from 1 for the same bytes.

    `items` are the operations that it brought.
    """

    lane: int
    operations: int
    body_bytes: int
    attempt: int
    outcome: RequestOutcome
    status: int | None
    took_s: float
    items: Sequence[Item] = ()


@dataclass(frozen=True, slots=True)
class RetryPlanned:
    """The same bytes go again after `delay_s`, or as soon as the gate opens if that is later."""

    lane: int
    attempt: int
    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class BatchSplit:
    """A batch was refused as a whole, too slow twice, or failed for minutes: its halves go one after the other."""

    lane: int
    operations: int
    status: int | None


@dataclass(frozen=True, slots=True)
class OperationsAccepted:
    """Customer.io took these operations.

    `oldest_age_s` is the age of the oldest one's record, None when unknown; `records` are the records of all.
    """

    lane: int
    operations: int
    oldest_age_s: float | None
    records: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class RecordDeadLettered:
    """A record was given up and kept with its reason; `source` is topic/partition/offset."""

    class_: DeadLetterClass
    source: str
    status: int | None
    attempts: int
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class ByteBudgetChanged:
    """A time-out halved the lane's byte budget, or an accepted batch gave some back."""

    lane: int
    budget_bytes: int


@dataclass(frozen=True, slots=True)
class LanesHeld:
    """No lane sends for `seconds`. All but `retry-after` repeat at every attempt until their cause is gone."""

    cause: HoldCause | Literal["retry-after"]
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StillHeld:
    """A lane looked at the gate, which stays shut for another `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MembershipAwaited:
    """A lane holds its batch since no heartbeat was answered for too long; reported about once a minute."""

    lane: int


@dataclass(frozen=True, slots=True)
class LanesReleased:
    """What held all lanes is over after `held_s`, or gave way to another cause."""

    cause: HoldCause
    held_s: float


@dataclass(frozen=True, slots=True)
class WorkGivenUp:
    """A hand-over began: so many operations were not sent; the partition's next owner reads them again."""

    operations: int


# --- the budget of requests --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BudgetShared:
    """An assignment gave this sink `own` of `total` partitions, and with them its part of the workspace's rate."""

    own: int
    total: int
    per_second: float


@dataclass(frozen=True, slots=True)
class RateFactorChanged:
    """A 429 halved the part of the share that is used, or a success gave some back; `per_second` is the rate now."""

    factor: float
    per_second: float
    cause: Literal["throttled", "success"]


@dataclass(frozen=True, slots=True)
class LeasesChanged:
    """What this sink lends to others and borrows from them, in requests per second; `per_second` is its rate now."""

    lent_per_second: float
    borrowed_per_second: float
    per_second: float


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """A request got its turn in the budget after `waited_s`."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class PassedOver:
    """So many operations were not sent: they are about people who are removed further on in their partition."""

    operations: int


SinkEvent = (
    BatchClosed
    | RequestEnded
    | RetryPlanned
    | BatchSplit
    | OperationsAccepted
    | RecordDeadLettered
    | ByteBudgetChanged
    | LanesHeld
    | StillHeld
    | MembershipAwaited
    | LanesReleased
    | WorkGivenUp
    | BudgetShared
    | RateFactorChanged
    | LeasesChanged
    | TurnTaken
    | PassedOver
)
