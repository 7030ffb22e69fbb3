"""aiokafka's own tasks, without which a client looks healthy and does nothing: somebody hears of their end.

A sender that was cancelled leaves its batches waiting for ever; without the synchronizer of metadata nobody learns of a
new leader any more. aiokafka looks at neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from pipeline.errors import DeliveryError
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

SENDER: Final = BackgroundTask("kafka sender", OnEnd.TELL)
METADATA: Final = BackgroundTask("kafka metadata", OnEnd.TELL)


def watch_producer(tasks: Tasks, producer: Any, failed: Callable[[BaseException], None]) -> None:
    """Hear of the end of a started producer's tasks, until `tasks` are stopped."""
    tasks.watch(SENDER, producer._sender.sender_task, failed)  # noqa: SLF001 - nothing else reports its end
    tasks.watch(METADATA, producer.client._sync_task, failed)  # noqa: SLF001


def lost(consumer: Any) -> BaseException | None:
    """What ended one of a started consumer's tasks; None while all live. To be asked in the consumer's loop."""
    for name, task in (
        ("fetcher", consumer._fetcher._fetch_task),  # noqa: SLF001
        ("metadata", consumer._client._sync_task),  # noqa: SLF001
        ("coordination", consumer._coordinator._coordination_task),  # noqa: SLF001
    ):
        if task is not None and task.done():
            return _ended(name, task)
    return None


def _ended(name: str, task: asyncio.Future[Any]) -> BaseException:
    error = None if task.cancelled() else task.exception()
    return error or DeliveryError(f"the consumer's {name} task ended, and nothing would be read any more")
