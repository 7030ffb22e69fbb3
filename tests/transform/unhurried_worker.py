"""A transform whose hand-over may take ten minutes: `python unhurried_worker.py`.

The process is the real worker. Its grace for what is in flight is made longer from outside, so that a test in which
nothing can end sees whether the worker waits for the grace, and no clock decides.
"""

from __future__ import annotations

import sys
from typing import Final

from pipeline.kafka.worker import app
from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.transform.worker import create_app

LONG_S: Final = 600.0


def main() -> int:
    """Run like any worker."""
    app.GRACE_S = LONG_S  # type: ignore[attr-defined]
    settings = Settings.load()
    return run_worker(create_app(settings), settings)


if __name__ == "__main__":
    sys.exit(main())
