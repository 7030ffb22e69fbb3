"""Workers with a state on a real Apache Kafka: killed anywhere, moved, frozen. Totals stay those of the shop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.settings import Settings

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Books, Fact, Fleet, ShopTraffic

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

ChainSettings = Callable[..., Awaitable[Settings]]
MakeFleet = Callable[[Settings], "Fleet"]
MakeShop = Callable[[Settings, int, int], "ShopTraffic"]
ReadBooks = Callable[[Settings, int], Awaitable["Books"]]

GAPS = [
    "outputs-partly", "outputs-durable", "facts-sent", "facts-durable", "committed", "acknowledged", "store-due",
    "store-written",
]  # fmt: skip
"""One step in each gap between outputs, facts, acknowledgement, the writing of the local store, and commit."""

OTHERS = ["facts-due", "commit-due"]
"""Further steps in those gaps, for the long form."""

ROUNDS = 1 + int(os.environ.get("CHAOS_SECONDS", "0")) // 60
"""`make chaos` kills at each step again and again."""


async def test_killed_at_every_step(
    chain_settings: ChainSettings, make_fleet: MakeFleet, make_shop: MakeShop, read_books: ReadBooks, tmp_path: Path
) -> None:
    """SIGKILL between every two of outputs, facts, acknowledgement, store and commit: totals exact, no event lost."""
    rng = random.Random(os.environ.get("CHAOS_SEED", "5"))

    async def die(seed: int, steps: Sequence[str]) -> None:
        settings = await chain_settings(partitions=2, data_dir=tmp_path / f"chain-{seed}")
        settings.data_dir.mkdir()
        fleet, shop = make_fleet(settings), make_shop(settings, seed, 2)
        for step in steps:
            await shop.deliver(400)
            worker = fleet.start(step=step, count=rng.randint(1, 2))
            assert await worker.ended() == -signal.SIGKILL, worker.text[-6000:]
            await fleet.evict()
        await shop.deliver(200)
        last = fleet.start()
        await fleet.caught_up()
        assert await last.stop() == 0, last.text[-6000:]
        books = await read_books(settings, 2)
        assert books.totals == shop.spent
        assert books.events == shop.events
        assert books.mirrored

    steps = GAPS if ROUNDS == 1 else ROUNDS * (GAPS + OTHERS)
    await asyncio.gather(die(11, steps[::2]), die(12, steps[1::2]))


async def test_partitions_move(
    chain_settings: ChainSettings,
    make_fleet: MakeFleet,
    make_shop: MakeShop,
    read_books: ReadBooks,
    facts_in: Callable[[Settings], Awaitable[list[Fact]]],
) -> None:
    """Workers with disks of their own come, freeze and go under load: totals exact, and the frozen one writes no fact.

    It freezes just before its facts would leave, past its session; its heir has mapped the same webhooks meanwhile.
    """
    settings = await chain_settings(partitions=4)
    fleet, shop = make_fleet(settings), make_shop(settings, 13, 4)
    settings.data_dir.mkdir()
    disks, armed = [settings.data_dir / "a", settings.data_dir / "b"], settings.data_dir / "armed"
    first = fleet.start(step="facts-due", what="SIGSTOP", ARMED=str(armed), PIPELINE_DATA_DIR=str(disks[0]))
    await first.owns(4)
    for _ in range(ROUNDS):
        sending, alone = asyncio.create_task(shop.deliver(600)), first.place
        second = fleet.start(PIPELINE_DATA_DIR=str(disks[1]))
        await asyncio.gather(first.owns(2, since=alone), second.owns(2))
        await sending
        await fleet.caught_up()

        shared = second.place
        armed.touch()
        await shop.deliver(60)
        await second.owns(4, since=shared)  # after the frozen one's session
        await shop.deliver(300)
        await fleet.caught_up()
        before = len(await facts_in(settings))
        frozen = first.place
        first.process.send_signal(signal.SIGCONT)
        await first.owns(2, since=frozen)
        await fleet.caught_up()
        assert len(await facts_in(settings)) == before

        sending, shared = asyncio.create_task(shop.deliver(600)), first.place
        assert await second.stop() == 0, second.text[-6000:]
        await sending
        await first.owns(4, since=shared)
        await fleet.caught_up()
    said = (await first.get("/status")).json()["state"]
    assert [one["partition"] for one in said["partitions"]] == [0, 1, 2, 3]
    assert await first.stop() == 0, first.text[-6000:]
    assert "is built anew" not in first.text.split('"Partitions assigned"', 1)[1]
    books = await read_books(settings.model_copy(update={"data_dir": disks[0]}), 4)
    assert books.totals == shop.spent
    assert books.events == shop.events
    assert books.mirrored
