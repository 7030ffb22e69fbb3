"""confluent-kafka by hand: `consume` in chunks, idempotent `produce`, flush and commit each second."""

from __future__ import annotations

import sys
import time
from typing import Any

from confluent_kafka import Consumer, Producer

from tests.bench.contenders.work import BATCH_BYTES, CHUNK, FETCH_BACKOFF_MS, job, operation_of

COMMIT_S = 1.0


def main() -> None:
    """Run until killed."""
    it = job()
    consumer = Consumer(
        {
            "bootstrap.servers": it.bootstrap_servers,
            "group.id": it.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": it.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": BATCH_BYTES,
            "delivery.report.only.error": True,
            "queue.buffering.max.kbytes": 256 * 1024,
        }
    )
    consumer.subscribe([it.source])
    committed = time.monotonic()
    while True:
        for message in consumer.consume(CHUNK, timeout=0.1):
            if message.error():
                sys.exit(str(message.error()))
            operation = operation_of(message.value())
            while True:
                try:
                    producer.produce(it.target, operation.value, operation.key, on_delivery=failed)
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
        producer.poll(0)
        if time.monotonic() - committed > COMMIT_S:
            producer.flush()
            if consumer.position(consumer.assignment()):
                consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
            committed = time.monotonic()


def failed(error: Any, _: Any) -> None:
    """End the process for a record that was not delivered."""
    if error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
