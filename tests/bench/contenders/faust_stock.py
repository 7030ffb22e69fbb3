"""Faust as it comes: an agent over raw bytes, `send` without waiting for deliveries, uvloop, a lingering producer."""

from __future__ import annotations

import tempfile
from typing import Any

import mode.loop

mode.loop.use("uvloop")

import faust  # noqa: E402 - Faust binds its loop at import

from tests.bench.contenders.work import BATCH_BYTES, job, operation_of  # noqa: E402


def main() -> None:
    """Run until killed."""
    it = job()
    app = faust.App(
        it.group,
        broker=f"kafka://{it.bootstrap_servers}",
        datadir=tempfile.mkdtemp(prefix="faust-"),
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_linger=0.005,
        producer_max_batch_size=BATCH_BYTES,
        stream_buffer_maxsize=131_072,
        stream_wait_empty=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )
    source = app.topic(it.source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    target = app.topic(it.target, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(source)
    async def transform(stream: Any) -> None:
        async for body in stream:
            operation = operation_of(body)
            await target.send(key=operation.key, value=operation.value)

    worker = faust.Worker(app, loglevel="warning", redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
