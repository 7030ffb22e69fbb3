"""Statements: what is written is read, and nothing else is believed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.statements import MAX_BYTES, MAX_GRANTS, Grant, Statement, parse

NAMES = st.text("0123456789abcdef", min_size=16, max_size=16)
RATES = st.integers(0, 1_000_000).map(lambda thousandths: thousandths / 1000)

STATEMENTS = st.builds(
    Statement,
    generation=st.integers(1, 2**31 - 1),
    member=NAMES,
    ticket=st.none() | st.integers(1, 2**53),
    grants=st.dictionaries(NAMES, st.builds(Grant, RATES, st.integers(1, 2**53)), max_size=MAX_GRANTS),
)


@given(STATEMENTS)
def test_read_back(statement: Statement) -> None:
    """A statement survives its text, which is short enough for every broker's default."""
    text = statement.render()
    assert parse(text) == statement
    assert len(text.encode()) <= MAX_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "somebody's own metadata",
        "{}",
        "[]",
        '{"dodo-cio-budget":1}',
        '{"dodo-cio-budget":2,"generation":3,"member":"a"}',
        '{"dodo-cio-budget":1,"generation":true,"member":"a"}',
        '{"dodo-cio-budget":1,"generation":3,"member":7}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","ticket":1.5}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","ticket":"1"}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","grants":[1]}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","grants":{"b":[1]}}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","grants":{"b":[-1,1]}}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","grants":{"b":["9",1]}}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a","grants":{"b":[1e999,1]}}',
        '{"dodo-cio-budget":1,"generation":3,"member":"a"' + " " * MAX_BYTES + "}",
        '{"dodo-cio-budget":1,"generation":3,"member":"\ud800"}',
        '{"dodo-cio-budget":1,' + '"x":[' * 2000,
    ],
)
def test_anything_else_is_nothing(text: str) -> None:
    """Of another tool, of another version, damaged, or out of range."""
    assert parse(text) is None


@given(st.text() | st.text().map(lambda text: '{"dodo-cio-budget":1,' + text))
def test_no_text_is_too_strange(text: str) -> None:
    """Reading never raises."""
    assert parse(text) is None or "dodo-cio-budget" in text


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(ticket=JSON, grants=JSON)
def test_no_value_is_too_strange(ticket: Any, grants: Any) -> None:
    """Whatever lies where a number or a grant should, what is believed has the right form."""
    text = orjson.dumps(
        {"dodo-cio-budget": 1, "generation": 3, "member": "a", "ticket": ticket, "grants": grants}
    ).decode()
    if (statement := parse(text)) is not None:
        assert statement.ticket is None or type(statement.ticket) is int
        assert all(grant.per_second >= 0 and type(grant.ticket) is int for grant in statement.grants.values())
