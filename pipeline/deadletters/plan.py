"""The plan of a replay: which letters are put back, to which topics, and which not and why.

It is filled letter by letter while the topic is read, and holds places, not letters, so that it can hold millions.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.deadletters.filters import Filter
from pipeline.deadletters.forgotten import CAME_BACK, FORGOTTEN, Telling, removed_by, telling_of
from pipeline.deadletters.letter import Letter, Place
from pipeline.deadletters.masking import mask_type
from pipeline.deadletters.receipts import History
from pipeline.deadletters.replay import Refused, ReplayRecord, Targets, decide
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.records import Record

EXAMPLES: Final = 10
"""How many places are shown for each reason of refusal."""


class Line(NamedTuple):
    """A kind of letters, and the topic that they are put back to."""

    stage: str
    class_: str
    type: str
    topic: str


@dataclass(slots=True)
class Refusals:
    """Letters that are refused for one reason: how many, and the first places."""

    count: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, place: Place) -> None:
        """Count one more."""
        self.count += 1
        if len(self.places) < EXAMPLES:
            self.places.append(place)


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """The rules by which letters are put back.

    Args:
        filter: selects letters.
        targets: the topics at the start of the stages.
        max_replays: how often one record may be put back.
        again: put back also what was put back already.
        limit: of the letters that may be put back, only so many of the oldest.
        is_forgotten: whether an operation is about somebody who was forgotten since.
        came_back: whether one of these people was forgotten, and something is known of them since.
    """

    filter: Filter
    targets: Targets
    max_replays: int
    again: bool = False
    limit: int | None = None
    is_forgotten: Callable[[Telling], bool] = lambda _telling: False
    came_back: Callable[[frozenset[str]], bool] = lambda _people: False

    def decide(self, record: Record, letter: Letter, history: History) -> ReplayRecord | Refused:
        """The decision about a letter that the filter selects."""
        times = history.of(letter.identity).times
        decided = decide(record, letter, self.targets, max_replays=self.max_replays, put_back=times)
        if isinstance(decided, Refused):
            return decided
        if (told := telling_of(record)) is not None and self.is_forgotten(told):
            return Refused(FORGOTTEN)
        if (people := removed_by(record)) is not None and self.came_back(people):
            return Refused(CAME_BACK)
        return decided


class Plan:
    """The outcome of `consider` for every letter of the topic.

    Attributes:
        lines: how many letters of each kind are put back.
        refusals: by reason.
        done: letters left out because they were put back before.
        repeated: letters left out because another one is about the same failed record (a stage that crashed between
            writing the letter and committing writes it again).
        doomed: letters that are put back although they would become dead letters again, as things are now.
        beyond: letters that could be put back but are beyond the limit.
    """

    def __init__(self, rules: ReplayRules) -> None:
        self.rules = rules
        self.refusals: dict[str, Refusals] = {}
        self.done = 0
        self.repeated = 0
        self.beyond = 0
        self._seen: set[bytes] = set()
        self._latest: dict[int, int] = {}
        self._kinds: dict[tuple[Line, bool], int] = {}
        self._all: dict[int, array[int]] = {}
        self._counts: Counter[int] = Counter()
        self._oldest: list[tuple[int, int, int, int]] = []

    def consider(self, record: Record, letter: Letter, history: History, *, doomed: bool = False) -> None:
        """Add a letter to the plan, or its refusal; one that the filter does not select changes nothing.

        Call it once for each letter, for those of a partition in order. `doomed`: its stage would give it up again.
        """
        latest_ms = max(letter.at_ms, self._latest.get(letter.place.partition, letter.at_ms))
        self._latest[letter.place.partition] = latest_ms
        if not self.rules.filter.matches(letter):
            return
        if history.of(letter.identity).times and not self.rules.again:
            self.done += 1
            return
        match self.rules.decide(record, letter, history):
            case Refused(reason=reason):
                self.refusals.setdefault(reason, Refusals()).add(letter.place)
            case ReplayRecord(topic=topic):
                if letter.identity in self._seen:
                    self.repeated += 1
                    return
                self._seen.add(letter.identity)
                line = Line(letter.stage or "?", letter.class_ or "?", mask_type(letter.type or "?"), topic)
                self._choose(latest_ms, letter.place, self._kinds.setdefault((line, doomed), len(self._kinds)))

    def _choose(self, at_ms: int, place: Place, kind: int) -> None:
        """Choose the letter, or with a limit the oldest so far.

        A later letter of a key is never chosen without the earlier ones, which are before it in its partition: hence
        `at_ms` never goes back within a partition, even if clocks did.
        """
        if self.rules.limit is None:
            self._all.setdefault(place.partition, array("q")).append(place.offset)
            self._counts[kind] += 1
            return
        newest_first = (-at_ms, -place.partition, -place.offset, kind)
        if len(self._oldest) < self.rules.limit:
            heapq.heappush(self._oldest, newest_first)
        else:
            heapq.heappushpop(self._oldest, newest_first)
            self.beyond += 1

    @property
    def chosen(self) -> dict[int, array[int]]:
        """By partition, the offsets of the letters that are put back, ascending."""
        if self.rules.limit is None:
            return dict(self._all)
        found: dict[int, list[int]] = {}
        for _, partition, offset, _ in self._oldest:
            found.setdefault(-partition, []).append(-offset)
        return {partition: array("q", sorted(offsets)) for partition, offsets in found.items()}

    @property
    def spans(self) -> dict[int, Span]:
        """The offsets that must be read to get the letters that are put back."""
        return {partition: Span(offsets[0], offsets[-1] + 1) for partition, offsets in self.chosen.items()}

    @property
    def count(self) -> int:
        """How many letters are put back."""
        return self._by_kind().total()

    @property
    def refused(self) -> int:
        """How many letters are refused."""
        return sum(refusals.count for refusals in self.refusals.values())

    @property
    def lines(self) -> Mapping[Line, int]:
        """How many letters of each kind are put back, the most frequent first."""
        lines: Counter[Line] = Counter()
        for (line, _), kind in self._kinds.items():
            lines[line] += self._by_kind()[kind]
        return {line: count for line, count in lines.most_common() if count}

    @property
    def doomed(self) -> int:
        """How many of them would become dead letters again."""
        return sum(self._by_kind()[kind] for (_, doomed), kind in self._kinds.items() if doomed)

    def _by_kind(self) -> Counter[int]:
        return self._counts if self.rules.limit is None else Counter(kind for *_, kind in self._oldest)
