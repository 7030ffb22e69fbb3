"""Figures of this project beside something simpler, or beside its peers, in the same run."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import json
import logging
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table

from pipeline.errors import PipelineError
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.distribution import DEFAULT_VERSION
from pipeline.version import is_compiled
from tests.bench import bento, stage
from tests.bench.figures import Figure
from tests.bench.machine import Others
from tests.bench.plan import Run, Sizes
from tests.bench.transform import CONTENDERS

HEAP_MB: Final = 1024
OTHERS: Final = "taken of the machine by others"
OTHERS_BOUND: Final = 5.0
"""Percent. With more, figures compare little: the kernel favours whoever has more threads."""

INTERRUPTED: Final = 130
"""What a shell reports of a program that Ctrl-C ended (128 + SIGINT)."""

BENCHMARKS: Final = (
    "transform", "decision", "shapes", "scale", "state", "rules", "recipes", "restore", "rolling", "batcher", "lanes",
    "client", "latency", "throughput", "letters", "ingest", "traces", "chain", "backlog",
)  # fmt: skip
"""Modules of this package, in the order in which they run."""

GROUPS: Final = {"sink": ("batcher", "lanes", "client", "latency", "throughput", "letters")}

EXAMPLES: Final = """\
examples:
  make bench B='transform --short'
  make bench B='transform --contenders ours,aiokafka,confluent --rounds 5'
  make bench B='transform --contenders ours-state,confluent-state,previous-state --previous v0.1.0'
  make bench B='sink ingest --json figures.json'
  BENTO=/path/to/bento make bench B='transform throughput chain'
  make bench B='backlog --backlog 200000'"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when every figure with a bound is within it, else 1."""
    names, asked, sizes = _asked(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a topic just made has no leader yet; it is asked again
    talk = Console(stderr=True, log_path=False)
    figures: list[Figure] = []
    loads: dict[str, list[float]] = {}
    # A supervisor's SIGTERM must clean up like Ctrl-C, which a shell's background job ignores unless told otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        for name in names:
            before = os.getloadavg()[0]
            began = time.monotonic()
            talk.print(f"[bold]{name}[/] …", highlight=False)
            try:
                found = _run(name, sizes, asked, talk)
            except PipelineError:
                raise
            except Exception:  # noqa: BLE001 - the other parts can still be measured
                talk.print_exception()
                found = [Figure(name, "failed", 1, "", at_most=0)]
            figures += found
            loads[name] = [before, os.getloadavg()[0]]
            talk.print(f"{name} took {time.monotonic() - began:.0f} s", highlight=False)
            if asked.json:  # after each: a long run that breaks keeps what it has
                asked.json.write_text(_document(figures, loads, sizes), encoding="utf-8")
    except KeyboardInterrupt:
        talk.print("Interrupted; everything that was started is stopped.")
        return INTERRUPTED
    except PipelineError as error:
        talk.print(str(error), highlight=False, markup=False)
        return error.exit_code
    finally:
        if figures:
            _show(figures, loads)
    return int(any(one.is_within is False for one in figures))


def _asked(arguments: Sequence[str] | None) -> tuple[list[str], argparse.Namespace, Sizes]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=f"{_summaries()}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run; everything without any")
    parser.add_argument("--short", action="store_true", help="small sizes, one round: to try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and the machine there as well")
    parser.add_argument(
        "--contenders",
        type=_contenders,
        default=(),
        metavar="A,B",
        help=f"of transform: some of {', '.join(CONTENDERS)}",
    )
    parser.add_argument(
        "--previous", metavar="COMMIT", help="of transform: the project as it was there runs beside it as it is"
    )
    sizes = parser.add_argument_group("sizes", "defaults in parentheses: the full run, the short one")
    full, short = Sizes(), Sizes.short()
    for one in dataclasses.fields(Sizes):
        kind = type(getattr(full, one.name))
        values = f"({getattr(full, one.name):,g}, {getattr(short, one.name):,g})"
        sizes.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=_positive(kind),
            metavar="N",
            help=f"{one.metadata['help']} {values}",
        )
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(BENCHMARKS) - set(GROUPS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = list(dict.fromkeys(part for name in asked.names or BENCHMARKS for part in GROUPS.get(name, (name,))))
    if asked.previous is None and any(CONTENDERS[name].is_previous for name in asked.contenders):
        parser.error("which commit was the previous one is told by --previous COMMIT")
    try:
        if bento.program() is None and "bento" in asked.contenders:
            parser.error("where Bento is, is told by BENTO=/path/to/bento")
    except FileNotFoundError as error:
        parser.error(str(error))
    if "transform" in names and not stage.PEERS.exists() and _need_peers(asked.contenders):
        parser.error(
            "the peers are not installed in .venv-bench: make bench does it, or name --contenders without them"
        )
    given = {one.name: value for one in dataclasses.fields(Sizes) if (value := getattr(asked, one.name)) is not None}
    return names, asked, dataclasses.replace(short if asked.short else full, **given)


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        value = kind(text.replace("_", ""))
        if value <= 0:
            raise argparse.ArgumentTypeError("must be above 0")
        return value

    parse.__name__ = "positive number"  # for argparse's message
    return parse


def _contenders(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"no such contender: {', '.join(sorted(unknown))}")
    return names


def _need_peers(contenders: Iterable[str]) -> bool:
    return any(CONTENDERS[name].foreign for name in contenders or CONTENDERS)


def _summaries() -> str:
    lines = [f"  {name:<11} {(_module(name).__doc__ or '').partition(chr(10))[0]}" for name in BENCHMARKS]
    groups = [f"  {name:<11} {', '.join(parts)}" for name, parts in GROUPS.items()]
    return "\n".join(("benchmarks:", *lines, *groups))


def _module(name: str) -> Any:
    return importlib.import_module(f"tests.bench.{name}")


def _run(name: str, sizes: Sizes, asked: argparse.Namespace, talk: Console) -> list[Figure]:
    """One benchmark, with a broker of its own at full speed."""

    def say(text: str) -> None:
        talk.log(text) if talk.is_terminal else talk.print(text, highlight=False, markup=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="bench-") as where:
        directory = Path(where)
        with LocalKafka.start(directory / "kafka", heap_mb=HEAP_MB, full_jit=True) as broker:
            run = Run(broker, directory, sizes, say, asked.contenders, asked.previous)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                others = Others()
                found: list[Figure] = runner.run(_module(name).measure(run))
                return [*found, Figure(name, OTHERS, others.percent(), "%", at_most=OTHERS_BOUND)]


def _show(figures: Sequence[Figure], loads: dict[str, list[float]]) -> None:
    load = ", ".join(f"{name} {before:.1f} and {after:.1f}" for name, (before, after) in loads.items())
    table = Table(
        "benchmark", "figure", "value", "of rounds", "bound", "",
        title=_machine(), caption=f"load average before and after: {load}",
    )  # fmt: skip
    for one in figures:
        table.add_row(one.benchmark, one.name, one.value_text, one.spread_text, one.bound_text, one.verdict)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def _machine() -> str:
    build = "compiled" if is_compiled() else "not compiled"
    python = f"Python {platform.python_version()} ({build})"
    return f"{os.cpu_count()} cores {_processor()}, {python}, Apache Kafka {DEFAULT_VERSION}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _document(figures: Sequence[Figure], loads: dict[str, list[float]], sizes: Sizes) -> str:
    document = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "python": platform.python_version(),
            "compiled": is_compiled(),
            "kafka": DEFAULT_VERSION,
            "load_average_before_and_after": loads,
        },
        "versions": {name: version(name) for name in ("aiokafka", "faust-streaming", "httpx", "orjson", "uvloop")},
        "sizes": dataclasses.asdict(sizes),
        "figures": [one.as_json() for one in figures],
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
