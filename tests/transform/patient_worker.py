"""A transform that waits for Dodo's answer for as long as it takes: `python patient_worker.py`.

The process is the real worker. Its patience with an answer, seconds, is made longer from outside, so that a test that
holds the answer back decides when the wait ends, and no clock does.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import httpx

from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.transform import resolver
from pipeline.transform.parked import Answer, Chunk, Parked
from pipeline.transform.worker import create_app

LONG_S: Final = 600.0


def main() -> int:
    """Run like any worker."""
    park = Parked.park

    def patiently(self: Any, chunk: Chunk, answer: Answer) -> None:
        chunk.patience_s = LONG_S
        park(self, chunk, answer)

    Parked.park = patiently  # type: ignore[method-assign]
    resolver.Resolver.__init__.__kwdefaults__["slow_s"] = LONG_S  # type: ignore[index]
    resolver.TIMEOUTS = httpx.Timeout(LONG_S)  # type: ignore[misc]
    resolver.ANSWER_S = LONG_S  # type: ignore[misc]
    settings = Settings.load()
    return run_worker(create_app(settings), settings)


if __name__ == "__main__":
    sys.exit(main())
