"""Events that no row of their webhook names: emitted beside its own or without one, each fact once for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.transform.mapping.case import Attributes

REACTIVATED: Final = "subscription_reactivated"
UNPAUSED: Final = "subscription_unpaused"
STARTED: Final = "trial_started"
CONVERTED: Final = "trial_converted"


@dataclass(slots=True, init=False)
class Further:
    """One event: its canonical name, its id, when it happened (unix milliseconds), what it carries."""

    name: str
    id: str
    at_ms: int
    attributes: Attributes

    def __init__(self, name: str, id: str, at_ms: int, attributes: Attributes) -> None:  # noqa: A002 - the field's name
        self.name = name
        self.id = id
        self.at_ms = at_ms
        self.attributes = attributes


class FurtherEvent(NamedTuple):
    """When such an event is emitted, for the reference: by which types, in words, and what names the fact."""

    types: tuple[str, ...]
    words: str
    key: str


FURTHER: Final[Mapping[str, FurtherEvent]] = MappingProxyType(
    {
        REACTIVATED: FurtherEvent(
            (
                "subscription.active",
                "subscription.renewed",
                "subscription.updated",
                "subscription.update_payment_method",
                "subscription.plan_changed",
                "subscription.on_hold",
                "subscription.past_due",
                "subscription.unpaused",
            ),
            "state: a lapse (on_hold, past_due) that no event has answered is over, by an activation, a renewal or a "
            "body with `status` active of a later event time, whichever of the two comes last",
            "subscription_id, lapse",
        ),
        UNPAUSED: FurtherEvent(
            (
                "subscription.active",
                "subscription.renewed",
                "subscription.updated",
                "subscription.update_payment_method",
                "subscription.plan_changed",
                "subscription.paused",
                "subscription.unpaused",
            ),
            "state: a pause that no event has answered is over, shown as above before `subscription.unpaused` comes, "
            "which then has no event of its own",
            "subscription_id, lapse",
        ),
        STARTED: FurtherEvent(
            ("subscription.active",),
            "with subscription_started, where `is_trial` and `PIPELINE_EMIT_TRIAL_EVENTS`",
            "subscription_id",
        ),
        CONVERTED: FurtherEvent(
            (
                "subscription.renewed",
                "payment.succeeded",
                "subscription.plan_changed",
                "subscription.active",
                "subscription.updated",
            ),
            "with `PIPELINE_EMIT_TRIAL_EVENTS`: the first charge above 0 after a free trial, or a plan change charged "
            "inside it (never what opened the trial), by its payment or the renewal, whichever shows it first, and by "
            "the subscription's next webhook where the trial was not known then",
            "subscription_id",
        ),
    }
)
"""Events that no row of these types names."""


@lru_cache(maxsize=256)
def may_tell(event: str | None) -> frozenset[str]:
    """The canonical names of all that a webhook may emit whose own event is `event`."""
    return frozenset(FURTHER) | ({event} if event is not None else set())
