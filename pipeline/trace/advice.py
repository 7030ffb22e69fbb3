"""Advice about a webhook by its story, also why a campaign may not have started although all was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline.customerio.limits import CAMPAIGN_WINDOW_S
from pipeline.settings import Settings
from pipeline.trace.story import BEYOND, LETTER, Story

HOUR_S: Final = 3600


def advice(story: Story, *, settings: Settings, missing: Sequence[str]) -> list[str]:
    """What to do about the webhook, or to check when a campaign did not start although all was accepted."""
    told: list[str] = []
    old = [one for one in story.operations if one.kind == "event" and (one.late_s or 0) > CAMPAIGN_WINDOW_S]
    told += [
        f"{one.name}: the event was {(one.late_s or 0) / HOUR_S:.0f} hours old when it was sent, and "
        "Customer.io starts no campaign for one of more than 72 hours"
        for one in old
    ]
    if missing:
        told.append(
            f"not sent: {', '.join(missing)}. The customer's state says that it was told before, by another webhook "
            "about the same fact: dodo-cio trace --customer shows which"
        )
    if any(_is_superseded(one.body) for one in story.operations):
        told.append(
            "marked `superseded`: something newer was true of the object by then, and campaigns may filter on it"
        )
    match story.fate:
        case "dead-letter":
            place = next((one.place for one in story.steps if one.place and one.place.startswith(LETTER)), "")
            told.append(
                f"dodo-cio dlq show {place.removeprefix(LETTER)} says what to do, dodo-cio dlq replay puts it back"
            )
        case "waits":
            told.append("dodo-cio lag says how long it will take, dodo-cio doctor what holds it back")
        case "unknown" if story.reason.startswith(BEYOND):
            told.append(
                "Customer.io shows what came of it: People, the person, tab Activity. What was given up and not put "
                "back would be a dead letter here, those lie for longer"
            )
        case "unknown":
            told.append(
                "this user needs the ACL DESCRIBE on both consumer groups: dodo-cio topics render --format acls"
            )
        case "accepted":
            names = [f"`{one.body.get('name')}`" for one in story.operations if one.kind == "event"]
            person = next((_person(one.body) for one in story.operations), None)
            if names:
                told.append(
                    f"a campaign that did not start although it was accepted: is its trigger exactly "
                    f"{' or '.join(names)} (PIPELINE_EVENT_NAME_STYLE={settings.event_name_style}), was it active at "
                    f"that time, does its filter fit, and does the workspace know the person by {person or 'that id'}?"
                )
            elif story.operations:
                told.append("no event was sent, only the profile: a campaign must be triggered by an attribute")
    return told


def _is_superseded(body: dict[str, Any]) -> bool:
    attributes = body.get("attributes")
    return isinstance(attributes, dict) and bool(attributes.get("superseded"))


def _person(body: dict[str, Any]) -> str | None:
    identifiers = body.get("identifiers")
    if not isinstance(identifiers, dict):
        return None
    return next((f"{name} {value}" for name, value in identifiers.items()), None)
