"""Selects dead letters: a pure predicate over a letter."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.deadletters.letter import Letter, Place


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects letters that meet every condition; if a condition has several values, one must fit.

    Args:
        stages: the stages that gave up.
        classes: kinds of fault.
        types: Dodo types, with `*` and `?` as in file names: `subscription.*`.
        customers: ids, compared with the record's key and the ids in the body; addresses without regard to case.
        since_ms: failed at or after, unix ms.
        until_ms: failed before, unix ms.
        places: these letters and no others.
    """

    stages: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    customers: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    places: frozenset[Place] = frozenset()

    def matches(self, letter: Letter) -> bool:
        """Whether `letter` is selected."""
        return (
            (not self.places or letter.place in self.places)
            and (not self.stages or letter.stage in self.stages)
            and (not self.classes or letter.class_ in self.classes)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
            and (not self.types or self._has_type(letter.type))
            and (not self.customers or self._is_about(letter))
        )

    def _has_type(self, type_: str | None) -> bool:
        return type_ is not None and any(fnmatchcase(type_, pattern) for pattern in self.types)

    def _is_about(self, letter: Letter) -> bool:
        if not self.customers.isdisjoint(letter.ids):
            return True
        addresses = {wanted.lower() for wanted in self.customers if "@" in wanted}
        return bool(addresses) and any(known.lower() in addresses for known in letter.ids)
