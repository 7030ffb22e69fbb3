"""Computes which facts of a local copy a topic that lost records lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.statestore.changes import BEGAN, News
from pipeline.statestore.validation import as_it_was
from pipeline.transform.customers.facts import checked, is_before, key, merge_at, split
from pipeline.transform.customers.schema import CUSTOMERS


def lacking(local: Iterable[tuple[bytes, bytes]], topic: Mapping[bytes, News]) -> dict[bytes, bytes | None]:
    """What has to be written for the topic to have all that the store knows; `topic` is what its records make.

    What was taken away in the topic stays away, and so does a customer of whose last request to be forgotten the topic
    alone knows. Of a request that the store knows the topic may have lost the tombstones: what it holds from before
    that is taken away. Tombstones come first, so that a run that is broken off finds the rest again.
    """
    known = {name: as_it_was(value) for name, value in local}
    taken: dict[bytes, bytes | None] = {}
    for name, news in topic.items():
        since_s = _forgotten_s(CUSTOMERS.group_of(name), known)
        if since_s and name not in known and news.value is not None and _is_before(name, news.value, since_s):
            taken[name] = None
    there = {name: news.value for name, news in topic.items() if news.value is not None}
    missing: dict[bytes, bytes | None] = {}
    for fact, mine in known.items():
        customer = CUSTOMERS.group_of(fact)
        if customer and _forgotten_s(customer, there) > _forgotten_s(customer, known):
            continue
        told = topic.get(fact)
        if told is None:
            missing[fact] = mine
        elif told.value is not None and told.value != mine and fact != BEGAN:
            both = merge_at(fact, mine, told.value)  # of what nobody here can read, the topic's
            if both != told.value:
                missing[fact] = both
    return taken | missing


def _forgotten_s(customer: bytes, facts: Mapping[bytes, bytes]) -> int:
    """When the customer was forgotten by these facts, unix seconds; 0: never."""
    value = facts.get(key(customer, "forgotten", ""))
    mark = None if value is None else checked("forgotten", value)
    return 0 if mark is None else int(mark[0])


def _is_before(name: bytes, value: bytes, at_s: int) -> bool:
    kind = split(name)[1]
    fact = checked(kind, value)
    return fact is not None and is_before(kind, fact, at_s)
