"""Every snippet of docs/campaigns.md prints what stands below it, from what the sandbox holds after its journey."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import liquid
import orjson
import pytest

from pipeline.transform.mapping.campaigns import CAMPAIGNS
from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.vocabulary import PROFILE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (\d+)\. (.+?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
JOURNEYS = ROOT / "tests" / "data" / "journeys" / "campaigns"


@dataclass(frozen=True)
class Section:
    """One campaign of the page."""

    number: int
    name: str
    starts: str
    journey: str
    webhooks: int
    snippet: str
    expected: str


def section_of(match: re.Match[str]) -> Section:
    """The parts of a section, each of which must be there once."""
    text = match[3]
    (starts,) = re.findall(r"^\| Starts with \| (.+) \|$", text, re.MULTILINE)
    assert re.search(r"^\| Filter \| .+ \|$", text, re.MULTILINE)
    assert re.search(r"^\| Ends when \| .+ \|$", text, re.MULTILINE)
    ((journey, webhooks),) = re.findall(r"^\| Journey \| (\w+), (\d+) webhooks? \|$", text, re.MULTILINE)
    (snippet,) = re.findall(r"```liquid\n(.*?)```", text, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    return Section(int(match[1]), match[2], starts, journey, int(webhooks), snippet, expected)


SECTIONS = [section_of(match) for match in SECTION.finditer(PAGE)]


@pytest.fixture
def world_after(read_journey: Callable[[Path], Any]) -> Callable[[str, int], Any]:
    """A world after the first webhooks of a journey."""

    def after(name: str, count: int) -> Any:
        journey = read_journey(JOURNEYS / f"{name}.yaml")
        assert count <= len(journey.webhooks)
        world = journey.world()
        for webhook in journey.webhooks[:count]:
            world.feed(webhook)
        return world

    return after


def test_the_page_has_the_campaigns_that_the_commands_name() -> None:
    """In their order, and each says what starts it."""
    assert [section.name for section in SECTIONS] == [campaign.name for campaign in CAMPAIGNS]
    assert [section.number for section in SECTIONS] == [*range(1, 13)]
    for section, campaign in zip(SECTIONS, CAMPAIGNS, strict=True):
        assert all(f"`{name}`" in section.starts for name in (*campaign.events, *campaign.dates)), section.name


@pytest.mark.parametrize("name", ["subscriber", "buyer"])
def test_each_step_of_the_journeys(name: str, read_journey: Callable[[Path], Any]) -> None:
    """They send the events that they say."""
    journey = read_journey(JOURNEYS / f"{name}.yaml")
    world = journey.world()
    for webhook in journey.webhooks:
        sent = world.feed(webhook)
        assert (sent.name, list(sent.further)) == (webhook.sends["event"], webhook.sends.get("further", []))
        wanted = webhook.sends.get("attributes", {})
        assert {one: sent.event["attributes"].get(one) for one in wanted} == wanted
    assert world.workspace.people.ignored_as_older == 0


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_snippet_prints_its_text(section: Section, world_after: Callable[[str, int], Any]) -> None:
    """From the profile, and from the last event of those that start the campaign; nothing in it is undefined."""
    world = world_after(section.journey, section.webhooks)
    (person,) = world.workspace.people
    campaign = CAMPAIGNS[section.number - 1]
    started = [event for event in world.workspace.events if event.name in campaign.events]
    assert bool(started) == bool(campaign.events)
    context = {"customer": {**person.attributes, "email": person.email}}
    if started:
        context["event"] = orjson.loads(started[-1].attributes)
    rendered = liquid.Environment().from_string(section.snippet).render(**context)
    assert rendered == section.expected


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_snippet_asks_for_what_there_is(section: Section) -> None:
    """Every attribute that it names is one of the events that start it, or of profiles."""
    campaign = CAMPAIGNS[section.number - 1]
    references = {reference.event: reference.attributes for reference in event_references()}
    for holder, name in re.findall(r"\b(event|customer)\.(\w+)", section.snippet):
        if holder == "customer":
            known = {sent for one, attribute in PROFILE.items() for sent in attribute.named(one)}
            assert name in known, name
            continue
        for event in campaign.events:
            known = {sent for one, attribute in references[event].items() for sent in attribute.named(one)}
            assert name in known or event.startswith("subscription_cancellation"), f"{event}: {name}"


def test_what_the_page_names_exists() -> None:
    """Events and attributes in code marks, outside the snippets."""
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    events = {reference.event for reference in event_references()}
    attributes = {
        sent
        for known in (*(reference.attributes for reference in event_references()), dict(PROFILE))
        for one, attribute in known.items()
        for sent in attribute.named(one)
    }
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text):
        assert name in events | attributes or name.startswith("total_spent_"), name
