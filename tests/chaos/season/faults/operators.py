"""What an operator does by the book, and what an accident does that he has to live with."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from tests.chaos.season.act import Act
from tests.chaos.season.chain import Chain, way_in
from tests.chaos.seen import caught_up_in
from tests.conftest import environment_of

TOPICS: Final = Path(__file__).parents[4] / "topics"
NOTICED_WITHIN_S: Final = 60.0


async def _emptied(chain: Chain, stage: str) -> list[int]:
    """End a stage; the numbers of its workers."""
    workers = chain.replicas.of(stage)
    codes = await asyncio.gather(*(chain.replicas.remove(one) for one in workers))
    assert set(codes) <= {0}, f"{stage} ended with {codes} on SIGTERM"
    return [one.number for one in workers]


async def _manned(chain: Chain, stage: str, numbers: list[int]) -> None:
    """Start it again."""
    workers = [chain.replicas.add(stage, way_in(chain.cluster, stage, number)) for number in sorted(numbers)]
    await asyncio.gather(*(chain.replicas.ready(one) for one in workers))


async def partitions_added(act: Act) -> None:
    """Ingest and transform are stopped, the topic read to its end, and the facts moved to their new owners."""
    chain = act.chain
    ingest = chain.replicas.of("ingest")
    codes = [await chain.replicas.terminate(one) for one in ingest]
    assert set(codes) == {0}, f"ingest ended with {codes} on SIGTERM"
    before = chain.partitions["transform"]
    after = before + act.dice.randint(1, 3)
    act.say(f"webhooks from {before} to {after}")
    await caught_up_in(chain.settings, chain.settings.transform_group, chain.settings.webhooks_topic, before)
    numbers = await _emptied(chain, "transform")
    try:
        await _command(
            chain, "topics", "apply", "--yes", "--add-partitions", "--topics-dir", str(_topics(chain, after))
        )
        chain.partitions["transform"] = after
    finally:
        await _manned(chain, "transform", numbers)
        for one in ingest:
            chain.replicas.start(one)
    await asyncio.gather(*(chain.replicas.ready(one) for one in ingest))


def _topics(chain: Chain, partitions: int) -> Path:
    """Topic files with another number of partitions for the webhooks and the customers."""
    directory = chain.directory / f"topics-{partitions}"
    shutil.copytree(TOPICS, directory)
    numbers = {"dodo.webhooks": partitions, "dodo.customers": partitions, "dodo-customerio.dead-letters": 1}
    for file in directory.glob("*.yaml"):
        number = numbers.get(file.stem, chain.partitions["sink"])
        text = re.sub(
            r"^partitions: \d+$", f"partitions: {number}", file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        file.write_text(text, encoding="utf-8")
    return directory


async def _command(chain: Chain, *arguments: str) -> None:
    environment = environment_of(chain.settings) | {"PIPELINE_DATA_DIR": str(chain.directory / "operator")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pipeline", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, f"{' '.join(arguments)} ended with {process.returncode}\n{said.decode()}"


async def offsets_reset(act: Act) -> None:
    """The sinks are stopped, their group goes back in every partition, and they begin there."""
    chain, back = act.chain, act.dice.randint(50, 300)
    group, topic = chain.groups()["sink"]
    numbers = await _emptied(chain, "sink")
    partitions = [TopicPartition(topic, number) for number in range(chain.partitions["sink"])]
    async with open_admin(chain.settings) as admin:
        committed = await admin.committed(group, partitions)
        offsets: dict[Any, tuple[int, str]] = {tp: (max(0, (at or 0) - back), "") for tp, at in committed.items()}
        await admin.note(group, offsets)
    act.say(f"by {back} operations a partition")
    await _manned(chain, "sink", numbers)


async def mirror_deleted(act: Act) -> None:
    """The files are gone under a transform; it ends at its next write, and its successor restores them."""
    chain, worker = act.chain, act.worker("transform")
    act.say(worker.name)
    act.ends.add(worker.name)
    lives = worker.lives
    for path in worker.disk.iterdir():
        shutil.rmtree(path, ignore_errors=True)
    async with asyncio.timeout(NOTICED_WITHIN_S):
        while worker.lives == lives:  # noqa: ASYNC110 - a process tells its end to nobody
            await asyncio.sleep(0.1)
    await chain.replicas.ready(worker)
