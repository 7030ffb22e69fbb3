"""Finds libraries that do not run as the machine code that was locked and tested, and what that costs.

Where a platform has no wheel of them (docs/install.md), or a variable switches it off, some libraries put Python in the
place of their compiled parts without a message. Everything still works, so only this shows it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

from pipeline import logs
from pipeline.settings import Stage

REMEDY: Final = "install the wheels of the lock, on a platform that has them (docs/install.md)"

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A library with compiled parts.

    Attributes:
        name: as the lock has it.
        stages: which run it.
        runs: the name of the module that does the work in this process; raises where there is none.
        costs: what it means that the module is no machine code.
        switch: the variable by which the library leaves its compiled parts out.
    """

    name: str
    stages: frozenset[Stage]
    runs: Callable[[], str]
    costs: str
    switch: str | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether machine code does the work."""
        try:
            return _is_extension(self.runs())
        except (ImportError, AttributeError):
            return False

    def remedy(self, environ: Mapping[str, str] = os.environ) -> str:
        """What to do about it."""
        return f"unset {self.switch}" if self.switch is not None and environ.get(self.switch) else REMEDY


def _is_extension(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return file.endswith(tuple(EXTENSION_SUFFIXES))


def _of(module: str, attribute: str) -> Callable[[], str]:
    """Where the class comes from that `module` has under that name."""

    def found() -> str:
        return str(getattr(importlib.import_module(module), attribute).__module__)

    return found


def _inside(library: str, module: str) -> Callable[[], str]:
    """The module of the library that is imported with it."""

    def found() -> str:
        importlib.import_module(library)
        return f"{library}.{module}"

    return found


EVERY: Final[frozenset[Stage]] = frozenset({"ingest", "transform", "sink"})
WORKERS: Final[frozenset[Stage]] = EVERY - {"ingest"}
NO_OTHER: Final = "it is not there as machine code, and there is no other form of it"

PARTS: Final = (
    Part(
        "aiokafka", EVERY, _of("aiokafka.record.default_records", "DefaultRecordBatch"),
        # 1.5 kB a record in batches of 500, CPython 3.11 on x86-64, process time, both forms side by side.
        "Python packs and unpacks records and computes their checksums: 0.23 ms a record instead of 1.5 µs",
        "AIOKAFKA_NO_EXTENSIONS",
    ),
    Part(
        "faust-streaming", WORKERS, _of("faust.streams", "_CStreamIterator"),
        # Its iterator acknowledges what it skips; our topics are none that Faust acknowledges for (`BatchApp.topic`).
        "Faust's other iterator hands chunks to the stage: nothing is lost by it, and it is not what most tests run on",
        "NO_CYTHON",
    ),
    Part("orjson", EVERY, _inside("orjson", "orjson"), NO_OTHER),
    Part("httptools", EVERY, _of("httptools", "HttpRequestParser"), NO_OTHER),
    Part("uvloop", EVERY, _inside("uvloop", "loop"), NO_OTHER),
    Part(
        "lmdb", frozenset({"transform"}), _inside("lmdb", "cpython"),
        "its form for other Pythons (CFFI) reads and writes the customers' state, which nobody has tested",
        "LMDB_FORCE_CFFI",
    ),
)  # fmt: skip
"""Those on the way of a record. cramjam and pydantic have no other form: without theirs an import fails."""


def replaced(stages: Iterable[Stage] = EVERY) -> list[Part]:
    """The parts of these stages that do not run as machine code; imports them."""
    wanted = frozenset(stages)
    return [part for part in PARTS if part.stages & wanted and not part.is_compiled]


def check_compiled(stage: Stage) -> None:
    """Say in one line which compiled parts `stage` runs without, what that costs and what to do."""
    if not (missing := replaced([stage])):
        return
    log.warning(
        "Libraries run without their compiled parts",
        parts={part.name: part.costs for part in missing},
        remedy="; ".join(dict.fromkeys(part.remedy() for part in missing)),
    )
