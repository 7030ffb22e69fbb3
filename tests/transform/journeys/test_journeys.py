"""Each journey in the order of its file: what every webhook sends, and what Customer.io has in the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

Expand = Callable[[dict[str, Any]], dict[str, Any]]

SENDS = {
    "identify",
    "event",
    "attributes",
    "without",
    "further",
    "profile",
    "profile_without",
    "person",
    "at",
    "notes",
    "warned",
    "dead_letter",
    "dropped",
}
IDENTIFIES = {"first", "again", "unchanged", "none"}


def kind_of(sent: Any) -> str:
    """What a webhook's identify was: the first with a barrier, another, held back since unchanged, or none."""
    if sent.identify is None:
        return "unchanged" if "unchanged-identify" in sent.notes else "none"
    return "first" if sent.barrier else "again"


def check(sent: Any, expected: dict[str, Any], expand: Expand) -> None:
    """Hold what was sent against what the journey says."""
    assert set(expected) <= SENDS
    if "dead_letter" in expected or "dropped" in expected:
        assert sent.verdict == (expected.get("dead_letter") or expected.get("dropped"))
        return
    assert sent.verdict in {"operations", "no-change"}
    assert sent.name == expected.get("event")
    if "identify" in expected:
        assert expected["identify"] in IDENTIFIES
        assert kind_of(sent) == expected["identify"]
    if "person" in expected:
        assert sent.person == expected["person"]
    assert list(sent.further) == expected.get("further", [])
    attributes = {} if sent.event is None else sent.event["attributes"]
    wanted = expand(expected.get("attributes", {}))
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert not set(expected.get("without", ())) & set(attributes)
    profile = sent.profile
    wanted = expand(expected.get("profile", {}))
    assert {name: profile.get(name, "absent") for name in wanted} == wanted
    assert not set(expected.get("profile_without", ())) & set(profile)
    if "at" in expected:
        assert sent.event["timestamp"] == datetime.fromisoformat(expected["at"]).timestamp()
    assert set(expected.get("notes", ())) <= set(sent.notes)
    if expected.get("warned"):
        assert sent.warnings


def test_each_step_sends_what_the_journey_says(journey: Any, expand: Expand) -> None:
    """The names, attributes, identifies and barriers of every step are the journey's."""
    world = journey.world()
    for webhook in journey.webhooks:
        sent = world.feed(webhook)
        try:
            check(sent, webhook.sends, expand)
        except AssertionError as error:
            pytest.fail(f"step {webhook.offset}, {webhook.type} {webhook.webhook_id}: {error}\n{sent}")


def test_customer_io_ends_with_what_the_journey_says(journey: Any, holdings: Callable[[Any], dict[str, Any]]) -> None:
    """People have exactly the attributes of the journey's end, and their timelines each event once."""
    world = journey.world()
    for webhook in journey.webhooks:
        world.feed(webhook)
    assert world.settled(journey) == holdings(journey)
    assert world.events == journey.holds["events"]
    assert world.workspace.events.duplicates == 0
    assert world.workspace.people.ignored_as_older == 0


def test_reading_everything_again_sends_nothing(journey: Any) -> None:
    """Records that are consumed once more change nobody and tell nothing."""
    world = journey.world()
    for webhook in journey.webhooks:
        world.feed(webhook)
    people, emitted = world.people, world.emitted.copy()
    for webhook in journey.webhooks:
        sent = world.feed(webhook)
        assert webhook.mode == "test" or (sent.identify, sent.event) == (None, None), (
            f"step {webhook.offset}, {webhook.type}"
        )
    assert world.people == people
    assert set(world.emitted) == set(emitted)
