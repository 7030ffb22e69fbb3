"""Each operation of the data file is judged as the published rules say, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.operations import event, fit_attributes, identify
from pipeline.customerio.sandbox.actions import TABLE, validate

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "sandbox" / "operations.json").read_text(encoding="utf-8")
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "action", "identifiers", "id", "name", "attributes", "device", "token", "platform", "primary",
             "cio_relationships", "timestamp", "keywords", "cio_subscription_preferences", "topics", "push_enabled"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip

PERSON_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=37).filter(str.strip)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_verdict(case: dict[str, Any]) -> None:
    """Strict: every fault is named with its reason and field, and nothing else."""
    found = [[rejection.reason, rejection.field] for rejection in validate(case["operation"])]
    assert found == case["rejections"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_verdict_when_lenient(case: dict[str, Any]) -> None:
    """Lenient: only what the sources contradict each other about passes."""
    found = [[rejection.reason, rejection.field] for rejection in validate(case["operation"], lenient=True)]
    assert found == case.get("lenient", case["rejections"])


def test_every_action_has_a_valid_and_an_invalid_case() -> None:
    """The data covers the whole table of types and actions."""
    valid = {(case["operation"]["type"], case["operation"]["action"]) for case in CASES if not case["rejections"]}
    assert valid == {(kind, action) for kind, actions in TABLE.items() for action in actions}


@given(JSON, st.sampled_from([(kind, action) for kind, actions in TABLE.items() for action in actions]), st.booleans())
def test_never_raises(value: Any, pair: tuple[str, str], lenient: bool) -> None:
    """Any JSON whatever gets a verdict, with a reason and a message for each fault."""
    operation = {**value, "type": pair[0], "action": pair[1]} if isinstance(value, dict) else value
    for rejection in [*validate(operation, lenient=lenient), *validate(value, lenient=lenient)]:
        assert rejection.reason in {"required", "invalid"}
        assert rejection.message


@given(st.dictionaries(st.text(max_size=160), st.text(max_size=1200) | JSON, max_size=4), PERSON_IDS)
def test_takes_what_the_pipeline_builds(attributes: dict[str, Any], person: str) -> None:
    """Whatever attributes a webhook has, once fitted they make valid operations."""
    fitted, _ = fit_attributes(attributes)
    built = [
        identify(person, fitted, timestamp_s=1_767_225_600),
        event(person, "x", id="01ARZ3NDEKTSV4RRFFQ69G5FAV", timestamp_s=1_767_225_600, attributes=fitted),
    ]
    assert [validate(orjson.loads(item)) for item in built] == [[], []]
