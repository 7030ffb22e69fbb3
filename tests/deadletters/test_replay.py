"""A letter goes back to the start of the stage that failed, or is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.envelope import CLASSES, OWN_HEADERS, DeadLetterClass
from pipeline.deadletters.letter import read_letter
from pipeline.deadletters.replay import Refused, ReplayRecord, Targets, decide
from pipeline.dodo import samples
from pipeline.kafka.records import OutRecord
from pipeline.settings import Stage

TARGETS = Targets("webhooks", "operations")
BODY = samples.load("payment.succeeded")


def decided(letter: tuple[Any, Any], *, max_replays: int = 3, put_back: int = 0) -> ReplayRecord | Refused:
    """The decision about what `make` built."""
    return decide(*letter, TARGETS, max_replays=max_replays, put_back=put_back)


@pytest.mark.parametrize("class_", CLASSES)
@pytest.mark.parametrize(("stage", "topic"), [("transform", "webhooks"), ("sink", "operations")])
def test_stages(make: Any, stage: Stage, topic: str, class_: DeadLetterClass) -> None:
    """The stage decides, whatever the class: only a person knows whether the fault is gone."""
    back = decided(make(stage=stage, class_=class_))
    assert isinstance(back, ReplayRecord)
    assert (back.topic, back.partition) == (topic, None)


def test_ingest_unreadable(make: Any) -> None:
    """What never was a webhook is none now, and no stage could take it."""
    found = decided(make(stage="ingest", class_="unreadable", key=b"msg_1", value=b"{oops", source="http"))
    assert isinstance(found, Refused)
    assert "have Dodo send it again" in found.reason


def test_ingest_readable_by_now(make: Any) -> None:
    """What can be read after an upgrade becomes the record that ingest would have made, under its customer's key."""
    headers = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1767225600"), ("dodo-mode", b"test"))
    letter = make(stage="ingest", class_="unreadable", key=b"msg_1", value=BODY, headers=headers, source="http")
    assert decided(letter) == ReplayRecord(
        "webhooks",
        OutRecord(
            b"cus_0NExampleCustomer0001",
            BODY,
            (("dodo-type", b"payment.succeeded"), *headers, ("dlq-replays", b"1")),
        ),
    )


@pytest.mark.parametrize("stage", ["transform", "sink"])
def test_content_that_was_not_kept(make: Any, stage: Stage) -> None:
    """A letter without its value cannot come back; it says where the record lies."""
    found = decided(make(stage=stage, value=None))
    assert isinstance(found, Refused)
    assert "lies at dlq-source" in found.reason


def test_a_command_without_a_value(make: Any) -> None:
    """A command is whole without a value."""
    assert isinstance(decided(make(value=None, headers=(("dodo-command", b"forget"),))), ReplayRecord)


def test_what_is_no_letter(lying: Any) -> None:
    """Whatever else lies in the topic is not sent anywhere."""
    record = lying(value=BODY)
    assert isinstance(decide(record, read_letter(record), TARGETS, max_replays=3), Refused)
    unknown = lying(value=BODY, headers=(("dlq-stage", b"loader"),))
    assert isinstance(decide(unknown, read_letter(unknown), TARGETS, max_replays=3), Refused)


@pytest.mark.parametrize(
    ("replays", "put_back", "cap", "goes"),
    [
        (0, 0, 1, True),
        (1, 0, 1, False),
        (2, 0, 3, True),
        (3, 0, 3, False),
        (7, 0, 3, False),
        (1, 2, 3, False),
        (1, 1, 3, True),
    ],
)
def test_cap(make: Any, replays: int, put_back: int, cap: int, goes: bool) -> None:
    """A record that came back as often as the cap allows stays; putting one letter back again counts as well."""
    letter = make(headers=(("dlq-replays", b"%d" % replays),))
    found = decided(letter, max_replays=cap, put_back=put_back)
    assert isinstance(found, ReplayRecord) is goes
    if isinstance(found, Refused):
        assert "--max-replays" in found.reason


@pytest.mark.parametrize(
    ("source", "partition"),
    [
        ("webhooks/3/41", 3),
        ("elsewhere/3/41", None),
        ("http", None),
        ("webhooks//41", None),
        ("webhooks/x/1", None),
        (f"webhooks/{'9' * 5000}/1", None),
    ],
)
def test_without_a_key(make: Any, source: str, partition: int | None) -> None:
    """No key, no hash: the record goes to the partition that it came from, where it is known."""
    back = decided(make(key=None, source=source))
    assert isinstance(back, ReplayRecord)
    assert back.partition == partition


names = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name.lower() not in OWN_HEADERS)


@given(
    key=st.none() | st.binary(max_size=40),
    value=st.binary(max_size=200),
    headers=st.lists(st.tuples(names, st.none() | st.binary(max_size=20)), max_size=6).map(tuple),
    stage=st.sampled_from(["transform", "sink"]),
    replays=st.integers(0, 2),
)
def test_the_original_comes_back(
    make: Any, *, key: bytes | None, value: bytes, headers: tuple[tuple[str, bytes], ...], stage: Stage, replays: int
) -> None:
    """Key, value and every header come back byte for byte and in order; only the count of replays is one higher."""
    letter = make(key=key, value=value, headers=(*headers, ("dlq-replays", b"%d" % replays)), stage=stage)
    back = decided(letter)
    assert isinstance(back, ReplayRecord)
    assert back.record == OutRecord(key, value, (*headers, ("dlq-replays", b"%d" % (replays + 1))))


@pytest.mark.parametrize("stage", ["transform", "sink"])
def test_a_whole_batch_is_no_record(make: Any, stage: Stage) -> None:
    """Put back as one it would be a record whose value is a batch: it is refused, with what helps."""
    found = decided(make(stage=stage, class_="unreadable", field="batch 41 to 44", value=b"\0\1"))
    assert isinstance(found, Refused)
    assert "a whole batch that could not be decoded" in found.reason
