"""What rules can refer to: types, events and attributes of the default mapping, with an example of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from pipeline.dodo import samples
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.envelope import parse
from pipeline.transform.mapping.reference import EventReference, event_references
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.mapping.vocabulary import EVENT, PROFILE, Attribute
from pipeline.transform.mapping.webhook import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.rules.scope import Scope
from pipeline.transform.shaping.types import Shaped, Webhook
from pipeline.transform.verdicts import Delivery
from pipeline.transform.webhook import Webhook as ReadWebhook

REFERENCES: Final[Mapping[str, EventReference]] = {reference.event: reference for reference in event_references()}
EVENT_NAMES: Final = tuple(REFERENCES)

OPEN: Final = ("metadata_", "total_spent_")
"""Prefixes of attributes that have no fixed list of names: metadata, and sums by currency."""

ALWAYS_DROPPED: Final = frozenset(
    type_ for type_, (_, rows) in TABLE.items() if all(row.drop == "payout" for row in rows)
)
"""Types of which nothing is ever sent."""

VERSION_POLICY: Final = Policy(
    forward_test_mode=True,
    emit_first_renewal=True,
    emit_trial_events=True,
    emit_credit_deducted=True,
    forward_card_hints=True,
    first_names=True,
)
"""Sends everything that the mapping can send."""


def types_of_family(family: str) -> tuple[str, ...]:
    """The types of one family."""
    return tuple(type_ for type_, of in TYPES.items() if of.value == family)


def types_of(event: str) -> frozenset[str]:
    """The types whose webhooks emit an event."""
    return frozenset(when.type for when in REFERENCES[event].when)


def events_of(types: frozenset[str] | None, events: frozenset[str] | None) -> frozenset[str]:
    """The events that a rule with this match applies to."""
    return frozenset(
        event for event in (EVENT_NAMES if events is None else events) if types is None or types_of(event) & types
    )


def attributes_of(events: Iterable[str]) -> dict[str, Attribute]:
    """The attributes of these events under their plain names."""
    return {name: attribute for event in events for name, attribute in REFERENCES[event].attributes.items()}


def forms(name: str, target: str) -> tuple[str, ...]:
    """The names under which an attribute's forms go out: money has three, a date two."""
    known = (EVENT if target == "event" else PROFILE).get(name)
    if known is None and name.startswith("total_spent_"):
        known = PROFILE["total_spent"] if name.count("_") == 2 and name != "total_spent_currency" else None  # noqa: PLR2004
    return known.named(name) if known is not None else (name,)


def sent_names(attributes: Mapping[str, Attribute]) -> set[str]:
    """All names under which these attributes are sent."""
    return {sent for name, attribute in attributes.items() for sent in attribute.named(name)}


def examples(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """One value for each name."""
    found: dict[str, Any] = {}
    for name, attribute in attributes.items():
        for sent in attribute.named(name):
            if sent == name:
                found[sent] = attribute.example
            elif sent.endswith("_unix"):
                found[sent] = 1_794_644_518
            elif sent.endswith("_minor"):
                found[sent] = 4665
            else:
                found[sent] = float(str(attribute.example))
    return found


class _Listener:
    """A shaper that changes nothing and remembers what it was given."""

    version = "none"
    claims: frozenset[str] = frozenset()
    is_checked = True

    def __init__(self) -> None:
        self.heard: tuple[Webhook, Shaped] | None = None

    def shape(self, webhook: Webhook, default: Shaped, know: Any) -> Shaped:  # noqa: ARG002
        self.heard = webhook, default
        return default


@lru_cache(maxsize=1)
def sampled() -> tuple[tuple[str, Webhook, Shaped], ...]:
    """Each built-in sample that the default mapping sends: its name, the webhook, and what the mapping makes of it."""
    found = []
    for name in samples.names():
        listener = _Listener()
        envelope = parse(samples.load(name))
        delivery = Delivery("msg_sample", attempt_at_s=1_794_644_520, received_at_ms=1_794_644_520_000, mode="test")
        map_webhook(ReadWebhook(envelope, delivery), _listening(listener))
        if listener.heard is not None:
            webhook, default = listener.heard
            found.append((name, webhook._replace(mode="live"), default))
    return tuple(found)


def _listening(listener: _Listener) -> Policy:
    from dataclasses import replace

    return replace(VERSION_POLICY, shaper=listener)


def scopes(types: frozenset[str] | None, events: frozenset[str] | None) -> Iterator[tuple[str, Scope]]:
    """What expressions of a rule with this match may see: each sample, and once all attributes that there can be."""
    everything = examples(PROFILE)
    for name, webhook, default in sampled():
        if types is not None and webhook.type not in types:
            continue
        profile = default.identify.attributes if default.identify is not None else None
        matching = [event for event in default.events if events is None or event.origin in events]
        for event in matching:
            yield f"sample {name}", Scope(webhook, event.attributes, {**everything, **(profile or {})})
        if not matching and events is None:
            yield f"sample {name}", Scope(webhook, None, {**everything, **(profile or {})})
    for event_name in events_of(types, events):
        attributes = examples(REFERENCES[event_name].attributes)
        for name, webhook, _ in sampled():
            if webhook.type in types_of(event_name) and (types is None or webhook.type in types):
                yield f"an example of {event_name} ({name})", Scope(webhook, attributes, everything)
                break


def body_fields(types: frozenset[str] | None) -> set[str]:
    """Members of `data` that samples of these types have."""
    return {field for _, webhook, _ in sampled() if types is None or webhook.type in types for field in webhook.data}


def dump(value: Any) -> bytes:
    """Compact JSON, for comparing values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
