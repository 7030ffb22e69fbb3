"""Quix Streams: a streaming data frame of raw bytes; key and value go on as they are, with the idempotent producer."""

from __future__ import annotations

import tempfile

from quixstreams import Application

from tests.bench.contenders.work import BATCH_BYTES, FETCH_BACKOFF_MS, job, operation_of


def main() -> None:
    """Run until killed."""
    it = job()
    app = Application(
        broker_address=it.bootstrap_servers,
        consumer_group=it.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        loglevel="WARNING",
        consumer_extra_config={"fetch.queue.backoff.ms": FETCH_BACKOFF_MS},
        producer_extra_config={
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": BATCH_BYTES,
            "queue.buffering.max.kbytes": 256 * 1024,
        },
    )
    source = app.topic(it.source, key_deserializer="bytes", value_deserializer="bytes")
    target = app.topic(it.target, key_serializer="bytes", value_serializer="bytes")
    # The input's key is the customer, as the output's must be: kept, which is cheaper than a key function.
    app.dataframe(source).apply(lambda body: operation_of(body).value).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
