"""Decides whether a local store is the last copy of some facts. Pure.

The changelog topic is the truth and a store a copy of it, which may be lost at any time: unless the topic was deleted,
emptied or cut. Then the copy is what is left of the truth, and throwing it away would begin every total at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.errors import TopicError
from pipeline.settings import PREFIX

NAMED: Final = 5
"""Partitions that a message names."""


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """A store that is not of the topic as it is now.

    Attributes:
        why: what shows it.
        values: of the store.
        records: of the topic's partition at most; compaction may have taken some.
        is_cut: the topic is the same one, and ends before the store does.
    """

    why: str
    values: int
    records: int
    is_cut: bool = False

    @property
    def is_last_copy(self) -> bool:
        """Whether the store must hold something that the topic does not.

        A topic of the same name that holds as much was filled again since, by whoever has the other stores.
        """
        return self.is_cut or self.values > max(self.records, 1)  # one is the moment when the state began


def refused(topic: str, directory: object, last: Mapping[int, TopicDifference]) -> TopicError:
    """The error instead of a start that would throw the last copy away."""
    some = "; ".join(
        f"partition {number}: {one.values} facts here, at most {one.records} records there ({one.why})"
        for number, one in sorted(last.items())[:NAMED]
    )
    more = f"; and {len(last) - NAMED} more partitions" if len(last) > NAMED else ""
    return TopicError(
        f"topic {topic} was made anew, emptied or cut, and the local mirrors of it under {directory} hold more than "
        f"the topic: {some}{more}. Nothing was thrown away.\nWrite them back with `dodo-cio state restore-topic` (in "
        "each place that has mirrors, with the transforms stopped), or go on with what the topic has: "
        f"{PREFIX}STATE_LOSS_ACCEPTED=true, or `dodo-cio transform --accept-state-loss`"
    )
