"""Log lines of the Kafka libraries made bearable: a flood is counted, a fault with a message has no traceback.

With the broker away, aiokafka writes about 70 errors a second for as long as it lasts, and mode prints the stack of
every crash, also of one that is an operator's mistake with a message of its own. `quieten` is for every process that
has a client: what clients log about an absent broker is one incident, which `outage` logs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotCoordinatorError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)

from pipeline.errors import PipelineError
from pipeline.kafka.outage import Outage, outage
from pipeline.kafka.reach import UNCONNECTED_LINE

FLOODING: Final = ("aiokafka", "faust", "mode")
BURST: Final = 3
WINDOW_S: Final = 30.0
REPORTS: Final = ("Crashed reason=", "Drain messages raised")
"""What mode and Faust log about an error that ends the worker."""

ENDINGS: Final = (
    "]: Stopping...",
    "]: Flush producer buffer...",
    "]: Gathering service tasks...",
    "]: Gathering all futures...",
    "]: Closing event loop",
)
"""mode's lines of an end, which have the service before them."""

ATTEMPTS: Final = frozenset(
    {
        UNCONNECTED_LINE,  # `outage` logs it once, right after it
        'Unable connect to "%s:%s": %s',
        'Unable to request metadata from "%s:%s": %s',
        "Unable to request metadata from node with id %s: %r",
        "Failed fetch messages from %s: %s",
        "Failed fetch offsets from %s: %s",
        "Group Coordinator Request failed: %s",
        "Heartbeat send request failed: %s. Will retry.",
        "Error sending %s to node %s [%s] -- marking coordinator dead",
        "Cannot send %r to %s: %r",
        "Could not send %r: %r",
        "Got error produce response: %s",
        "Got error produce response on topic-partition %s, retrying. Error: %s",
    }
)
"""aiokafka's lines for a request that it sends again by itself, with the error among the arguments."""

ROUTINE: Final = frozenset(
    {
        "Unable to update metadata from %s",
        "Heartbeat failed for group %s: coordinator (node %s) is either not started or not valid",
        "Marking the coordinator dead (node %s)for group %s.",
    }
)
"""Its lines that follow one of those, or report that a group's coordinator is another broker now."""

EXPIRED: Final = "Heartbeat session expired - marking coordinator dead"
"""Its line that adds nothing while brokers are away, and a moment after. A frozen one shows first in it."""

PASSING: Final = (
    OSError,  # TimeoutError is one
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    CoordinatorNotAvailableError,
    CoordinatorLoadInProgressError,
    NotCoordinatorError,
)
"""What a broker that comes, goes or hands over makes a client meet. Any other error of an attempt stays a line."""


class FloodGate(logging.Filter):
    """Lets the first `BURST` lines of a kind through in each `WINDOW_S`; the next window's first line has how many
    were left out. A kind is a logger and its unformatted message, so partitions and addresses do not multiply it.
    What the clients log of brokers that are away is left to `watch`, when they report to it."""  # noqa: D205, D209 - sentences that belong together

    def __init__(self, clock: Callable[[], float] = time.monotonic, watch: Outage = outage) -> None:
        super().__init__()
        self._clock = clock
        self._watch = watch
        self._windows: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in FLOODING:
            return True
        if self._watch.watched and self._is_of_outage(record):
            return False
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

    def _is_of_outage(self, record: logging.LogRecord) -> bool:
        if record.msg in ROUTINE or (record.msg == EXPIRED and self._watch.lately):
            self._watch.left_out()
            return True
        if record.msg in ATTEMPTS and isinstance(record.args, tuple):
            error = next(filter(_is_error, reversed(record.args)), None)
            if isinstance(error, PASSING) or (isinstance(error, type) and issubclass(error, PASSING)):
                told = str(error) or type(error).__name__
                self._watch.left_out(told if record.msg == UNCONNECTED_LINE else "")
                return True
        return False


def _is_error(argument: object) -> bool:
    """Some lines have the error itself, some its class."""
    return isinstance(argument, BaseException) or (isinstance(argument, type) and issubclass(argument, BaseException))


class PlainFaults(logging.Filter):
    """Takes the traceback from lines about one of our own errors, and drops mode's reports of it.

    mode logs each crash at every service that it passes; the worker logs it once, and the message has what to do.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        told = (record.exc_info[1] if record.exc_info else None, *(record.args or ()))
        if any(isinstance(part, PipelineError) for part in told):
            record.exc_info = record.exc_text = None
            return not any(report in str(record.msg) for report in REPORTS)
        return True


class Endings(logging.Filter):
    """Leaves out that each of two dozen services stops: what ended the process would stand far above."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        return record.levelno != logging.INFO or not record.getMessage().endswith(ENDINGS)


def quieten() -> None:
    """Filter what the root logger's handlers write. Call it after logging was configured."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, FloodGate) for known in handler.filters):
            handler.addFilter(FloodGate())
            handler.addFilter(PlainFaults())
            handler.addFilter(Endings())
