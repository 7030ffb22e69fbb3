"""Log lines of the Kafka libraries made bearable: a flood is counted, a fault with a message has no traceback.

With the broker away, aiokafka writes about 70 errors a second for as long as it lasts, and mode prints the stack of
every crash, also of one that is an operator's mistake and says so itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from pipeline.errors import PipelineError

FLOODING: Final = ("aiokafka", "faust", "mode")
BURST: Final = 3
WINDOW_S: Final = 30.0
REPORTS: Final = ("Crashed reason=", "Drain messages raised")
"""What mode and Faust say of an error that ends the worker."""


class FloodGate(logging.Filter):
    """Lets the first `BURST` lines of a kind through in each `WINDOW_S`; the next window's first line says how many
    were left out. A kind is a logger and its unformatted message, so partitions and addresses do not multiply it."""  # noqa: D205, D209 - two sentences that belong together

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in FLOODING:
            return True
        kind = (record.name, record.msg)
        now = self._clock()
        begun, seen = self._windows.get(kind, (float("-inf"), 0))
        if now - begun < WINDOW_S:
            self._windows[kind] = (begun, seen + 1)
            return seen < BURST
        self._windows[kind] = (now, 1)
        if seen > BURST:
            record.msg = f"{record.msg} (and {seen - BURST} more like this)"
        return True


class PlainFaults(logging.Filter):
    """Leaves it to the worker to report one of our own errors, once and without a traceback: its message says what to
    do. mode logs each crash at every service that it passes."""  # noqa: D205, D209 - two sentences that belong together

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        told = (record.exc_info[1] if record.exc_info else None, *(record.args or ()))
        if any(isinstance(part, PipelineError) for part in told):
            record.exc_info = record.exc_text = None
            return not any(report in str(record.msg) for report in REPORTS)
        return True


def quieten() -> None:
    """Filter what the root logger's handlers write. Call it after logging was configured."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, FloodGate) for known in handler.filters):
            handler.addFilter(FloodGate())
            handler.addFilter(PlainFaults())
