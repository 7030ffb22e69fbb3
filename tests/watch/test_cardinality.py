"""A label has few values, whatever is sent to us."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Literal, get_args, get_origin

import orjson
import pytest

from pipeline.cli.metrics import every_series, metrics_of
from pipeline.dodo import samples
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.signature import sign
from pipeline.ingest.events import RequestEnded
from pipeline.settings import Stage
from pipeline.statestore.store import MemoryStore
from pipeline.transform.chunk_stats import ChunkStats, ChunkTransformed
from pipeline.transform.decision import judge
from pipeline.transform.mapping import map_webhook
from pipeline.transform.metrics import MOST_NAMES
from pipeline.transform.policy import Policy
from pipeline.transform.shadow import Shadow, ShadowCompared
from pipeline.transform.shaping.types import Event, Known, Shaped, Webhook
from pipeline.transform.webhook import read
from pipeline.watch.metrics import Metrics
from tests.ingest.conftest import LIVE, _ask, _edge
from tests.records import Consumed

STAGES: tuple[Stage, ...] = get_args(Stage)
MANY: Final = 5000
"""Texts that nobody knows: more than a whole application should have of series."""

ENOUGH: Final = 1000
"""Of them: whatever is bounded has reached its bound by then."""

OURS: Final = frozenset(
    {
        *("version", "stage", "task", "event_class"),  # of this program
        *("topic", "lane"),  # of its settings
        "partition",  # as many as a topic has
    }
)
"""Labels that no message has a say in, and fields of events whose values they are."""

ANSWERABLE: Final = frozenset(
    {
        *("type", "mode", "outcome", "reason", "class", "status"),
        *("kind", "name", "note", "cause", "side", "request", "drained", "committed"),
    }
)
"""All other labels: the tests below are about their values."""

CHOSEN_BEFORE: Final[dict[type[Any], str]] = {
    RequestEnded: "status",  # what we answer
    ChunkTransformed: "webhooks",
    ShadowCompared: "type",
}
"""A field of an event that only its maker bounds; for types, `test_types_that_nobody_knows` has the events made."""


def made_up(number: int) -> str:
    """A text of somebody who wants to make series: no two are equal."""
    return (
        f"made.up.{number}",
        f'made.up"}} 1\nevil{{x="{number}',
        f"payment.succeeded (made up {number})",
        "made.up" * 100 + str(number),
        f"\u202emade.up\u0000{number}",
    )[number % 5]


def number_of_series(metrics: Metrics) -> int:
    """How many a scrape gets now."""
    return sum(len(family.samples) for family in metrics.registry.collect())


def made_up_labels(metrics: Metrics) -> set[tuple[str, str]]:
    """Series and value of each label that somebody made up."""
    return {
        (family.name, value)
        for family in metrics.registry.collect()
        for sample in family.samples
        for value in sample.labels.values()
        if "made" in value
    }


def some(annotation: str, number: int) -> Any:
    """A value of an open type, another one for each `number`; None where nobody outside has a choice of the value."""
    text = made_up(number)
    match annotation.removesuffix(" | None"):
        case "str":
            return text
        case "bytes":
            return text.encode()
        case "bool":
            return number % 2 == 0
        case "int":
            return number
        case "float":
            return number / 7
        case "tuple[int, ...]" | "tuple[float, ...]":
            return (number,)
        case "Mapping[str, int]":
            return {text: 1}
        case "Mapping[tuple[str, str], int]":
            return {(text, text): 1}
        case "Sequence[Record]" | "Sequence[Item]" | "tuple[ChangeKind, ...]" | "frozenset[TP]":
            return ()
        case annotation if annotation.startswith("Mapping"):
            return {}
        case _:
            return None


def closed(kind: type[Any], annotation: str) -> Sequence[Any]:
    """The values of a field that has few by its type, a Literal or a name of one; else nothing."""
    name = annotation.removesuffix(" | None")
    found = vars(sys.modules[kind.__module__]).get(name)
    return get_args(found) if get_origin(found) is Literal else ()


def fields_of(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Names and types of an event's fields, the types as they are written."""
    for parent in reversed(kind.__mro__):
        for name, annotation in vars(parent).get("__annotations__", {}).items():
            text = getattr(annotation, "__forward_arg__", annotation)
            yield name, text if isinstance(text, str) else text.__name__  # machine code keeps some as types


