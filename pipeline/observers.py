"""Observers: functions that are called with each record of what happened, and what becomes of one that fails.

A core builds one frozen record of what happened and reports it here. An observer (metrics, a journal, the watch) is
never the business of the record that it gets: one that raises is logged and counted, the others are still called, and
the caller goes on to its acknowledgement as if nothing had been. A part whose failure matters is no observer; it is
called by name, and its error ends the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline import logs

log = logs.get(__name__)

_failures: Counter[tuple[str, str]] = Counter()
"""How often each observer failed over each class of event, in this process, whose log it is."""


@dataclass(frozen=True, slots=True)
class ObserverFailed:
    """An observer raised over an event of this class; reported to all observers, so that one of them can count it."""

    event_class: str


def tell(observers: Iterable[Callable[[Any], object]], event: object) -> None:
    """Hand `event` to every observer. Never raises for what an observer does.

    Observers run at once, where this is called; they must not block.
    """
    for observe in observers:
        try:
            observe(event)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must not reach an acknowledgement
            _failed(observers, observe, event, error)


def _failed(
    observers: Iterable[Callable[[Any], object]], observe: Callable[[Any], object], event: object, error: Exception
) -> None:
    kind = type(event).__name__
    name = getattr(observe, "__qualname__", type(observe).__qualname__)
    _failures[name, kind] += 1
    failures = _failures[name, kind]
    if failures.bit_count() == 1:  # 1, 2, 4, 8 …: one that fails over every record must not fill the disk
        log.error("An observer failed", observer=name, event_class=kind, failures=failures, exc_info=error)
    if not isinstance(event, ObserverFailed):
        tell(observers, ObserverFailed(kind))
