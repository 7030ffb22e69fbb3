"""The reference of events knows all that journeys send, the state's attributes included."""

from __future__ import annotations

from typing import Any

from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.vocabulary import EVENT, PROFILE, Attribute

REFERENCES = {reference.event: reference for reference in event_references()}


def names(attributes: dict[str, Attribute]) -> set[str]:
    """The names under which these go out."""
    return {sent for name, attribute in attributes.items() for sent in attribute.named(name)}


def test_whatever_a_journey_sends_is_in_the_reference(journey: Any) -> None:
    """Each event's attributes are those of its entry, a profile's those of a profile."""
    world = journey.world()
    for webhook in journey.webhooks:
        sent = world.feed(webhook)
        if sent.event is not None:
            known = names(REFERENCES[sent.name.lower().replace(" ", "_")].attributes) | {"dodo_mode"}
            assert {name for name in sent.event["attributes"] if not name.startswith("metadata_")} <= known
        told = {name for name in sent.profile if not name.startswith(("metadata_", "total_spent_"))}
        assert told <= names(dict(PROFILE)) | {name for name in EVENT if name == "dodo_mode"}
