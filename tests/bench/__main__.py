"""`python -m tests.bench [names] [--json FILE]`: run the benchmarks, show a table, write what was measured."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from pipeline.kafka.local import LocalKafka
from tests.bench import batcher, latency, restore, state, throughput
from tests.bench.figures import Figure

HEAP_MB: Final = 1024


def on_kafka(measure: Callable[[LocalKafka, Path], object]) -> Callable[[], list[Figure]]:
    """The benchmark with a broker of its own, at full speed."""

    def run() -> list[Figure]:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            directory = Path(name)
            with LocalKafka.start(directory / "kafka", heap_mb=HEAP_MB, full_jit=True) as broker:
                return uvloop.run(measure(broker, directory))  # type: ignore[arg-type]

    return run


BENCHMARKS: Final[dict[str, Callable[[], list[Figure]]]] = {
    "batcher": batcher.measure,
    "latency": on_kafka(latency.measure),
    "restore": on_kafka(restore.measure),
    "state": on_kafka(state.measure),
    "throughput": on_kafka(throughput.measure),
}


def main() -> int:
    """Run what was asked for; 0 when every figure with a bound is within it, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(BENCHMARKS)}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    figures = [figure for name in asked.names or BENCHMARKS for figure in BENCHMARKS[name]()]
    table = Table("benchmark", "figure", "value", "bound", "", title=f"{os.cpu_count()} cores, {platform.machine()}")
    for one in figures:
        table.add_row(one.benchmark, one.name, f"{one.value:,.2f} {one.unit}", one.bound_text, one.verdict)
    Console().print(table)
    if asked.json:
        asked.json.write_text(json.dumps([one.as_json() for one in figures], indent=2) + "\n", encoding="utf-8")
    return int(any(one.is_within is False for one in figures))


if __name__ == "__main__":
    sys.exit(main())
