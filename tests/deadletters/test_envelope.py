"""Dead letters keep the record and say what became of it."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.envelope import (
    CLASSES,
    OWN_HEADERS,
    DeadLetterClass,
    dead_letter,
    dead_letter_of,
    original_of,
    replays_of,
    without_content,
)
from pipeline.errors import InputError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import OutRecord, header, int_header, text_header
from tests.records import Consumed

stored = partial(
    Consumed, key=b"cus_1", value=b'{"type": "payment.succeeded"}', partition=3, offset=41, timestamp=1_700_000_000_000
)
"""A record as a consumer hands it out."""


def consumed(record: OutRecord, *, topic: str = "dead") -> Consumed:
    """`record` after it went through a topic."""
    return stored(key=record.key, value=record.value, headers=record.headers, topic=topic)


def test_every_header() -> None:
    """Each of the nine headers has its documented form; the original ones come first and unchanged."""
    record = stored(headers=(("webhook-id", b"msg_1"), ("X-Trace", b"\xff\x00"), ("x-trace", b"")))
    letter = dead_letter(
        record,
        stage="sink",
        class_="refused",
        reason="email of jane@example.com is invalid",
        at_ms=1_700_000_123_456,
        field="identifiers.email",
        status=207,
        attempts=4,
    )
    assert letter == OutRecord(
        key=b"cus_1",
        value=b'{"type": "payment.succeeded"}',
        headers=(
            ("webhook-id", b"msg_1"),
            ("X-Trace", b"\xff\x00"),
            ("x-trace", b""),
            ("dlq-stage", b"sink"),
            ("dlq-class", b"refused"),
            ("dlq-reason", b"email of [email] is invalid"),
            ("dlq-source", b"dodo.webhooks/3/41"),
            ("dlq-at", b"1700000123456"),
            ("dlq-attempts", b"4"),
            ("dlq-replays", b"0"),
            ("dlq-field", b"identifiers.email"),
            ("dlq-status", b"207"),
        ),
        timestamp_ms=1_700_000_123_456,
    )


def test_optional_headers_are_left_out() -> None:
    """A fault without a field or a status has neither header."""
    letter = dead_letter(stored(), stage="transform", class_="unreadable", reason="not JSON", at_ms=1)
    assert header(letter.headers, "dlq-field") is None
    assert header(letter.headers, "dlq-status") is None


def test_http_dead_letter() -> None:
    """What ingest accepted but could not read names HTTP as its source."""
    letter = dead_letter_of(b"k", b"\x00", (("webhook-id", b"m"),), class_="unreadable", reason="not JSON", at_ms=5)
    assert text_header(letter.headers, "dlq-source") == "http"
    assert text_header(letter.headers, "dlq-stage") == "ingest"
    assert (letter.key, letter.value, letter.headers[0]) == (b"k", b"\x00", ("webhook-id", b"m"))


def test_second_failure_replaces_the_first() -> None:
    """A replayed record that fails again says only what happened last, and how often it came back."""
    first = dead_letter(stored(), stage="transform", class_="unmappable", reason="old", at_ms=1, field="x", status=400)
    again = consumed(original_of(consumed(first)), topic="dodo.webhooks")
    second = dead_letter(again, stage="sink", class_="refused", reason="new", at_ms=2)
    names = [name for name, _ in second.headers]
    assert len(names) == len(set(names))
    assert {name: second_value for name, second_value in second.headers if name.startswith("dlq-")} == {
        "dlq-stage": b"sink",
        "dlq-class": b"refused",
        "dlq-reason": b"new",
        "dlq-source": b"dodo.webhooks/3/41",
        "dlq-at": b"2",
        "dlq-attempts": b"1",
        "dlq-replays": b"1",
    }


def test_foreign_spelling_of_our_headers() -> None:
    """Our headers are recognised in any case, so none is carried twice."""
    record = stored(headers=(("DLQ-Replays", b"2"), ("Dlq-Reason", b"theirs"), ("dlq-ticket", b"OPS-7")))
    letter = dead_letter(record, stage="sink", class_="refused", reason="ours", at_ms=1)
    assert [v for n, v in letter.headers if n.lower() == "dlq-reason"] == [b"ours"]
    assert [v for n, v in letter.headers if n.lower() == "dlq-replays"] == [b"2"]
    assert header(letter.headers, "dlq-ticket") == b"OPS-7"


@pytest.mark.parametrize("count", [b"", b"-1", b"many", b"\xff", b"9" * 40])
def test_malformed_count_of_replays(count: bytes) -> None:
    """A count that is none reads as never replayed and never raises."""
    assert replays_of((("dlq-replays", count),)) == 0


def test_only_dead_letters_can_be_put_back() -> None:
    """A record of another kind is refused by name instead of being sent somewhere."""
    with pytest.raises(InputError, match=r"dodo.webhooks/3/41 is not a dead letter"):
        original_of(stored())


names = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name.lower() not in OWN_HEADERS)
headers = st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=20))), max_size=6).map(tuple)


@given(
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary(max_size=400),
    headers=headers,
    class_=st.sampled_from(CLASSES),
    reason=st.text(max_size=2000),
    failures=st.integers(1, 4),
)
def test_round_trip(
    *,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes], ...],
    class_: DeadLetterClass,
    reason: str,
    failures: int,
) -> None:
    """However often a record fails and is put back, it comes back exactly; only the count of replays grows."""
    record = stored(key=key, value=value, headers=headers)
    for failure in range(1, failures + 1):
        letter = dead_letter(record, stage="transform", class_=class_, reason=reason, at_ms=failure)
        back = original_of(consumed(letter))
        assert (back.key, back.value) == (key, value)
        assert [pair for pair in back.headers if pair[0] != "dlq-replays"] == list(headers)
        assert int_header(back.headers, "dlq-replays") == failure
        assert back.timestamp_ms is None
        record = consumed(back, topic="dodo.webhooks")


def test_a_batch_that_could_not_be_decoded() -> None:
    """Its letter says which offsets it has, where a field is named elsewhere; its bytes are the value."""
    batch = UnreadableRecord("dodo.webhooks", 3, 41, -1, 0, None, b"\0\1", (), "codec 6", 44)
    letter = dead_letter(batch, stage="sink", class_="unreadable", reason=batch.fault, at_ms=1)
    assert text_header(letter.headers, "dlq-field") == "batch 41 to 44"
    assert text_header(letter.headers, "dlq-source") == "dodo.webhooks/3/41"
    assert (letter.key, letter.value) == (None, b"\0\1")
    record = UnreadableRecord("dodo.webhooks", 3, 41, -1, 0, b"k", b"v", (), "a header's name")
    assert (
        header(dead_letter(record, stage="sink", class_="unreadable", reason="x", at_ms=1).headers, "dlq-field") is None
    )


def test_without_content() -> None:
    """What is left of a letter that its topic cannot hold says what it was and where it lies."""
    large = stored(key=b"k" * 2000, value=b"v" * 5000, headers=(("x", b"y" * 5000), ("null", None)))  # type: ignore[arg-type]
    letter = without_content(dead_letter(large, stage="sink", class_="unreadable", reason="no", at_ms=1))
    assert (letter.key, letter.value, letter.timestamp_ms) == (None, None, 1)
    assert {name for name, _ in letter.headers} <= OWN_HEADERS
    assert text_header(letter.headers, "dlq-source") == "dodo.webhooks/3/41"
