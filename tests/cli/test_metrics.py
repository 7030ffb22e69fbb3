"""`dodo-cio metrics` lists what the stages show, and docs/metrics.md is that list."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import Metric
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.cli.metrics import every_series, metrics_of
from pipeline.deadletters.envelope import CLASSES
from pipeline.http.events import Reason
from pipeline.ingest.events import Outcome, RequestEnded
from pipeline.ingest.metrics import ENDS
from pipeline.settings import Stage
from pipeline.statestore.events import RecordsKeptAside
from pipeline.transform.chunk_stats import ChunkTransformed
from pipeline.transform.verdicts import DeadLetterClass, Note

ROOT = Path(__file__).parents[2]
STAGES: tuple[Stage, ...] = get_args(Stage)


def run(*arguments: str) -> str:
    """Standard output of the command."""
    result = CliRunner().invoke(build(), ["metrics", *arguments], env={"COLUMNS": "80"})
    assert result.exception is None
    return result.stdout


async def families(stage: Stage) -> list[Metric]:
    """What a scrape of a stage that has not started gets; some of it is read from the event loop's clock."""
    return list(metrics_of(stage).registry.collect())


def value(stage: Stage, name: str, **labels: str) -> float | None:
    """A series of a stage that has not started."""
    return metrics_of(stage).registry.get_sample_value(f"dodo_cio_{name}", labels)


def test_the_page_is_made_of_the_code() -> None:
    """docs/metrics.md is what `dodo-cio metrics --markdown` prints now."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == run("--markdown")


@pytest.mark.parametrize("stage", STAGES)
async def test_nothing_is_left_out(stage: Stage) -> None:
    """Each family in a stage's registry is listed under its name, with its text and, where one can see it, labels."""
    listed = {one.name: one for one in every_series() if stage in one.stages}
    for family in await families(stage):
        if family.name.startswith(("process_", "python_gc_")):
            continue
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        one = listed.pop(name)
        assert (one.text, one.kind) == (family.documentation, family.type)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(one.labels), name
    assert not listed


def test_it_is_listed_for_people_and_for_scripts() -> None:
    """As text that breaks between words at 80 columns, and as one JSON document."""
    document = json.loads(run("--json"))
    held = next(one for one in document["metrics"] if one["name"] == "dodo_cio_held")
    assert held == {
        "name": "dodo_cio_held", "kind": "gauge", "labels": ["cause"], "stages": ["sink"], "text": held["text"],
    }  # fmt: skip
    text = run()
    assert "dodo_cio_held{cause}  gauge; sink\n" in text
    assert all(re.sub(r"\s+", " ", one["text"]) in re.sub(r"\s+", " ", text) for one in document["metrics"])


@pytest.mark.parametrize("stage", STAGES)
async def test_dead_letters_begin_at_nothing(stage: Stage) -> None:
    """Every class that a stage gives is there at 0: the first letter of a class is an increase."""
    classes = {
        sample.labels["class"]: sample.value
        for family in await families(stage)
        for sample in family.samples
        if sample.name == "dodo_cio_dead_letters_total"
    }
    given = set(get_args(DeadLetterClass)) if stage == "transform" else set(CLASSES)
    assert len(given) > 3
    assert classes == dict.fromkeys(given, 0.0)


async def test_what_else_begins_at_nothing() -> None:
    """Ends of requests and connections, notes, kinds of facts, holds."""
    assert {outcome for outcome, _ in ENDS} == set(get_args(Outcome))
    for outcome, status in ENDS:
        assert value("ingest", "ingest_requests_total", outcome=outcome, status=str(status)) == 0
    for reason in get_args(Reason):
        assert value("sink", "http_connections_ended_total", reason=reason) == 0
    for note in get_args(Note):
        assert value("transform", "mapping_notes_total", note=note) == 0
    assert value("transform", "facts_kept_aside_total", kind="other") == 0
    for cause in ("credentials", "region", "outage", "retry-after"):
        assert value("sink", "holds_total", cause=cause) == 0


def test_nothing_from_outside_makes_series() -> None:
    """A thousand made-up types, kinds of facts and event names add one series each, or are bounded by a number."""

    def chunk(number: int) -> ChunkTransformed:
        webhooks: Any = {("other", "operations", ""): 1}
        return ChunkTransformed("t", 0, 0, 0, 1, 1, webhooks, {("event", f"made_up_{number}"): 1}, {}, 0.1, 0.1)

    def series(stage: Stage, *happened: object) -> int:
        metrics = metrics_of(stage)
        before = sum(len(family.samples) for family in metrics.registry.collect())
        for event in happened:
            metrics(event)
        return sum(len(family.samples) for family in metrics.registry.collect()) - before

    numbers = range(1000)
    accepted = [RequestEnded("accepted", 200, 0.1, 10, "live", f"made.up{number}") for number in numbers]
    assert series("ingest", *accepted) == series("ingest", accepted[0])
    aside = [RecordsKeptAside("t", 0, {f"made-up-{number}": 1}) for number in numbers]
    assert series("transform", *aside) == 0
    assert series("transform", *map(chunk, numbers)) <= 202
