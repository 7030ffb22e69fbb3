"""The table of a run: what became of the same records on stock Faust and on ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.chaos.stock_faust.catalogue import LOSSES

PLACES: Final = {
    "#": "https://github.com/faust-streaming/faust/issues/",
    "rh#": "https://github.com/robinhood/faust/issues/",
    "aiokafka#": "https://github.com/aio-libs/aiokafka/issues/",
}


def link(issue: str) -> str:
    """As Markdown."""
    place, _, number = issue.partition("#")
    return f"[{issue}]({PLACES[f'{place}#']}{number})"


def table(outcomes: Mapping[str, Mapping[str, str]]) -> str:
    """As Markdown: by scene, what `stock` and `ours` came to."""
    lines = ["| on stock Faust | what the scene does | with | stock | ours | upstream |", "|---|---|---|---|---|---|"]
    for name, loss in LOSSES.items():
        if name in outcomes:
            stock, ours = outcomes[name]["stock"], outcomes[name]["ours"]
            upstream = ", ".join(link(issue) for issue in loss.upstream) or "-"
            lines.append(f"| {loss.title} | {loss.done} | {loss.code} | {stock} | {ours} | {upstream} |")
    return "\n".join(lines) + "\n"


def plain(outcomes: Mapping[str, Mapping[str, str]]) -> str:
    """For a terminal."""
    lines = []
    for name, both in outcomes.items():
        lines += [f"{name}: {LOSSES[name].title}", f"  stock Faust: {both['stock']}", f"  ours:        {both['ours']}"]
    return "\n".join(lines)
