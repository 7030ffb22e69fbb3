"""A sink that waits for answers, and hands over, for as long as it takes: `python patient_worker.py`.

The process is the real worker. Its patience is made longer from outside, where a test says that nothing is sent twice:
a request that a busy machine answers too late is sent again, and what a hand-over cannot wait for the heir sends again.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from pipeline.customerio.timeouts import Timeouts
from pipeline.kafka.worker import app, handover, options, process, transport
from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.sink import connection
from pipeline.sink.worker import create_app

LONG_S: Final = 120.0


REBALANCE_S: Final = 2 * LONG_S + 30
"""Above the grace and the commit together."""


def _patient(close_s: float) -> Timeouts:
    """As long for each phase."""
    return Timeouts(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S, LONG_S, close_s)


PATIENCE: Final[tuple[tuple[Any, str, Any], ...]] = (
    (connection, "Timeouts", _patient),
    (app, "GRACE_S", LONG_S),
    (app, "COMMIT_S", LONG_S),
    (handover, "COMMIT_S", LONG_S),
    (transport, "COMMIT_S", LONG_S),
    (options, "REBALANCE_S", REBALANCE_S),
    (options, "REQUEST_S", REBALANCE_S + 30),
    (process, "STOP_WITHIN_S", 2 * REBALANCE_S),
)


def main() -> int:
    """Run like any worker."""
    for module, name, value in PATIENCE:
        assert hasattr(module, name)
        setattr(module, name, value)
    settings = Settings.load()
    return run_worker(create_app(settings), settings)


if __name__ == "__main__":
    sys.exit(main())
