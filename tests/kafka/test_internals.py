"""Every internal that our code leans on is pinned, and told of in docs/internals.md."""

from __future__ import annotations

import re

import pytest

from tests.internals import ROOT, Use, uses
from tests.kafka.test_pins import pinned

DOC = (ROOT / "docs" / "internals.md").read_text(encoding="utf-8")
COLUMNS = 5


def rows() -> list[list[str]]:
    """The cells of every row of the tables."""
    lines = [line for line in DOC.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(row: list[str]) -> list[str]:
    """The internals that a row is about."""
    return re.findall(r"`([\w.]+)`", row[0])


def has_a_pin(use: Use, pins: set[str]) -> bool:
    """Whether the place is pinned; where the code does not tell whose the name is, under any class."""
    return bool(use.names & pins) if use.owners else use.name in {pin.rpartition(".")[2] for pin in pins}


def test_every_place_has_a_pin() -> None:
    """A private attribute of an object that is not ours, or an override, without a row in test_pins.py fails here."""
    pins = pinned()
    assert [f"{use.place}: {use.name}" for use in uses() if not has_a_pin(use, pins)] == []


def test_places_are_found() -> None:
    """Of each kind one that is known, so that the search cannot go blind."""
    found = {(use.name, use.place.partition(":")[0]) for use in uses()}
    assert {
        ("_do_heartbeat", "pipeline/kafka/worker/consumer_thread.py"),  # a private attribute of aiokafka's
        ("_get_conn", "pipeline/kafka/reconnect.py"),
        ("_thread_running", "pipeline/kafka/worker/consumer_thread.py"),  # one that a class of ours inherits
        ("_consumer_wait_empty", "pipeline/kafka/worker/app.py"),  # overridden
        ("PartitionRecords", "pipeline/kafka/unpacking.py"),  # replaced in its module
    } <= found


@pytest.mark.parametrize("pins", [set(), {"App.start"}, {"Service.stopped"}], ids=["none", "class", "name"])
def test_a_pin_of_something_else_is_none(pins: set[str]) -> None:
    """Class and name have to agree where the code tells both."""
    assert not has_a_pin(Use("start", ("Service",), "somewhere"), pins)


def test_the_page_tells_of_every_pin_and_of_nothing_else() -> None:
    """Each internal stands in one row."""
    told = [name for row in rows() for name in names(row)]
    assert sorted(told) == sorted(pinned())


@pytest.mark.parametrize("row", rows(), ids=lambda row: names(row)[0])
def test_each_row_is_whole(row: list[str]) -> None:
    """Why, what breaks, and by which test that is noticed; rooms and tests exist."""
    assert len(row) == COLUMNS
    assert all(row)
    for room in row[1].split(", "):
        assert (ROOT / "pipeline" / f"{room}.py").is_file(), room
    for test in row[4].split(", "):
        if test.startswith("tests/"):
            assert (ROOT / test).is_dir() or (ROOT / f"{test}.py").is_file(), test
