"""A worker whose stage finishes nothing: with `retry` it keeps trying, else it just sits there.

Run by tests/watch/test_worker.py in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pipeline.kafka.app import BatchApp
from pipeline.kafka.worker import run_worker
from pipeline.settings import Settings
from pipeline.watch.worker import WorkerWatch


def main() -> int:
    """Run until a signal."""
    settings = Settings.load()
    app = BatchApp(settings.sink_group, settings=settings, batch_topics=[settings.operations_topic], stage="sink")
    watch = WorkerWatch(app, patience_s=2.0, unread_every_s=0.2)

    @app.agent(app.topic(settings.operations_topic, key_type=bytes, value_type=bytes))
    async def lazy(stream: Any) -> None:
        async for _ in stream.noack().events():
            while True:
                await asyncio.sleep(0.1)
                if sys.argv[1:] == ["retry"]:
                    watch.progress.attempted()

    return run_worker(app, settings)


if __name__ == "__main__":
    sys.exit(main())
