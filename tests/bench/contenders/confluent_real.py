"""confluent-kafka by hand with our real mapping: our pure functions in the loop that somebody else might write.

`--mapping real`, or `--mapping state` with our state store over a local LMDB file and its changelog, all of it written,
flushed and committed once a second. Settings come from the environment. It runs in the project's environment; the
client comes from that of the peers, behind it on the path.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any, Final

from pipeline.kafka.fetched import FetchedRecord
from pipeline.settings import Settings
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import Operations
from tests.bench.contenders.work import BATCH_BYTES, CHUNK, FETCH_BACKOFF_MS
from tests.bench.stage import PEERS

COMMIT_S: Final = 1.0


class Loop:
    """Consume a chunk, map it, produce it; commit every second."""

    def __init__(self, settings: Settings, *, has_state: bool) -> None:
        self._settings = settings
        self._policy = Policy.of(settings)
        self._has_state = has_state
        self._stores: dict[int, TransactionalStore] = {}
        kafka = importlib.import_module("confluent_kafka")
        self._consumer = kafka.Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": settings.transform_group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
            }
        )
        self._producer = kafka.Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "batch.size": BATCH_BYTES,
                "delivery.report.only.error": True,
                "queue.buffering.max.kbytes": 256 * 1024,
            }
        )

    def run(self) -> None:
        """Until killed."""
        self._consumer.subscribe([self._settings.webhooks_topic], on_assign=self._open)
        committed = time.monotonic()
        while True:
            for message in self._consumer.consume(CHUNK, timeout=0.1):
                if message.error():
                    sys.exit(str(message.error()))
                self._map(message)
            self._producer.poll(0)
            if time.monotonic() - committed > COMMIT_S:
                self._commit()
                committed = time.monotonic()

    def _open(self, _: Any, partitions: list[Any]) -> None:
        """The stores of a worker that has the whole group, over topics that have nothing yet."""
        if not self._has_state:
            return
        for one in partitions:
            local = LmdbStore.open(self._settings.data_dir, self._settings.customers_topic, one.partition, CUSTOMERS)
            began_at_ms = int(time.time() * 1000)
            self._stores[one.partition] = TransactionalStore(
                local, began_at_ms, Ownership(one.partition, len(partitions))
            )

    def _map(self, message: Any) -> None:
        kind, at_ms = message.timestamp()
        record = FetchedRecord(
            message.topic(), message.partition(), message.offset(), at_ms, kind - 1, message.key(), message.value(),
            message.headers() or (),
        )  # fmt: skip
        decision = decide(record, self._policy, map_webhook, self._stores.get(record.partition))
        verdict = decision.verdict
        if not isinstance(verdict, Operations):
            sys.exit(f"no operations: {verdict}")
        for out in operation_records(record, decision, verdict):
            self._produce(self._settings.operations_topic, out.value, out.key, list(out.headers))

    def _commit(self) -> None:
        sealed = {partition: store.seal() for partition, store in self._stores.items()}
        headers = list(CUSTOMERS.headers)
        for partition, transaction in sealed.items():
            for key, value in transaction.changes():
                self._produce(self._settings.customers_topic, value, key, headers, partition=partition)
        self._producer.flush()
        for partition, transaction in sealed.items():
            if transaction:
                self._stores[partition].commit([transaction], [None])
        if positions := self._consumer.position(self._consumer.assignment()):
            self._consumer.commit(offsets=positions, asynchronous=False)

    def _produce(self, topic: str, value: bytes | None, key: bytes | None, headers: Any, **where: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=_failed, **where)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return


def _failed(error: Any, _: Any) -> None:
    """End the process for a record that was not delivered."""
    if error:
        sys.exit(str(error))


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="A confluent-kafka loop with our mapping, as a contender.")
    parser.add_argument("--mapping", choices=("real", "state"), required=True)
    mapping = parser.parse_args().mapping
    sys.path += map(str, PEERS.parents[1].glob("lib/python*/site-packages"))
    Loop(Settings.load(), has_state=mapping == "state").run()


if __name__ == "__main__":
    main()
