"""The README says only what is true: its example, events, commands and settings are today's."""

from __future__ import annotations

import re

import orjson
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.transform.mapping.reference import event_references
from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 150
"""It is read from the top to the end, or not at all; whatever is longer is a page of docs/."""


def test_it_stays_short() -> None:
    """What is longer is a page of docs/."""
    assert len(README.splitlines()) <= MOST_LINES


def test_the_webhook_becomes_what_stands_below_it() -> None:
    """The example is what `dodo-cio explain` makes of it."""
    webhook, operations = (orjson.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    arguments = ["explain", "-", "--state", "--webhook-id", "msg_1", "--json"]
    result = CliRunner().invoke(build(), arguments, input=orjson.dumps(webhook))
    assert result.exit_code == 0
    assert orjson.loads(result.stdout)["webhooks"][0]["operations"] == operations


def test_the_twelve_events_are_sent_by_those_types() -> None:
    """Each event exists, and comes from the types beside it; what comes from many names the first of them."""
    table = README[README.index("| event | when Dodo sends") : README.index("## What it promises")]
    rows = [re.findall(r"`([a-z_.]+)`", line.rpartition("|")[0].rpartition("|")[0]) for line in table.splitlines()[2:]]
    types = {reference.event: {when.type for when in reference.when} for reference in event_references()}
    told = {row[0]: set(row[1:]) for row in rows if row}
    assert len(told) == 12
    assert {event for event, named in told.items() if not named or not named <= types.get(event, set())} == set()
