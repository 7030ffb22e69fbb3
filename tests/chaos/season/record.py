"""What a season leaves behind: plain values, so that it can be judged, drawn and planted with faults.

The ledger of the webhooks as they were posted, the log of every operation that the stand-in of Customer.io took, the
groups' offsets as they were sampled, and what was done to the chain meanwhile. Times are unix seconds of one machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Stage = Literal["ingest", "transform", "sink"]
Signal = Literal["SIGKILL", "SIGTERM"]


class Answered(NamedTuple):
    """A webhook as Dodo would tell of it."""

    webhook_id: str
    kind: str
    """`first`, `redelivery`, `forged` or `unreadable`."""

    posted_s: float
    """When it was posted for the first time."""

    answered_s: float
    """When its final answer came; 0 when none came."""

    status: int
    """That answer's; 0 when none came."""

    attempts: int


class Taken(NamedTuple):
    """An operation that the stand-in decided on; the log holds them in the order in which they took effect."""

    at_s: float
    request: int
    item: int
    """Its place in the request."""

    accepted: bool
    """Not when the season's script had it refused."""

    person: str
    ulid: str
    """Of an event; empty for what is none."""

    name: str
    webhook_id: str


class Place(NamedTuple):
    """Where a group is in a partition."""

    committed: int
    end: int


class Sample(NamedTuple):
    """A look at a group; a partition of which the brokers did not tell is not in it."""

    at_s: float
    stage: Stage
    places: Mapping[int, Place]


class Stop(NamedTuple):
    """A worker that was ended."""

    at_s: float
    stage: Stage
    replica: str
    signal: Signal
    calm: bool = True
    """Whether its stage moved when it was ended; else what follows may be something else's doing."""

    spare_s: float = 0.0
    """What it may take longer to end: on a slow disk a write of each of its partitions may be under way."""


class Restored(NamedTuple):
    """A transform read facts that its disk lacked, and took no records meanwhile."""

    replica: str
    began_s: float
    ended_s: float


class Ended(NamedTuple):
    """A process that ended although nobody had told it to."""

    at_s: float
    replica: str
    code: int
    said: str


@dataclass(frozen=True)
class Happened:
    """A fault of the schedule, as it was."""

    number: int
    name: str
    began_s: float
    ended_s: float
    detail: str
    """To whom, in words."""

    stops: tuple[Stop, ...] = ()
    ends: frozenset[str] = frozenset()
    """Replicas that may end by themselves meanwhile: the fault is one that asks for an operator."""


@dataclass(frozen=True)
class Season:
    """Everything that there is to judge."""

    seed: int
    began_s: float
    session_s: float
    partitions: Mapping[Stage, int]
    """Of the topic that the stage reads, in the end."""

    answered: tuple[Answered, ...]
    taken: tuple[Taken, ...]
    samples: tuple[Sample, ...]
    happened: tuple[Happened, ...]
    ended: tuple[Ended, ...] = ()
    restored: tuple[Restored, ...] = ()
    due: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Person → the ids of the events that are due, in the order in which they are due."""
