"""A filter means the letters that satisfy all of it, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.filters import Filter
from pipeline.deadletters.letter import Letter, Place

AT_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def letter(make: Any) -> Letter:
    """A letter of a payment of `cus_1` with an address, keyed `key_1`."""
    body = (
        b'{"type": "payment.succeeded", "data": {"customer": {"customer_id": "cus_1", "email": "Jane@Example.com"},'
        b' "customer_id": "cus_old"}}'
    )
    found: Letter = make(1, 5, key=b"key_1", value=body, at_ms=AT_MS)[1]
    return found


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ({}, True),
        ({"stages": frozenset({"transform"})}, True),
        ({"stages": frozenset({"sink", "transform"})}, True),
        ({"stages": frozenset({"sink", "ingest"})}, False),
        ({"classes": frozenset({"unmappable"})}, True),
        ({"classes": frozenset({"refused"})}, False),
        ({"types": ("payment.succeeded",)}, True),
        ({"types": ("refund.*", "payment.*")}, True),
        ({"types": ("payment.succeede",)}, False),
        ({"types": ("*.failed",)}, False),
        ({"customers": frozenset({"cus_1"})}, True),
        ({"customers": frozenset({"cus_old"})}, True),
        ({"customers": frozenset({"key_1"})}, True),
        ({"customers": frozenset({"jane@example.COM"})}, True),
        ({"customers": frozenset({"cus_2", "cus_1"})}, True),
        ({"customers": frozenset({"CUS_1"})}, False),
        ({"customers": frozenset({"cus_"})}, False),
        ({"since_ms": AT_MS}, True),
        ({"since_ms": AT_MS + 1}, False),
        ({"until_ms": AT_MS + 1}, True),
        ({"until_ms": AT_MS}, False),
        ({"places": frozenset({Place(1, 5), Place(0, 0)})}, True),
        ({"places": frozenset({Place(5, 1)})}, False),
    ],
)
def test_each_condition(letter: Letter, condition: dict[str, Any], matches: bool) -> None:
    """One value of a condition must fit; since is inclusive, until is not; ids are exact, addresses have no case."""
    assert Filter(**condition).matches(letter) is matches


def test_no_letter_has_no_stage(letter: Letter) -> None:
    """What lacks a stage, class or type is meant by no filter that asks for one, and by one that does not."""
    odd = replace(letter, stage=None, class_=None, type=None)
    assert Filter().matches(odd)
    for condition in (Filter(stages=frozenset({"sink"})), Filter(classes=frozenset({"x"})), Filter(types=("*",))):
        assert not condition.matches(odd)


conditions = st.fixed_dictionaries(
    {},
    optional={
        "stages": st.frozensets(st.sampled_from(["ingest", "transform", "sink"]), min_size=1),
        "classes": st.frozensets(st.sampled_from(["unmappable", "refused"]), min_size=1),
        "types": st.lists(st.sampled_from(["payment.*", "refund.*"]), min_size=1).map(tuple),
        "customers": st.frozensets(st.sampled_from(["cus_1", "key_1", "cus_2"]), min_size=1),
        "since_ms": st.integers(AT_MS - 1, AT_MS + 1),
        "until_ms": st.integers(AT_MS, AT_MS + 2),
        "places": st.frozensets(st.sampled_from([Place(1, 5), Place(1, 6)]), min_size=1),
    },
)


@given(conditions)
def test_all_conditions_together(letter: Letter, given_: dict[str, Any]) -> None:
    """A filter means exactly what each of its conditions alone means."""
    alone = [Filter(**{name: value}).matches(letter) for name, value in given_.items()]
    assert Filter(**given_).matches(letter) is all(alone)
