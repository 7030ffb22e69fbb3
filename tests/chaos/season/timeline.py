"""A season as a picture: faults by kind over the time, and below them what waited and what was accepted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from tests.chaos.season.catalogue import KINDS

WIDTH, LEFT, RIGHT, TOP = 1200, 190, 20, 40
ROW, CHART, SPACE = 18, 120, 34
COLOURS: Final[Mapping[str, str]] = {
    "worker": "#d9534f",
    "broker": "#f0ad4e",
    "customerio": "#5b8def",
    "operator": "#8e6bbf",
    "transform": "#8a6d3b",
    "sink": "#2c7a7b",
    "accepted": "#4c9a4c",
}
FONT: Final = 'font-family="sans-serif" font-size="12"'
TICKS: Final = 8


def picture(digest: Mapping[str, Any]) -> str:
    """An SVG, readable on light and dark pages."""
    names = [kind.name for kind in KINDS if kind.name in digest["kinds"]]
    rows = TOP + ROW * len(names)
    height = rows + 2 * (CHART + SPACE) + SPACE
    body = [
        *_rows(digest, names),
        *_chart(
            digest,
            rows + SPACE,
            "records that wait",
            [("transform", digest["lag"]["transform"]), ("sink", digest["lag"]["sink"])],
        ),
        *_chart(digest, rows + 2 * SPACE + CHART, "operations accepted a second", [("accepted", digest["accepted"])]),
        *_axis(digest, height - SPACE + 14),
    ]
    title = (
        f"seed {digest['seed']}: {len(digest['faults'])} faults, {digest['webhooks']:,} webhooks, "
        f"{digest['operations']:,} operations accepted, {len(digest['violations'])} violations"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="22" font-size="14" fill="#222222">{escape(title)}</text>',
            *body,
            "</svg>",
            "",
        ]
    )


def _x(digest: Mapping[str, Any], at_s: float) -> float:
    share: float = at_s / digest["seconds"]
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0), 1)


def _rows(digest: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    realms = {kind.name: kind.realm for kind in KINDS}
    for number, name in enumerate(names):
        y = TOP + ROW * number
        if number % 2 == 0:
            yield f'<rect x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{ROW}" fill="#f5f5f5"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#222222">{escape(name)}</text>'
        for fault, began_s, ended_s in digest["faults"]:
            if fault == name:
                x = _x(digest, began_s)
                width = max(_x(digest, ended_s) - x, 2)
                box = f'x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}"'
                yield f'<rect {box} fill="{COLOURS[realms[name]]}" opacity="0.85"/>'


def _chart(
    digest: Mapping[str, Any], y: int, what: str, curves: Sequence[tuple[str, Sequence[float | None]]]
) -> Iterator[str]:
    most = nice(max((value or 0 for _, curve in curves for value in curve), default=0))
    yield f'<text x="{LEFT}" y="{y - 6}" fill="#222222">{escape(what)}</text>'
    for share in (0, 0.5, 1):
        line = y + CHART * (1 - share)
        yield f'<line x1="{LEFT}" y1="{line}" x2="{WIDTH - RIGHT}" y2="{line}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 8}" y="{line + 4}" text-anchor="end" fill="#555555">{most * share:,.0f}</text>'
    for number, (name, curve) in enumerate(curves):
        x = WIDTH - RIGHT - 90 * (len(curves) - number)
        if len(curves) > 1:
            yield f'<rect x="{x}" y="{y - 15}" width="10" height="10" fill="{COLOURS[name]}"/>'
            yield f'<text x="{x + 14}" y="{y - 6}" fill="#222222">{name}</text>'
        for points in _pieces(digest, y, most, curve):
            yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.3"/>'


def _pieces(digest: Mapping[str, Any], y: int, most: float, curve: Sequence[float | None]) -> Iterator[str]:
    """The curve, with a gap where nobody could tell."""
    piece: list[str] = []
    for step, value in enumerate([*curve, None]):
        if value is None:
            if len(piece) > 1:
                yield " ".join(piece)
            piece = []
        else:
            piece.append(f"{_x(digest, (step + 0.5) * digest['step_s']):.1f},{y + CHART * (1 - value / most):.1f}")


def _axis(digest: Mapping[str, Any], y: int) -> Iterator[str]:
    step_s = nice(digest["seconds"] / TICKS)
    for number in range(int(digest["seconds"] / step_s) + 1):
        at_s = number * step_s
        yield f'<text x="{_x(digest, at_s):.1f}" y="{y}" text-anchor="middle" fill="#555555">{at_s:,.0f} s</text>'


def nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from it upwards; 1 at least."""
    if value <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)
