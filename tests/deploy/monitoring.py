"""The files of docs/deploy/prometheus as the tests read them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

FILES: Final = Path(__file__).parents[2] / "docs" / "deploy" / "prometheus"

STANDARD: Final = frozenset({"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"})
"""Series that are not ours: Prometheus makes them, or its client library."""


def alerts() -> list[dict[str, Any]]:
    """Every rule that alerts."""
    return [rule for rule in rules() if "alert" in rule]


@functools.cache
def rules() -> list[dict[str, Any]]:
    """Every rule, in order; read once, for nobody to change."""
    document = yaml.safe_load((FILES / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


@functools.cache
def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something; likewise."""
    document = json.loads((FILES / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Every query of the dashboard, with Grafana's variables filled in."""
    for panel in panels():
        for target in panel["targets"]:
            yield filled(target["expr"])


def filled(expression: str) -> str:
    """A query as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$__range", "1h")


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The series that an expression reads: each name, with the labels that must be equal to something."""
    plain = re.sub(r'"(?:\\.|[^"\\])*"', lambda text: text[0], expression)
    plain = re.sub(r"\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", " ", plain)
    for name, matchers in re.findall(r"\b((?:dodo_cio|process)[\w:]*|up|ALERTS)\b(?:\{([^}]*)\})?", plain):
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', matchers))


def labels_of(expression: str) -> set[str]:
    """Every label by which an expression selects or groups."""
    grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    matched = re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(matched)
