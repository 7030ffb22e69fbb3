"""What stock Faust loses, repeats or never ends: each by its scene, and what upstream has written of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Loss:
    """One of them.

    Attributes:
        title: as the table has it.
        done: what the scene does to both sides.
        code: how the stock worker consumes.
        upstream: issues and pull requests; `#` is faust-streaming/faust, `rh#` robinhood/faust, which went before it.
    """

    title: str
    done: str
    code: str
    upstream: tuple[str, ...] = ()


LOSSES: Final = {
    "exception": Loss(
        "an exception in the agent skips its record",
        "the agent raises at one of 200 records; then the worker is replaced by one without the bug",
        "`async for value in stream`",
        ("#315", "#189", "rh#604"),
    ),
    "supervisor": Loss(
        "so it does where the worker is to crash",
        "the same with `agent_supervisor=CrashingSupervisor`: the process ends with exit code 1",
        "`async for value in stream`",
        ("rh#75",),
    ),
    "take": Loss(
        "batches are taken and acknowledged while the agent is down",
        "the agent raises in its second batch of ten, and its handler of errors takes 3 s",
        "`stream.take(10, within=0.5)`",
    ),
    "by hand": Loss(
        "an exception skips what was to be acknowledged by hand",
        "the agent raises before it acknowledges one of 200 records, and goes on with the next",
        "`stream.noack().events()`, `stream.ack(event)`",
        ("#315", "#527", "rh#604"),
    ),
    "stop": Loss(
        "SIGTERM commits the record that is being worked on",
        "SIGTERM while one record is in flight, with `stream_wait_empty=False`",
        "`async for value in stream`",
    ),
    "stop in a batch": Loss(
        "SIGTERM commits the batch that is being worked on",
        "the same in the middle of a batch of ten",
        "`stream.take(10, within=0.5)`",
    ),
    "no end": Loss(
        "with the default `stream_wait_empty` SIGTERM has no end",
        "SIGTERM while one record waits for a system that does not answer; 30 s later somebody looks",
        "`async for value in stream`",
        ("rh#402", "#133"),
    ),
    "head": Loss(
        "the commit goes over a record that is not done",
        "two at a time: the first record hangs, the others are done; then SIGKILL",
        "`concurrency=2`",
        ("#606", "#707", "rh#682"),
    ),
    "gap": Loss(
        "the record behind a gap of offsets counts as done",
        "two at a time: behind 20 plain records come transactions; one's record hangs, the others are done; SIGKILL",
        "`concurrency=2`",
    ),
    "unreadable": Loss(
        "an unreadable record commits those before it",
        "JSON that is none behind three good records, the first of which is being worked on; then SIGKILL",
        '`app.topic(..., value_serializer="json")`',
        ("rh#586",),
    ),
    "send": Loss(
        "an output that the broker refuses is forgotten",
        "the broker refuses the output (`max.message.bytes`), an operator mends that, the worker is replaced",
        "`await topic.send(value=...)`",
    ),
    "poll": Loss(
        "a worker that waits for long leaves its group and never comes back",
        "one record takes 15 s, longer than `broker_max_poll_interval=5`; 20 s after it somebody looks",
        "`async for value in stream`",
        ("#138", "rh#517", "aiokafka#625", "aiokafka#1187"),
    ),
    "transactions": Loss(
        "`exactly_once` without tables ends at the first assignment",
        'the worker is started with `processing_guarantee="exactly_once"`',
        "`async for value in stream`",
    ),
}
"""By the name of the scene, in the order of the table."""
