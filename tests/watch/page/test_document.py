"""What a process says of itself, and takes from others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline import __version__
from pipeline.watch.page.document import TEXT_CHARACTERS, Event, Process, StageDocument, Words, document_of
from pipeline.watch.page.figures import figures
from pipeline.watch.vitals import Verdict
from tests.watch.page.building import NO, YES, document, look

PROCESS = Process("sink", "4f2a", 1_000)


def test_it_says_what_was_seen() -> None:
    """Verdicts, words, figures and events of one look."""
    event = Event.of(5, "payment.succeeded", "accepted", "cus_1", "msg_1")
    seen = look(ready=NO, words=Words("operations", "no credentials", "half restored"), events=[event])
    made = document_of(PROCESS, seen, figures("sink", seen.families), 7.5, 61_000)
    assert (made.stage, made.process, made.version, made.started_at_ms) == ("sink", "4f2a", __version__, 1_000)
    assert (made.ready, made.ready_reason, made.live, made.live_reason) == (False, NO.reason, True, YES.reason)
    assert (made.reads, made.hold, made.restoring) == ("operations", "no credentials", "half restored")
    assert (made.rate_per_second, made.lag_records, made.events) == (7.5, None, (event,))


def test_whatever_it_says_can_be_read() -> None:
    """Reasons of any length and events of any number come back as they went, and fit into what a peer reads."""
    long = Verdict(ok=False, reason="x" * 100_000)
    event = Event.of(5, "é" * 1000, "é" * 1000, "é" * 1000, "é" * 1000)
    words = Words("t" * 249, "h" * 5000, "r" * 5000)
    seen = look(ready=long, live=long, words=words, events=[event] * 100)
    made = document_of(PROCESS, seen, figures("sink", ()), None, 61_000)
    assert made.ready_reason == "x" * (TEXT_CHARACTERS - 1) + "…"
    written = made.model_dump_json()
    assert StageDocument.model_validate_json(written) == made
    assert len(written.encode()) < 32_768


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": "broker"}, {"ready": "perhaps"}, {"lag_seconds": "NaN"}, {"lag_records": -1}, {"done": 1.5},
        {"hold": "x" * 601}, {"events": [{}]}, {"events": [{"at_ms": 1, "what": "a", "outcome": "b"}] * 21},
        {"letters": {str(number): 1 for number in range(51)}}, {"letters": {"x" * 121: 1}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_document(fields: dict[str, object]) -> None:
    """A peer's answer is taken in within bounds or not at all."""
    content = {**document().model_dump(), **fields}
    with pytest.raises(ValidationError):
        StageDocument.model_validate(content)


def test_a_later_version_says_more() -> None:
    """Stages are upgraded one after the other: unknown fields are passed over, missing figures are none."""
    content = {**document().model_dump(), "weather": "fine"}
    del content["lag_records"]
    assert StageDocument.model_validate(content) == document()