def made_up_events(kind: type[Any]) -> Iterator[Any]:
    """Events without end: their open fields are new in each."""
    fields = dict(fields_of(kind))
    ours = {name: some(fields[name], 0) for name in fields if name in OURS or name == CHOSEN_BEFORE.get(kind)}
    few = {name: values for name, text in fields.items() if (values := closed(kind, text))}
    for number in range(MANY):
        chosen = {name: values[number % len(values)] for name, values in few.items()}
        yield kind(**{name: some(text, number) for name, text in fields.items()} | chosen | ours)


def test_every_label_is_decided_on() -> None:
    """A label that is new is ours, or its values are bounded by what is tested here."""
    assert {label for series in every_series() for label in series.labels} == OURS | ANSWERABLE


@pytest.mark.parametrize("stage", STAGES)
async def test_no_event_makes_series_without_end(stage: Stage) -> None:
    """Each event that is handled, whatever its texts and numbers: beyond a thousand of them no more series are made."""
    metrics = metrics_of(stage)
    kinds = list(metrics._handlers)
    assert len(kinds) > 7
    for kind in kinds:
        events = made_up_events(kind)
        for event in islice(events, ENOUGH):
            metrics(event)
        before = number_of_series(metrics)
        for event in events:
            metrics(event)
        assert number_of_series(metrics) == before, kind
    names = {value for name, value in made_up_labels(metrics) if name == "dodo_cio_operations"}
    assert len(names) <= 2 * MOST_NAMES


TYPES_OF: Final = {"dodo_cio_ingest_webhooks", "dodo_cio_webhooks", "dodo_cio_shadow_differences"}
"""The series by type."""


class Renaming:
    """A candidate that would send every event by another name, and takes types that nobody else knows."""

    version = "candidate"
    claims = frozenset(made_up(number) for number in range(MANY))

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        return default._replace(events=(Event("paid"),))


async def test_types_that_nobody_knows() -> None:
    """Genuine webhooks of five thousand types, through ingest, transform and a candidate: one label counts them all."""
    ingest, transform, edge = metrics_of("ingest"), metrics_of("transform"), _edge()
    edge.endpoint.observers = (ingest,)
    envelope = orjson.loads(samples.load("payment.succeeded"))
    known = [orjson.dumps({**envelope, "type": type_}) for type_ in sorted(TYPES)]
    unknown = [orjson.dumps({**envelope, "type": made_up(number)}) for number in range(MANY)]
    for number, body in enumerate([*known, *unknown]):
        answer = await _ask(edge.app, sign(LIVE, f"msg_{number}", int(time.time()), body), body)
        assert answer is not None
        assert answer.status == 200
    policy, store, stats = Policy(), MemoryStore(), ChunkStats()
    decide = Shadow(policy, transform).beside(
        lambda reading, store: judge(reading, policy, map_webhook, store), Renaming()
    )
    stored = [record for topic, record in edge.store.records if topic == "w"]
    assert len(stored) == len(known) + MANY
    for record in stored:
        stats.add(decide(read(Consumed(record.value, record.headers, record.key)), store))
    transform(ChunkTransformed("t", 0, 0, 1, len(stored), 1, stats.webhooks, stats.operations, stats.notes, 0.1, 0.1))
    seen = {
        family.name: {sample.labels["type"]: sample.value for sample in family.samples}
        for metrics in (ingest, transform)
        for family in metrics.registry.collect()
        if any("type" in sample.labels for sample in family.samples)
    }
    assert set(seen) == TYPES_OF
    assert seen["dodo_cio_ingest_webhooks"] == {**dict.fromkeys(TYPES, 1), "other": MANY}
    assert set(seen["dodo_cio_webhooks"]) == {*TYPES, "other"}
    assert seen["dodo_cio_webhooks"]["other"] == MANY
    assert "other" in seen["dodo_cio_shadow_differences"]
    assert set(seen["dodo_cio_shadow_differences"]) <= {*TYPES, "other"}
    assert not made_up_labels(ingest) | made_up_labels(transform)
