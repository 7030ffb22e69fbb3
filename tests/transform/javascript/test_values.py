"""Whatever JSON holds goes through a recipe unharmed, and its dates are Python's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.transform.javascript.engine import Call, Engine, Sent
from pipeline.transform.javascript.recipes import Recipe

DATA = Path(__file__).parents[2] / "data"

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
"""Those that the language holds exactly; it writes a larger one with zeros for the digits that it has not."""

JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1))  # noqa: DTZ001 - its parts are what is tested


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in a zone with summer time."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Echo:
    """A recipe that returns an expression of its payload `p`; one engine for all examples."""

    def __init__(self, expression: str) -> None:
        text = (
            f"function handler(webhook) {{ const p = webhook.payload; return {{action: 'a', value: {expression}}}; }}"
        )
        self._engine = Engine([Recipe("echo.js", text)])

    def __call__(self, payload: Any) -> Any:
        """What it says of the payload."""
        answer = self._engine.run(0, Call("a", json.dumps(payload, ensure_ascii=False), 0, "msg_1"))
        assert isinstance(answer, Sent)
        return answer.payloads[0]["value"]


ECHO = Echo("p.value")
PARTS = Echo("new Date(p.y, p.mo - 1, p.d, p.h, p.mi, p.s, p.ms).getTime()")
READ = Echo("[Date.parse(p.text), new Date(p.text).getTime()].map(ms => (ms === ms ? ms : null))")
SHOWN = Echo(
    "(d => [d.toISOString(), d.getFullYear(), d.getMonth() + 1, d.getDate(), d.getDay(), d.getHours(), d.getMinutes(),"
    " d.getSeconds(), d.getMilliseconds(), d.toString()])(new Date(p.ms))"
)


@given(JSON)
def test_json_goes_in_and_comes_out_as_it_is(value: Any) -> None:
    """Any text, number, nesting and name, JavaScript's own names among them."""
    assert ECHO({"value": value}) == value


@given(MOMENTS)
def test_a_date_of_parts_is_that_moment_in_utc(moment: datetime) -> None:
    """Also in the hours that summer time skips or repeats where the worker runs."""
    parts = {"y": moment.year, "mo": moment.month, "d": moment.day, "h": moment.hour, "mi": moment.minute}
    parts |= {"s": moment.second, "ms": moment.microsecond // 1000}
    assert PARTS(parts) == unix_ms(moment.replace(tzinfo=UTC))


SKIPPED = datetime(2026, 3, 8, 2, 30)  # noqa: DTZ001 - its parts are what is tested
"""An hour that the machine's zone has not."""

REPEATED = datetime(2026, 11, 1, 1, 30)  # noqa: DTZ001
"""An hour that it has twice."""


@example(SKIPPED, None)
@example(REPEATED, None)
@given(MOMENTS, st.none() | st.integers(-12 * 60, 14 * 60))
def test_a_date_of_text_is_pythons(moment: datetime, offset_min: int | None) -> None:
    """With an offset that moment, without one that moment in UTC."""
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    zone = UTC if offset_min is None else timezone(timedelta(minutes=offset_min))
    text = moment.isoformat(timespec="milliseconds")
    if offset_min is not None:
        text = moment.replace(tzinfo=zone).isoformat(timespec="milliseconds")
    assert READ({"text": text}) == [unix_ms(moment.replace(tzinfo=zone))] * 2


@pytest.mark.parametrize("moment", [SKIPPED, REPEATED, datetime(2026, 7, 1, 23, 59)])  # noqa: DTZ001
@pytest.mark.parametrize("form", ["%b %d, %Y %H:%M:%S", "%a %b %d %Y %H:%M:%S", "%d %b %Y %H:%M", "%Y-%m-%d %H:%M:%S"])
def test_a_date_of_any_other_text_is_in_utc(moment: datetime, form: str) -> None:
    """The forms that people write, also in the hours that summer time skips or repeats."""
    text = moment.strftime(form)
    assert READ({"text": text}) == [unix_ms(moment.replace(tzinfo=UTC))] * 2


V8 = json.loads((DATA / "javascript" / "dates.json").read_text(encoding="utf-8"))
"""What Node.js 20.20 with TZ=UTC makes of texts: unix ms, None for no date."""


def test_a_date_text_is_read_as_the_dashboard_reads_it() -> None:
    """Every form that its engine takes, with its day first or last, its time zones, and what is no date there."""
    found = {text: READ({"text": text}) for text in V8}
    assert {text: [value, value] for text, value in V8.items()} == found


@pytest.mark.parametrize("year", [2026, 1999, 70, -1])
def test_the_years_of_the_first_javascript_are_utcs(year: int) -> None:
    """`getYear` counts from 1900, `setYear` takes two digits, at the turn of a year that is another one elsewhere."""
    assert OLD_YEARS({"year": year}) == [2026 - 1900, (1900 if 0 <= year <= 99 else 0) + year]


OLD_YEARS = Echo(
    "[new Date(2026, 0, 1).getYear(), (d => (d.setYear(p.year), d.getUTCFullYear()))(new Date(2026, 0, 1))]"
)


@given(MOMENTS)
def test_a_date_shows_itself_in_utc(moment: datetime) -> None:
    """Every getter, and its text."""
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    assert SHOWN({"ms": unix_ms(moment)}) == [
        moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
        moment.year, moment.month, moment.day, moment.isoweekday() % 7, moment.hour, moment.minute, moment.second,
        moment.microsecond // 1000,
        moment.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"),
    ]  # fmt: skip


def unix_ms(moment: datetime) -> int:
    """Unix milliseconds, without the rounding of floats."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
