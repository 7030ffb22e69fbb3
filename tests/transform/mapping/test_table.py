"""The table is whole, and the reference says what the table does."""

from __future__ import annotations

import re

import pytest

from pipeline.dodo.catalogue import RETIRED, TYPES
from pipeline.transform.mapping import reference_rows
from pipeline.transform.mapping.table import FAMILIES, TABLE

EVENT = re.compile(r"[a-z]+(_[a-z]+)*")


def test_every_type_of_the_catalogue_has_rows() -> None:
    """Nothing that Dodo sends is unknown, nothing else is in the table."""
    assert set(TABLE) == set(TYPES) | set(RETIRED)


@pytest.mark.parametrize("type_", TABLE)
def test_the_last_row_always_holds(type_: str) -> None:
    """No body can fall through, and no row stands behind one that always holds."""
    _mapping, rows = TABLE[type_]
    assert [row.when is None for row in rows] == [False] * (len(rows) - 1) + [True]


def test_each_family_maps_its_own_types() -> None:
    """A row lies in the file of its family."""
    for family, mapping in FAMILIES.items():
        assert all(row.type.startswith(f"{family}.") for row in mapping.rows)


def test_event_names_are_canonical() -> None:
    """Lower case with underscores; `title` style is made from them at the end."""
    for _mapping, rows in TABLE.values():
        for row in rows:
            assert row.event is None or EVENT.fullmatch(row.event)
            assert row.drop is None or row.event is None


def test_the_reference_has_a_line_for_each_row() -> None:
    """In the table's order, with words for every condition."""
    lines = reference_rows()
    assert len(lines) == sum(len(rows) for _mapping, rows in TABLE.values())
    assert {line.type for line in lines} == set(TABLE)
    started = next(line for line in lines if line.event == "subscription_started")
    assert started.type == "subscription.active"
    assert started.key == "subscription_id"
    assert "previous_billing_date" in started.condition
    assert started.state
    assert "amount" in started.attributes
    completed = next(line for line in lines if line.event == "payment_completed")
    assert (completed.condition, completed.key) == ("else", "payment_id")
    assert next(line for line in lines if line.type == "payout.created").event == "dropped (payout)"
    failed = next(line for line in lines if line.event == "payment_failed")
    assert (failed.condition, failed.key) == ("", "webhook-id")


def test_a_line_that_sends_says_what_names_its_fact() -> None:
    """Key and attributes where an event goes out, neither where none does."""
    for line in reference_rows():
        sends = EVENT.fullmatch(line.event) is not None
        assert bool(line.key) == sends
        assert bool(line.attributes) == sends
