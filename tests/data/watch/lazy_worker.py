"""A worker whose stage finishes nothing: with `retry` it keeps trying, with `sit` it just sits there.

With `one` it finishes whatever is not in partition 0, whose records it drops, and keeps trying for the others.

Run by tests/watch/test_worker.py in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from faust.types import TP

from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.watch.worker import WorkerWatch


def main(behaviour: str) -> int:
    """Run until a signal."""
    settings = Settings.load()
    topic = settings.operations_topic
    app = BatchApp(settings.sink_group, settings=settings, batch_topics=[topic], stage="sink")
    watch = WorkerWatch(app, patience_s=5.0, unread_every_s=0.2)

    @app.agent(app.topic(topic, key_type=bytes, value_type=bytes))
    async def lazy(stream: Any) -> None:
        async for event in stream.noack().events():
            if behaviour == "one":
                watch.progress.attempted([TP(topic, 1)])
                if event.value.partition != 0:
                    event.value.done()
                continue
            while True:
                await asyncio.sleep(0.1)
                if behaviour == "retry":
                    watch.progress.attempted()

    return run_worker(app, settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
