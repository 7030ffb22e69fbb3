"""Vital signs of a worker: a snapshot of what its parts hold and have done; `pulse` judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.settings import Settings, Stage

if TYPE_CHECKING:  # ingest knows vitals, and is no Faust app
    from faust.types import TP


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no, with the reason in words that an operator can act on."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PartitionVitals:
    """One assigned partition at one moment.

    `delivered`, `acknowledged` and `committed` are next offsets; None until something was delivered. `unread` is how
    many records are known to be at the broker. `attempts` with its oldest record and `tries` to commit are counts, of
    which only matters that they change.
    """

    delivered: int | None = None
    acknowledged: int | None = None
    committed: int | None = None
    unread: int = 0
    attempts: int = 0
    tries: int = 0

    @property
    def undelivered(self) -> int:
        """Records that the stage holds and has not finished."""
        return max((self.delivered or 0) - (self.acknowledged or 0), 0)

    @property
    def uncommitted(self) -> int:
        """Records that are done and not committed yet."""
        return max((self.acknowledged or 0) - (self.committed or 0), 0)

    @property
    def waiting(self) -> int:
        """Records that are not finished: unread, in the stage, or not committed."""
        return self.unread + self.undelivered + self.uncommitted

    @property
    def oldest(self) -> int | None:
        """Offset of the oldest record that the stage has not finished; None when it has none, or nothing is known."""
        if self.undelivered:
            return self.acknowledged
        return self.delivered if self.unread else None


@dataclass(frozen=True, slots=True)
class Vitals:
    """A worker at one moment.

    `delivered`, `acknowledged`, `committed` and `attempts` are counts since the start; only that they change matters.
    `places` has every assigned partition. `generation` is -1 outside of the group. `waiting_for` is what a start waits
    for before it joins, such as another system that is down. `restoring` is how far the state of new partitions is.
    `holding` is why the stage holds its records back, None while they flow; `fault` the same when they will not flow
    before a person acts. `answers` counts the calls that the consumer's thread has answered (`driver_thread`), `asked`
    is true while one is outstanding. `lost` has which records were deleted unread, `gone` the topics to read that do
    not exist, `clock` how far this machine's clock is from the brokers'. `heartbeat_age_s` is the age of the last
    heartbeat that the group answered, `session_s` how old it may become. `coordinator_away`: there is no broker to
    join the group with.
    """

    stage: Stage
    stopping: bool
    rebalancing: bool
    generation: int
    partitions: int
    delivered: int = 0
    acknowledged: int = 0
    committed: int = 0
    attempts: int = 0
    places: Mapping[TP, PartitionVitals] = field(default_factory=dict)
    waiting_for: str | None = None
    restoring: str | None = None
    holding: str | None = None
    fault: str | None = None
    answers: int = 0
    asked: bool = False
    lost: str | None = None
    gone: Sequence[str] = ()
    clock: str | None = None
    heartbeat_age_s: float | None = None
    coordinator_away: bool = False
    session_s: float = Settings.model_fields["session_timeout_seconds"].default

    @property
    def progress(self) -> tuple[int, int, int]:
        """The counts that change when records move."""
        return (self.delivered, self.acknowledged, self.committed)

    @property
    def is_heard(self) -> bool:
        """Whether the brokers have answered a heartbeat within the session's time."""
        return self.heartbeat_age_s is not None and self.heartbeat_age_s <= self.session_s

    @property
    def is_unheard(self) -> bool:
        """Whether the brokers have answered no heartbeat for longer than the session's time."""
        return self.heartbeat_age_s is not None and self.heartbeat_age_s > self.session_s

    @property
    def hold(self) -> str | None:
        """Why the stage holds its records back: `fault` or `holding`."""
        return self.fault or self.holding

    @property
    def unread(self) -> int:
        """Records of its partitions that are known to be at the broker, not yet fetched."""
        return sum(place.unread for place in self.places.values())

    @property
    def undelivered(self) -> int:
        """Records that the stage holds and has not finished."""
        return sum(place.undelivered for place in self.places.values())

    @property
    def uncommitted(self) -> int:
        """Records that are done and not committed yet."""
        return sum(place.uncommitted for place in self.places.values())

    @property
    def waiting(self) -> int:
        """Records that are not finished: unread, in the stage, or not committed."""
        return self.unread + self.undelivered + self.uncommitted
