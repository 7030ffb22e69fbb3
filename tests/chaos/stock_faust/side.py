"""One side of a scene, stock Faust or ours: topics, workers and the count of what came through."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.kafka.cluster.admin import open_admin

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet
    from tests.workers import WorkerProcess

STOCK: Final = Path(__file__).with_name("worker.py")
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one side made of what was sent.

    Attributes:
        lost: records that the group's offset is behind and no output has.
        repeated: outputs beyond one for each record.
        note: what is to be told besides.
    """

    sent: int
    lost: int
    repeated: int
    note: str = ""

    def __str__(self) -> str:
        """As the table has it."""
        counts = [f"{self.lost} of {self.sent} lost" if self.lost else "nothing lost"]
        if self.repeated:
            counts.append(f"{self.repeated} repeated")
        return ", ".join([*([self.note] if self.note else []), *counts])


@dataclass
class Side:
    """Workers of one kind on topics of their own."""

    fleet: Fleet
    is_stock: bool
    sent: list[bytes] = field(default_factory=list)
    end: int = 0
    """The offset behind the last record."""

    def start(self, settings: dict[str, Any] | None = None, **options: str) -> WorkerProcess:
        """A worker; `settings` are stock Faust's own, options the scene's (`STOCK_*` here, `COPY_*` on our side)."""
        if not self.is_stock:
            ours = {name: value for name, value in options.items() if name in ("fail_at", "hang_at", "hang_s")}
            return self.fleet.start(**ours)
        data_dir = self.fleet.settings.data_dir / str(len(self.fleet.workers))
        data_dir.mkdir(parents=True)
        variables = {**options, "data_dir": str(data_dir), "settings": json.dumps(settings or {})}
        given = [f"STOCK_{name.upper()}={value}" for name, value in variables.items()]
        return self.fleet.start("env", *given, sys.executable, str(STOCK))

    async def hangs(self, worker: WorkerProcess) -> None:
        """Wait until it works on the record that takes for ever."""
        await worker.says("SCENE hangs" if self.is_stock else "Hanging")

    async def send(self, values: Sequence[bytes], *, transactions: bool = False) -> None:
        """Into the first partition, one after the other; each in a transaction of its own, if so wanted."""
        settings = self.fleet.settings
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            enable_idempotence=True,
            transactional_id=settings.webhooks_topic if transactions else None,
        )
        await producer.start()
        try:
            for value in values:
                if transactions:
                    await producer.begin_transaction()
                sent = await producer.send_and_wait(settings.webhooks_topic, value, partition=0)
                self.end = sent.offset + 1
                if transactions:
                    await producer.commit_transaction()
        finally:
            await producer.stop()
        self.sent += values

    async def members(self) -> int:
        """How many the group has."""
        async with open_admin(self.fleet.settings) as admin:
            return len(await admin.members(self.fleet.settings.transform_group))

    async def allow_output_bytes(self, most: int) -> None:
        """Let the broker refuse what is larger."""
        async with open_admin(self.fleet.settings) as admin:
            await admin.set_configs(self.fleet.settings.operations_topic, {"max.message.bytes": str(most)})

    async def done(self, *, within_s: float = 300.0) -> None:
        """Wait until the group has committed all that was sent."""
        async with asyncio.timeout(within_s):
            await self.committed_more_than(self.end - 1)

    async def committed_more_than(self, offset: int) -> None:
        """Wait until the group's offset is behind this one."""
        settings = self.fleet.settings
        first = TopicPartition(settings.webhooks_topic, 0)
        async with open_admin(settings) as admin:
            while ((await admin.committed(settings.transform_group, [first])).get(first) or 0) <= offset:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)  # nobody tells of a commit

    async def outcome(self, note: str = "") -> Outcome:
        """Count what came through."""
        arrived = Counter(await self.fleet.output())
        lost = len(set(self.sent) - arrived.keys())
        return Outcome(len(self.sent), lost, arrived.total() - len(arrived), note)
