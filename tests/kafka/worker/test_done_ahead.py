"""What is done ahead of an offset: the text beside it, and which records its heir passes over."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.cluster.topic_identity import marked, unmarked
from pipeline.kafka.worker.done_ahead import SPAN, DoneAhead, Witness, digest_of, parted, rendered
from pipeline.kafka.worker.inheritance import is_witness
from tests.records import Consumed

consumed = partial(Consumed, timestamp=1_790_000_000_000, key=b"cus_1", topic="t")
"""A record as a consumer hands it out."""


def ahead_of(base: int, done: set[int], witness: int | None = None, digest: int = 7) -> DoneAhead:
    """Of these offsets."""
    bits = sum(1 << (offset - base) for offset in done)
    return DoneAhead(base, bits, Witness(max(done, default=base) if witness is None else witness, digest))


def offsets_of(ahead: DoneAhead | None) -> set[int]:
    """Those that are done by it."""
    return set() if ahead is None else {ahead.base + n for n in range(ahead.bits.bit_length()) if ahead.bits >> n & 1}


bases = st.integers(0, 2**62)
places = st.sets(st.integers(0, 400), max_size=60)


@given(bases, places, st.integers(0, 500), st.integers(-5, 300), st.text(max_size=30))
def test_nothing_is_read_that_was_not_written(base: int, done: set[int], beyond: int, room: int, note: str) -> None:
    """Whatever the room, what is read is a part of what is done, and all of it where the room suffices."""
    offsets = {base + place for place in done}
    ahead = ahead_of(base, offsets, max(offsets, default=base) + beyond)
    text = rendered(ahead, room)
    assert len(text) <= max(room, 0)
    assert text.isascii()
    found, rest = parted(unmarked(marked("id", text + note))[1])
    assert offsets_of(found) <= offsets
    assert rendered(ahead, 4000) == "" or parted(rendered(ahead, 4000)) == (ahead, "")
    if found is not None:
        assert (found.base, found.witness, rest) == (base, ahead.witness, note)
    assert bool(rendered(ahead, 4000)) == bool(offsets)


def test_what_has_no_room_is_what_lies_furthest() -> None:
    """Of 100,000 offsets without a pattern as many are kept, from the committed one on, as the room takes."""
    chosen = random.Random(1)
    done = {n for n in range(1, 100_000) if chosen.random() < 0.5}
    text = rendered(ahead_of(0, done), 4000)
    kept = offsets_of(parted(text)[0])
    assert 3_000 < len(text) <= 4_000
    furthest = max(kept)
    assert kept == {offset for offset in done if offset <= furthest}
    assert furthest > 20_000


@given(st.text(max_size=80) | st.from_regex(r"done:\d{1,21}:\d{1,21}:[0-9a-f]{8}:[\w-]*;?.*", fullmatch=True))
def test_anything_may_lie_beside_an_offset(text: str) -> None:
    """Others commit for the group, too: what is not of this form is nothing, and never an error."""
    found, rest = parted(text)
    assert found is None or offsets_of(found)
    assert text.endswith(rest)


@given(places.filter(bool), st.data())
def test_a_text_that_was_cut_or_changed_is_nothing_else(done: set[int], data: st.DataObject) -> None:
    """A character that is gone or another one gives the same offsets, or none; the numbers before them are compared."""
    text = rendered(ahead_of(10, {10 + one for one in done}), 4000)
    start = text.rindex(":") + 1
    at = data.draw(st.integers(start, len(text) - 1))
    other = data.draw(st.sampled_from(["", "A", "z", "-", ";", "é"]))
    found = parted(text[:at] + other + text[at + 1 :])[0]
    assert offsets_of(found) in (set(), {10 + one for one in done})


def test_a_text_that_unpacks_to_more_is_nothing() -> None:
    """Whoever may commit for the group cannot fill the heir's memory with 4,096 characters."""
    import base64
    import zlib

    packed = base64.urlsafe_b64encode(zlib.compress(b"\xff" * (SPAN * 4))).decode().rstrip("=")
    assert parted(f"done:0:{2**62}:00000000:{packed};")[0] is None


@given(st.integers(0, 50), places, st.lists(st.integers(0, 500), min_size=1, unique=True).map(sorted))
def test_the_heir_passes_over_what_is_done_and_nothing_else(base: int, done: set[int], records: list[int]) -> None:
    """Of every chunk, with whatever offsets missing."""
    offsets = {base + place for place in done}
    left = ahead_of(base, offsets).left_of([consumed(offset=offset) for offset in records])
    assert [one.offset for one in left] == [offset for offset in records if offset not in offsets]


@pytest.mark.parametrize(
    "other", [{"offset": 8}, {"timestamp": 5}, {"key": b"cus_2"}, {"value": b"[]"}, {"key": None}], ids=str
)
def test_the_witness_is_that_very_record(other: dict[str, object]) -> None:
    """Another record at its offset, or the same elsewhere, is no witness."""
    record = consumed(offset=7)
    ahead = DoneAhead(3, 1, Witness(7, digest_of(record)))
    assert is_witness(record, ahead)
    assert not is_witness(replace(record, **other), ahead)  # type: ignore[arg-type]
