"""The data that the page draws: a pure function of this process's document and of those of its peers.

Several processes of a stage are shown as one: counts, rates and lags in records are summed, of ages the highest is
shown, and each text that any of them reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from pipeline.settings import Stage
from pipeline.watch.page.document import EVENTS, StageDocument
from pipeline.watch.page.peers import Heard

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

State = Literal["flows", "held", "not ready", "stuck", "away", "unknown"]
"""`away`: it is named in `PIPELINE_PEERS`, and does not answer. `unknown`: it is not named."""

LETTERS_COMMAND: Final = "dodo-cio dlq list --class {}"
LOST_COMMAND: Final = "dodo-cio lag"


def picture(own: StageDocument, heard: Sequence[Heard]) -> dict[str, Any]:
    """The answer of `/page.json`."""
    documents = _once([own, *(document for one in heard for document in one.documents)])
    stages = {stage: [one for one in documents if one.stage == stage] for stage in STAGES}
    faults = {stage: [one.fault for one in heard if one.peer.stage == stage and one.fault] for stage in STAGES}
    return {
        "stage": own.stage,
        "version": own.version,
        "at_ms": own.at_ms,
        "flow": {stage: _stage(stages[stage], faults[stage]) for stage in STAGES},
        "topics": {stage: _topic(stages[stage]) for stage in STAGES if stage != "ingest"},
        "budget": _budget(stages["sink"]),
        "troubles": list(_troubles(documents, faults)),
        "letters": _letters(documents),
        "events": _events(documents),
        "processes": [_process(one, is_here=one.process == own.process) for one in documents],
        "unnamed": [stage for stage in STAGES if not stages[stage] and not faults[stage]],
    }


def _once(documents: Iterable[StageDocument]) -> list[StageDocument]:
    """Each process once: this one may be among its own peers, and two addresses may be those of one process."""
    found: dict[str, StageDocument] = {}
    for one in documents:
        found.setdefault(one.process, one)
    return sorted(found.values(), key=lambda one: STAGES.index(one.stage))


def _stage(documents: Sequence[StageDocument], faults: Sequence[str]) -> dict[str, Any]:
    state = _state(documents, faults)
    return {
        "state": state,
        "words": _words(documents, faults),
        "processes": len(documents),
        "rate_per_second": _sum(documents, lambda one: one.rate_per_second),
        "done": sum(one.done for one in documents) if documents else None,
        "turned_away": _counted(one.turned_away for one in documents),
        "restore_records": _sum(documents, lambda one: one.restore_records),
        "held_seconds": _worst(documents, lambda one: one.held_seconds),
    }


def _state(documents: Sequence[StageDocument], faults: Sequence[str]) -> State:
    """The worst state of its processes."""
    if not documents:
        return "away" if faults else "unknown"
    if not all(one.live for one in documents):
        return "stuck"
    if any(one.hold for one in documents):
        return "held"
    return "flows" if all(one.ready for one in documents) else "not ready"


def _words(documents: Sequence[StageDocument], faults: Sequence[str]) -> list[str]:
    """The reasons why the stage does not flow, each once."""
    said = list(faults)
    for one in documents:
        if not one.live:
            said.append(one.live_reason)
        if one.hold:
            said.append(f"held: {one.hold}")
        elif one.restoring:
            said.append(one.restoring)
        elif not one.ready:
            said.append(one.ready_reason)
    return list(dict.fromkeys(said))


def _topic(readers: Sequence[StageDocument]) -> dict[str, Any]:
    """The topic that a stage reads, as far as its processes know it."""
    return {
        "name": next((one.reads for one in readers if one.reads), None),
        "lag_records": _sum(readers, lambda one: one.lag_records),
        "lag_seconds": _worst(readers, lambda one: one.lag_seconds),
        "lost_records": _sum(readers, lambda one: one.lost_records),
        "partitions": _sum(readers, lambda one: one.partitions),
    }


def _budget(sinks: Sequence[StageDocument]) -> dict[str, float | None]:
    return {
        "per_second": _sum(sinks, lambda one: one.budget_per_second),
        "used_per_second": _sum(sinks, lambda one: one.budget_used_per_second),
    }


def _troubles(
    documents: Sequence[StageDocument], faults: Mapping[Stage, Sequence[str]]
) -> Iterator[dict[str, str | None]]:
    """What needs a person's attention, each with the command for it; none while all is well."""
    for stage in STAGES:
        mine = [one for one in documents if one.stage == stage]
        for words in _words(mine, faults[stage]):
            yield {"stage": stage, "text": words, "command": "dodo-cio doctor" if mine else None}
        lost = _sum(mine, lambda one: one.lost_records)
        if lost:
            yield {
                "stage": stage,
                "text": f"{lost:,} records were deleted before they were processed",
                "command": LOST_COMMAND,
            }


def _letters(documents: Sequence[StageDocument]) -> list[dict[str, Any]]:
    """Dead letters by class, with the stages that gave up, the most frequent first."""
    found = _counted(one.letters for one in documents)
    return [
        {
            "class": class_,
            "count": count,
            "stages": list(dict.fromkeys(one.stage for one in documents if one.letters.get(class_))),
            "command": LETTERS_COMMAND.format(class_),
        }
        for class_, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _events(documents: Sequence[StageDocument]) -> list[dict[str, Any]]:
    found = [{"stage": one.stage, **event.model_dump()} for one in documents for event in one.events]
    return sorted(found, key=lambda event: -int(event["at_ms"]))[:EVENTS]


def _process(one: StageDocument, *, is_here: bool) -> dict[str, Any]:
    return {
        "id": one.process,
        "stage": one.stage,
        "is_here": is_here,
        "version": one.version,
        "started_at_ms": one.started_at_ms,
        "ready": one.ready,
        "ready_reason": one.ready_reason,
        "live": one.live,
        "live_reason": one.live_reason,
    }


def _counted(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for counts in several:
        for name, count in counts.items():
            found[name] = found.get(name, 0) + count
    return {name: count for name, count in found.items() if count}


def _sum(documents: Iterable[StageDocument], read: Callable[[StageDocument], float | None]) -> Any:
    known = [value for one in documents if (value := read(one)) is not None]
    return sum(known) if known else None


def _worst(documents: Iterable[StageDocument], read: Callable[[StageDocument], float | None]) -> float | None:
    return max((value for one in documents if (value := read(one)) is not None), default=None)
