"""Attributes leave inside Customer.io's limits, and every change is reported."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.customerio.attributes import DEPTH_MAX, Cut, _known_names, fit_attributes, fit_json
from pipeline.customerio.limits import (
    ATTRIBUTE_NAME_MAX_BYTES,
    ATTRIBUTE_VALUE_MAX_BYTES,
    ATTRIBUTES_MAX,
    RESERVED_ATTRIBUTES,
)

LONG_LINK = "https://example.com/" + "a" * 1000

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=40)
    | st.text("aé漢😀 .", max_size=1200),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text("ab.é", max_size=4), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    st.text(st.characters(), max_size=12) | st.text("é.", max_size=120) | st.sampled_from(sorted(RESERVED_ATTRIBUTES))
)


def size(value: Any) -> int:
    """How a value is measured: text as UTF-8, the rest as JSON."""
    return len(value.encode()) if isinstance(value, str) else len(orjson.dumps(value))


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@given(st.dictionaries(NAMES, JSON, max_size=8))
@example({"a.b": 1, "a_b": 2})
@example({f"n{i}": i for i in range(ATTRIBUTES_MAX + 5)})
@example({"deep": nested(DEPTH_MAX + 3)})
@example({"surrogate": "\ud800", "inside": ["\ud800", math.nan]})
def test_fits_every_limit(attributes: dict[str, Any]) -> None:
    """Whatever goes in, what comes out keeps every published limit and is JSON without loss."""
    fitted, cuts = fit_attributes(attributes)
    assert len(fitted) <= ATTRIBUTES_MAX
    for name, value in fitted.items():
        assert 0 < len(name.encode()) <= ATTRIBUTE_NAME_MAX_BYTES
        assert "." not in name
        assert name not in RESERVED_ATTRIBUTES
        assert size(value) <= ATTRIBUTE_VALUE_MAX_BYTES
        assert orjson.loads(orjson.dumps(value)) == value
    assert {cut.name for cut in cuts} <= set(attributes)


@given(st.dictionaries(NAMES, JSON, max_size=8))
def test_reports_each_change(attributes: dict[str, Any]) -> None:
    """An attribute that is not reported is untouched, and one that is gone was reported."""
    fitted, cuts = fit_attributes(attributes)
    changed = {cut.name for cut in cuts}
    for name, value in attributes.items():
        if name not in changed:
            assert fitted[name] == value
    assert len(fitted) + sum(1 for name in attributes if name in changed) >= len(attributes)


@given(st.dictionaries(NAMES, JSON, max_size=8))
@example({"a": math.nan})
@example({"a": None, "b": 1.5, "c": "null"})
@example({"a": [math.nan], "b": {"c.d": 1}})
@example({"a": "x" * ATTRIBUTE_VALUE_MAX_BYTES, "b": "y"})
@example({"a": "x" * 900, "b": ["y" * 900]})
@example({"a": datetime(2026, 1, 2, tzinfo=UTC), "b": [datetime(2026, 1, 2, tzinfo=UTC)]})
def test_the_json_is_that_of_what_fits(attributes: dict[str, Any]) -> None:
    """Whether the names are seen for the first time or not, and with the same changes."""
    fitted, cuts = fit_attributes(attributes)
    _known_names.clear()
    for _ in range(2):
        assert fit_json(attributes) == (orjson.dumps(fitted), cuts)


@pytest.mark.parametrize(
    "element",
    [
        "", "a", "\x01", "😀", {}, {"": ""}, {"\x01": "\x01"}, {"": 2**64 - 1}, {"": -(2**63)}, {"": False},
        {"": 2**64}, {"a.b": 1}, {"": None}, {"": 0.5}, {"": float("nan")}, {"": "\ud800"}, {"": []}, {1: 1}, None, 7,
        {"product_id": "pdt_0NbXk2QxJj4cG8mTwY1aZ", "quantity": 1},
    ],
)  # fmt: skip
def test_an_array_of_any_length_is_fitted(element: Any) -> None:
    """Arrays of texts and flat objects, up to and over what fits: whatever is passed over needs no change."""
    for attributes in ({"products": [element] * count} for count in range(180)):
        fitted, cuts = fit_attributes(attributes)
        assert fit_json(attributes) == (orjson.dumps(fitted), cuts)


@given(st.dictionaries(NAMES, JSON, max_size=8))
def test_is_idempotent(attributes: dict[str, Any]) -> None:
    """What was fitted once fits again without a change."""
    fitted, _ = fit_attributes(attributes)
    assert fit_attributes(fitted) == (fitted, ())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=200))
@example("é" * 501)
@example("漢" * 334)
@example("😀" * 251)
def test_cuts_text_between_characters(text: str) -> None:
    """A text is cut only when it must be, and never inside a character."""
    fitted, cuts = fit_attributes({"a": text * 6})
    if cuts == (Cut("a", "length"),):
        assert (text * 6).startswith(fitted["a"])
        assert len((text * 6).encode()) > ATTRIBUTE_VALUE_MAX_BYTES
    elif cuts == ():
        assert fitted["a"] == text * 6
    else:
        assert cuts == (Cut("a", "url"),)


@pytest.mark.parametrize(
    ("value", "kept", "reason"),
    [
        ("x" * 1000, "x" * 1000, None),
        ("x" * 1001, "x" * 1000, "length"),
        ("é" * 500, "é" * 500, None),
        ("x" + "é" * 500, "x" + "é" * 499, "length"),
        ("text " + LONG_LINK, "text", "length"),
        ("see https://example.com/ " + "x " * 600, ("see https://example.com/ " + "x " * 600)[:1000], "length"),
        ([1, 2, 3], [1, 2, 3], None),
        (["x" * 400] * 4, ["x" * 400] * 2, "elements"),
        (["é" * 200] * 4, ["é" * 200] * 2, "elements"),
        ([{"id": "p" * 90}] * 40, [{"id": "p" * 90}] * 9, "elements"),
        ({"a": {"b": [1, None, True]}}, {"a": {"b": [1, None, True]}}, None),
        ([1, math.nan, 2], [1, 2], "number"),
        ({"a": math.inf, "b": 1}, {"b": 1}, "number"),
        ("bad \ud800 half", "bad ? half", "text"),
        (0, 0, None),
        (False, False, None),
        ("", "", None),
        (None, None, None),
        (2**64 - 1, 2**64 - 1, None),
        (-(2**63), -(2**63), None),
        (1.5, 1.5, None),
        ({"a.b": 1}, {"a_b": 1}, "renamed"),
        ({"a.b": 1, "a_b": 2}, {"a_b": 2}, "collision"),
    ],
)
def test_keeps_what_it_can(value: Any, kept: Any, reason: str | None) -> None:
    """As much of a value stays as the limit allows."""
    fitted, cuts = fit_attributes({"a": value})
    assert fitted == {"a": kept}
    assert type(fitted["a"]) is type(kept)
    assert cuts == (() if reason is None else (Cut("a", reason),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("a", LONG_LINK, "url"),
        ("a", " HTTPS://example.com/" + "é" * 600, "url"),
        ("a", "www.example.com/" + "a" * 1000, "url"),
        ("a", "data:image/png;base64," + "A" * 1000, "url"),
        ("a", math.nan, "number"),
        ("a", -math.inf, "number"),
        ("a", 2**64, "number"),
        ("a", object(), "type"),
        ("a", b"bytes", "type"),
        ("a", {"k": "x" * 1000}, "nested"),
        ("a", ["x" * 1000], "nested"),
        ("", 1, "name"),
        ("n" * 151, 1, "name"),
        ("é" * 76, 1, "name"),
        *((name, "x", "reserved") for name in sorted(RESERVED_ATTRIBUTES)),
        *((name, "x", "reserved") for name in ("_last_emailed", "cio_anything", " Recipient ", "UNSUBSCRIBED", "_")),
    ],
)
def test_leaves_out_what_cannot_go(name: str, value: Any, reason: str) -> None:
    """What cannot be sent whole or in part is left out, alone, and named."""
    fitted, cuts = fit_attributes({name: value, "other": 1})
    assert fitted == {"other": 1}
    assert cuts == (Cut(name, reason),)  # type: ignore[arg-type]


def test_leaves_out_what_is_too_deep() -> None:
    """Nesting beyond the limit is left out at that depth instead of exhausting the stack."""
    fitted, cuts = fit_attributes({"a": nested(2000)})
    assert cuts == (Cut("a", "depth"),)
    assert fitted == {"a": nested(DEPTH_MAX - 1)}


def test_an_own_name_wins_over_a_renamed_one() -> None:
    """`a.b` never takes the place of an attribute that is really called `a_b`, in either order."""
    for attributes in ({"a.b": 1, "a_b": 2}, {"a_b": 2, "a.b": 1}):
        assert fit_attributes(attributes) == ({"a_b": 2}, (Cut("a.b", "collision"),))


def test_a_dot_cannot_smuggle_a_reserved_name() -> None:
    """A name that would become reserved by renaming is left out."""
    assert fit_attributes({"reply.to": "x", "from.address": "x"})[0] == {}


def test_keeps_the_first_three_hundred() -> None:
    """Attributes above the count limit are left out from the end and named."""
    fitted, cuts = fit_attributes({f"n{i}": i for i in range(302)})
    assert list(fitted) == [f"n{i}" for i in range(300)]
    assert cuts == (Cut("n300", "count"), Cut("n301", "count"))


def test_does_not_modify_its_input() -> None:
    """The caller's attributes are as before."""
    given_attributes = {"a.b": [math.nan], "recipient": "x", "long": "x" * 2000}
    before = repr(given_attributes)
    fit_attributes(given_attributes)
    assert repr(given_attributes) == before


def test_a_name_that_is_no_text() -> None:
    """JSON has no such name, at any depth: the member goes, and the cut says so."""
    odd: dict[Any, Any] = {7: "x", "plan": {1: "a", "b": "c"}}
    assert fit_attributes(odd) == ({"plan": {"b": "c"}}, (Cut("7", "type"), Cut("plan", "type")))
