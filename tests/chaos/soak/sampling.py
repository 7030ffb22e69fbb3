"""What is looked at of each stage during a soak: its own series, and what the system says of its process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.replicas import Replica

MB: Final = 1024 * 1024


class Quantity(NamedTuple):
    """Something that is measured.

    Attributes:
        name: as the table has it.
        unit: of its figures.
        floor: by how much it may rise in a run of any length; None: it grows with what the shop sells, and is told.
    """

    name: str
    unit: str
    floor: float | None


QUANTITIES: Final = (
    Quantity("memory", "MB", 8),
    Quantity("descriptors", "", 8),
    Quantity("tasks", "", 8),
    Quantity("threads", "", 2),
    Quantity("event loop", "ms", 100),
    Quantity("mirrors", "MB", None),
)
"""Memory is the anonymous one (`RssAnon`): the mirrors' maps are pages of files, which the kernel takes back."""


async def sample(replica: Replica, http: httpx.AsyncClient) -> dict[str, float]:
    """All quantities of one process now, by name; a stage without mirrors has none."""
    answer = (await http.get(f"{replica.url}/metrics")).raise_for_status()
    status = of_system(replica.pid)
    return of_series(series(answer.text)) | {
        "memory": int(status["RssAnon"].split()[0]) / 1024,
        "threads": float(status["Threads"]),
    }


def of_system(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return dict(one.split(":", 1) for one in text.splitlines())


def series(exposition: str) -> Mapping[str, float]:
    """By name, the sum over its labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for one in family.samples:
            sums[one.name] = sums.get(one.name, 0.0) + one.value
    return sums


def of_series(found: Mapping[str, float]) -> dict[str, float]:
    """What the stage tells itself."""
    told = {
        "descriptors": found["process_open_fds"],
        "tasks": found["dodo_cio_event_loop_tasks"],
        "event loop": 1000 * found["dodo_cio_event_loop_lag_seconds"],
    }
    if "dodo_cio_mirror_bytes" in found:
        told["mirrors"] = found["dodo_cio_mirror_bytes"] / MB
    return told
