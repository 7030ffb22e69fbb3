"""The document that a process serves at `/stage.json`: the page draws it, and pages of other stages fetch it.

The same model writes and reads it, and every text has a bound, so that little is accepted of whatever answers at a
peer's port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from prometheus_client import Metric
from pydantic import BaseModel, ConfigDict, Field

from pipeline import __version__
from pipeline.settings import Stage
from pipeline.watch.vitals import Verdict

STAGE_PATH: Final = "/stage.json"

NAME_CHARACTERS: Final = 120
TEXT_CHARACTERS: Final = 600
"""A reason is a sentence or two; the rest of it is in the log."""

EVENTS: Final = 12
"""Last events of a process that are shown: as many as fit on a screen."""

CLASSES: Final = 50
"""Labels of a count at most: several times as many as there are."""

Name = Annotated[str, Field(max_length=NAME_CHARACTERS)]
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Counts = Annotated[dict[Name, Count], Field(max_length=CLASSES)]


class Part(BaseModel):
    """A part of the document; unknown fields are those of a later version, and ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Part):
    """Something that happened to one webhook or operation; personal data is masked before it is made."""

    at_ms: Count
    what: Name
    outcome: Name
    who: Name = ""
    webhook_id: Name = ""

    @classmethod
    def of(cls, at_ms: int, what: str, outcome: str, who: str = "", webhook_id: str = "") -> Event:
        """The event, its texts cut to their bound: a sender may write a type of any length."""
        texts = {"what": what, "outcome": outcome, "who": who, "webhook_id": webhook_id}
        return cls(at_ms=at_ms, **{name: cut(text, NAME_CHARACTERS) for name, text in texts.items()})


class StageDocument(Part):
    """One process of a stage at one moment; a figure that it does not have is None.

    `process` distinguishes processes, `reads` is the topic that it reads. `hold` is why it holds its records back,
    `restoring` how far a restore is. Counts are since its start. `turned_away` are requests that ingest did not accept.
    """

    stage: Stage
    process: Name
    version: Name
    started_at_ms: Count
    at_ms: Count
    ready: bool
    ready_reason: Text
    live: bool
    live_reason: Text
    reads: Name | None = None
    hold: Text | None = None
    restoring: Text | None = None
    done: Count = 0
    rate_per_second: Number | None = None
    partitions: Count | None = None
    lag_records: Count | None = None
    lag_seconds: Number | None = None
    lost_records: Count | None = None
    held_seconds: Number | None = None
    restore_records: Count | None = None
    budget_per_second: Number | None = None
    budget_used_per_second: Number | None = None
    letters: Counts = Field(default_factory=dict)
    turned_away: Counts = Field(default_factory=dict)
    events: Annotated[tuple[Event, ...], Field(max_length=EVENTS)] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """The texts that a stage reports; None where there is nothing to report."""

    reads: str | None = None
    hold: str | None = None
    restoring: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a process: its verdicts, the series of its registry, its texts and its last events."""

    ready: Verdict
    live: Verdict
    families: Iterable[Metric]
    words: Words = field(default_factory=Words)
    events: Iterable[Event] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """The identity of a process."""

    stage: Stage
    name: str
    started_at_ms: int


def document_of(
    process: Process, look: Look, seen: Mapping[str, Any], rate_per_second: float | None, at_ms: int
) -> StageDocument:
    """The document of `process`, with the `figures` that were `seen`; texts that are too long are cut, so that whoever
    reads it takes it."""  # noqa: D205, D209 - one sentence
    return StageDocument(
        stage=process.stage,
        process=process.name,
        version=__version__,
        started_at_ms=process.started_at_ms,
        at_ms=at_ms,
        ready=look.ready.ok,
        ready_reason=cut(look.ready.reason),
        live=look.live.ok,
        live_reason=cut(look.live.reason),
        reads=look.words.reads and cut(look.words.reads, NAME_CHARACTERS),
        hold=look.words.hold and cut(look.words.hold),
        restoring=look.words.restoring and cut(look.words.restoring),
        rate_per_second=rate_per_second,
        events=tuple(look.events)[:EVENTS],
        **seen,
    )


def cut(text: str, characters: int = TEXT_CHARACTERS) -> str:
    """`text`, or its beginning and an ellipsis."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
