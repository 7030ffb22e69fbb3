"""Judges an ingest's liveness: pure functions of the results of its attempts to store, and the time that passed.

A process that answers probes is not yet one that can do its work. What it can do shows in its stores: it is alive when
one succeeded, and when none can succeed anywhere.

- A record that was stored, and a broker that answers an idle process, are proof of life.
- Kafka that is away, has no leader, too few replicas, or does not take this user's records, is no fault of this
  process. A restart cures none of it, and takes the last ones that answer 503 in time.
- Everything else is this process's own: a file of its certificates is gone, its password is not the one that it was, a
  bug. The next process may have better luck, with its secrets mounted anew, and one that fails at its start is seen at
  once. So when for `PATIENCE_S` nothing else came of any attempt, the process is not live.

Attempts are stores, attempts to get another producer (they go on without traffic), and the questions of an idle one.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aiokafka.errors import AuthenticationFailedError, KafkaError, ProducerClosed

from pipeline.errors import BrokerUnreachableError
from pipeline.watch.pulse import MAX_STEP_S, PATIENCE_S
from pipeline.watch.vitals import Verdict

OWN: Final = (AuthenticationFailedError, ProducerClosed, ssl.SSLError)
"""Kafka's errors, or the network's, of which Kafka is not the reason."""


class Came(Enum):
    """What came of an attempt."""

    STORED = auto()
    KAFKA_REFUSED = auto()
    """Or did not answer. Another process would fare the same."""
    PROCESS_FAILED = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """Seconds for which each attempt failed in this process, and why the last one did; `at` is monotonic."""

    at: float
    failing_s: float | None = None
    reason: str = ""


def cause_of(error: BaseException) -> Came:
    """Whose fault a failed attempt is."""
    match error:
        case BrokerUnreachableError():
            return Came.KAFKA_REFUSED if error.may_pass else Came.PROCESS_FAILED
        case _ if isinstance(error, OWN):
            return Came.PROCESS_FAILED
        case KafkaError() | ConnectionError() | TimeoutError():
            return Came.KAFKA_REFUSED
        case _:
            return Came.PROCESS_FAILED


def attempted(standing: Standing, came: Came, now: float, reason: str = "") -> Standing:
    """The standing after one more attempt. Time in which nobody attempted anything (a frozen process) counts little."""
    if came is not Came.PROCESS_FAILED:
        return Standing(at=now)
    step_s = min(max(now - standing.at, 0.0), MAX_STEP_S)
    failing_s = 0.0 if standing.failing_s is None else standing.failing_s + step_s
    return Standing(at=now, failing_s=failing_s, reason=reason)


def live(standing: Standing, patience_s: float = PATIENCE_S) -> Verdict:
    """Whether the process is worth keeping; a restart is the cure for a no."""
    if standing.failing_s is None:
        return Verdict(ok=True, reason="the event loop runs, and nothing in this process hinders a store")
    said = f"for {standing.failing_s:.0f} s every attempt to store failed in this process: {standing.reason}"
    return Verdict(ok=standing.failing_s <= patience_s, reason=said)
