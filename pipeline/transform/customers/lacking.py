"""Computes which facts of a local copy a topic that lost records lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.statestore.changes import BEGAN, News
from pipeline.transform.customers.facts import key, merge_at
from pipeline.transform.customers.schema import CUSTOMERS


def lacking(local: Iterable[tuple[bytes, bytes]], topic: Mapping[bytes, News]) -> dict[bytes, bytes]:
    """What has to be written for the topic to have all that the store knows; `topic` is what its records make.

    What was taken away in the topic stays away, and so does a customer who was forgotten there.
    """
    missing: dict[bytes, bytes] = {}
    known = dict(local)
    for fact, mine in known.items():
        customer = CUSTOMERS.group_of(fact)
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
