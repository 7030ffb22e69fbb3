"""The picture of a season: everything that happened is in it, where it happened."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.season.timeline import COLOURS, LEFT, RIGHT, WIDTH, nice, picture

SVG = "{http://www.w3.org/2000/svg}"
FAULTS: list[tuple[str, float, float]] = [
    ("worker killed", 10.0, 25.0),
    ("down", 50.0, 60.0),
    ("worker killed", 75.0, 75.0),
]
DIGEST: dict[str, Any] = {
    "seed": 7,
    "seconds": 100.0,
    "webhooks": 1000,
    "operations": 1500,
    "violations": [],
    "kinds": {"worker killed": 2, "down": 1},
    "step_s": 10.0,
    "accepted": [10.0, 0.0, 30.0],
    "lag": {"transform": [1, None, 3, 4], "sink": [5, 6, None, 7, 8]},
    "faults": FAULTS,
}


def drawn(digest: dict[str, Any]) -> ET.Element:
    """The picture, parsed."""
    return ET.fromstring(picture(digest))


def test_every_fault_is_where_it_happened() -> None:
    """A bar from its begin to its end in the colour of its realm, never too narrow to be seen."""
    bars = [one for one in drawn(DIGEST).iter(f"{SVG}rect") if one.get("opacity")]
    scale = (WIDTH - LEFT - RIGHT) / 100
    wanted = [(LEFT + began * scale, max((ended - began) * scale, 2)) for _, began, ended in FAULTS]
    assert sorted((float(bar.get("x", 0)), float(bar.get("width", 0))) for bar in bars) == sorted(wanted)
    assert sorted(bar.get("fill", "") for bar in bars) == sorted(
        [COLOURS["worker"], COLOURS["customerio"], COLOURS["worker"]]
    )


def test_what_is_unknown_is_a_gap() -> None:
    """No line is drawn through a time in which nobody could tell; a point alone is none."""
    lines = [one.get("points", "").split() for one in drawn(DIGEST).iter(f"{SVG}polyline")]
    assert sorted(map(len, lines)) == [2, 2, 2, 3]


def test_what_it_says() -> None:
    """The seed by which it can be had again, counts, and every kind of fault by name."""
    text = " ".join(one.text or "" for one in drawn(DIGEST).iter(f"{SVG}text"))
    assert "seed 7: 3 faults, 1,000 webhooks, 1,500 operations accepted, 0 violations" in text
    assert re.search("worker killed .*down .*records that wait", text)


def test_nothing_happened() -> None:
    """A season without traffic is a picture too."""
    empty = drawn({**DIGEST, "faults": [], "kinds": {}, "accepted": [], "lag": {"transform": [], "sink": []}})
    assert len(empty) > 0


@given(st.floats(0, 1e9))
def test_scales_are_round(value: float) -> None:
    """1, 2 or 5 and zeros, no smaller than the value, and at most two and a half times as much."""
    scale = nice(value)
    assert scale >= value
    assert scale <= max(1, 2.5 * value)
    assert re.fullmatch("[125]0*", f"{scale:.0f}")
