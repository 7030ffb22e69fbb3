"""A customers' topic that was made anew is refused, written back from the mirrors, and nothing is told twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests import forked
from tests.admin import until_done
from tests.statestore.test_partitions import event, facts, make_anew
from tests.transform.test_worker import (
    ChainSettings,
    Start,
    payments,
    produce,
    read_all,
    start,  # noqa: F401 - a fixture
)

if TYPE_CHECKING:
    from tests.statestore.conftest import Fact, Owner

pytestmark = pytest.mark.kafka

FactsIn = Callable[[Settings], Awaitable[list["Fact"]]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]


async def restored(environ: dict[str, str], *flags: str) -> tuple[int | None, str, str]:
    """`dodo-cio state restore-topic`: exit code, stdout and stderr."""
    done = await asyncio.to_thread(forked.run, [*forked.PROGRAM, "state", "restore-topic", *flags], env=environ)
    return done.returncode, done.stdout, done.stderr


async def test_written_back(
    start: Start,  # noqa: F811 - the fixture
    chain_settings: ChainSettings,
    facts_in: FactsIn,
    environment: Callable[[Settings], dict[str, str]],
) -> None:
    """All facts lie in the new topic as they lay in the old one; the same webhooks again tell nobody anything."""
    settings = await chain_settings(partitions=3)
    environ = environment(settings)
    await produce(settings, payments(0, 60))
    worker = start(settings)
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    code, _, err = await restored(environ, "--yes")
    assert (code, "members: stop every transform first" in err) == (2, True)
    assert await worker.stop() == 0, worker.log.read_text()
    before = {(one.partition, one.key): one.value for one in await facts_in(settings)}
    told = await read_all(settings, settings.operations_topic)
    await make_anew(settings, 3)

    worker = start(settings)
    assert await worker.ended() == 2
    assert "hold more than the topic" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
    assert await facts_in(settings) == []

    code, out, _ = await restored(environ, "--dry-run", "--json")
    assert (code, json.loads(out)["missing"], json.loads(out)["written"]) == (0, len(before), 0)
    assert await facts_in(settings) == []
    code, _, err = await restored(environ)
    assert (code, "add --yes" in err) == (2, True)
    code, out, err = await restored(environ, "--yes")
    assert code == 0, err
    assert f"{len(before):,} facts were written" in out
    assert {(one.partition, one.key): one.value for one in await facts_in(settings)} == before
    code, out, _ = await restored(environ, "--yes")
    assert (code, "Nothing to do" in out) == (0, True)

    worker = await start(settings).ready()
    await produce(settings, payments(0, 60))
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    assert len(await read_all(settings, settings.operations_topic)) == len(told)
    assert await worker.stop() == 0, worker.log.read_text()


async def test_a_topic_that_was_taken_up_without_the_mirror(
    chain_settings: ChainSettings,
    own: Own,
    environment: Callable[[Settings], dict[str, str]],
) -> None:
    """What was written meanwhile stays, what both know is merged, and the next start reads all of it."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(*range(100), value=b"[200]"))
    await make_anew(settings, 1)
    elsewhere = settings.model_copy(update={"data_dir": settings.data_dir / "elsewhere"})
    async with own(elsewhere) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(5, value=b"[100]") | facts(6, value=b"[300]") | facts(500))
    code, _, err = await restored(environment(settings), "--yes")
    assert code == 0, err
    async with own(settings) as owner:
        await owner.owns(0)
        found = [owner.store(0).get(event(number, 0)) for number in (4, 5, 6, 99, 500)]
        assert found == [b"[200]", b"[100]", b"[200]", b"[200]", b"[100]"]


async def test_what_cannot_be_written_back(
    chain_settings: ChainSettings, own: Own, environment: Callable[[Settings], dict[str, str]]
) -> None:
    """Without mirrors, without the topic, and with too few partitions: exit code 2, one line, what to do."""
    settings = await chain_settings(partitions=2)
    code, _, err = await restored(environment(settings), "--yes")
    assert (code, "there are no mirrors of" in err, "Traceback" in err) == (2, True, False)
    async with own(settings) as owner:
        await owner.owns(0, 1)
        await owner.writes(1, facts(1))
    await make_anew(settings, 1)
    code, _, err = await restored(environment(settings), "--yes")
    assert (code, "has 1 partitions, and there is a mirror of partition 1" in err) == (2, True)
    async with open_admin(settings) as admin:
        await admin.delete([settings.customers_topic])
    code, _, err = await restored(environment(settings), "--yes")
    assert (code, "does not exist" in err, "Traceback" in err) == (2, True, False)
