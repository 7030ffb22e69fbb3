"""The answers to probes of several workers: pure functions of what each reports of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import __version__
from pipeline.watch.page.document import EVENTS, Event
from pipeline.watch.vitals import Verdict


@dataclass(frozen=True, slots=True)
class Said:
    """What one worker reports of itself; `verdicts` are None for one that was asked and does not answer."""

    number: int
    pid: int
    ready: Verdict | None
    live: Verdict | None
    status: Mapping[str, Any]
    events: Sequence[Event] = ()


def ready(workers: Sequence[Said], wanted: int, *, stopping: bool) -> Verdict:
    """Whether a webhook is stored whichever worker gets it; one that is just being started gets none."""
    if stopping:
        return Verdict(ok=False, reason="stopping: webhooks belong to another process")
    if not workers:
        return Verdict(ok=False, reason=f"none of the {wanted} workers serves yet")
    return _all("ready", workers, wanted)


def live(workers: Sequence[Said], wanted: int) -> Verdict:
    """Whether each worker that serves is worth keeping; one that has ended is replaced without anybody's help."""
    if not workers:
        return Verdict(ok=True, reason=f"none of the {wanted} workers serves, they are being started")
    return _all("live", workers, wanted)


def status(workers: Sequence[Said], wanted: int, *, stopping: bool) -> dict[str, Any]:
    """All details: of the whole, with sums of what each counts, and of each worker."""
    is_ready, is_live = ready(workers, wanted, stopping=stopping), live(workers, wanted)
    counted = [name for one in workers for name, value in one.status.items() if isinstance(value, int | float)]
    return {
        "stage": "ingest",
        "version": __version__,
        "ready": is_ready.ok,
        "ready_reason": is_ready.reason,
        "live": is_live.ok,
        "live_reason": is_live.reason,
        **{name: sum(one.status.get(name, 0) for one in workers) for name in dict.fromkeys(counted)},
        "workers_wanted": wanted,
        "workers": [
            {
                "worker": one.number,
                "pid": one.pid,
                "ready": one.ready is not None and one.ready.ok,
                "live": one.live is not None and one.live.ok,
                **one.status,
            }
            for one in workers
        ],
    }


def events(workers: Sequence[Said]) -> list[Event]:
    """The last events of all, newest first."""
    found = [event for one in workers for event in one.events]
    return sorted(found, key=lambda event: event.at_ms, reverse=True)[:EVENTS]


def _all(question: str, workers: Sequence[Said], wanted: int) -> Verdict:
    for one in workers:
        verdict: Verdict | None = getattr(one, question)
        if verdict is None:
            return Verdict(ok=False, reason=f"worker {one.number} does not answer")
        if not verdict.ok:
            return Verdict(ok=False, reason=f"worker {one.number}: {verdict.reason}")
    serving = f"{len(workers)} of {wanted} workers serve"
    said = getattr(workers[0], question).reason
    return Verdict(ok=True, reason=f"{serving}; {said}")
