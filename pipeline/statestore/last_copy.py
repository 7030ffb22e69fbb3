"""Whether a local store is the last copy of something, and what of it the topic lacks. Pure.

The changelog topic is the truth and a store a copy of it, which may be lost at any time: unless the topic was deleted,
emptied or cut. Then the copy is what is left of the truth, and throwing it away would begin every total at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.errors import TopicError
from pipeline.settings import PREFIX
from pipeline.statestore.changes import News, group_of
from pipeline.transform.state.facts import BEGAN, key, merge_at

NAMED: Final = 5
"""Partitions that a message names."""


@dataclass(frozen=True, slots=True)
class Difference:
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


def refused(topic: str, directory: object, last: Mapping[int, Difference]) -> TopicError:
    """What the operator is told instead of a start that throws the last copy away."""
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


def lacking(local: Iterable[tuple[bytes, bytes]], topic: Mapping[bytes, News]) -> dict[bytes, bytes]:
    """What has to be written for the topic to have all that the store knows; `topic` is what its records make.

    What was taken away in the topic stays away, and so does a customer who was forgotten there.
    """
    missing: dict[bytes, bytes] = {}
    known = dict(local)
    for fact, mine in known.items():
        customer = group_of(fact)
        if customer:
            forgotten = topic.get(key(customer, "forgotten", ""))
            if forgotten is not None and forgotten.value is not None:
                continue
        told = topic.get(fact)
        if told is None:
            missing[fact] = mine
        elif told.value is not None and told.value != mine and fact != BEGAN:
            both = merge_at(fact, told.value, mine)
            if both != told.value:
                missing[fact] = both
    return missing
