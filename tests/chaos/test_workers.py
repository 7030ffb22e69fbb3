"""A worker process from its first check to its exit code, through both ways of starting it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.settings import Settings

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

HERE = Path(__file__).parent
FAUST = (sys.executable, "-m", "faust", "-W", str(HERE), "-A", "copy_worker", "worker", "--without-web")
OURS = (sys.executable, str(HERE / "copy_worker.py"))
both = pytest.mark.parametrize("command", [OURS, FAUST], ids=["run_worker", "faust"])


@both
async def test_a_signal_is_a_clean_end(
    command: tuple[str, ...],
    chain_settings: Callable[..., Awaitable[Settings]],
    make_fleet: Callable[[Settings], Fleet],
) -> None:
    """It copies, logs every line in our format, and ends with 0 on SIGINT as on SIGTERM."""
    fleet = make_fleet(await chain_settings(partitions=2, log_format="json"))
    traffic = fleet.traffic()
    await traffic.burst(100)
    for number in (signal.SIGTERM, signal.SIGINT):
        worker = fleet.start(*command)
        await worker.says("Partitions assigned")
        await fleet.caught_up()
        worker.send(number)
        assert await worker.ended() == 0
        said = [json.loads(line) for line in worker.text.splitlines() if line.startswith("{")]
        loggers = {line["logger"] for line in said}
        assert {"pipeline.kafka.worker.app", "faust.worker", "aiokafka.consumer.group_coordinator"} <= loggers
        assert "INFO" not in worker.text  # as mode's own format has it
        assert "Traceback" not in worker.text
    assert (await fleet.count(traffic.sent)).repeated == 0


@both
async def test_a_failed_check_is_one_message(command: tuple[str, ...], fleet: Fleet) -> None:
    """What the operator must change is said once, without a traceback, before the group is joined: exit code 2."""
    worker = fleet.start(*command, refuse="topic nowhere is missing: dodo-cio topics apply")
    assert await worker.ended() == 2
    assert worker.text.count("topic nowhere is missing") == 1
    assert "Traceback" not in worker.text
    assert "Joined group" not in worker.text


@both
@pytest.mark.parametrize("wait", ["for ever", "and fail"])
async def test_a_start_that_waits_can_be_ended(command: tuple[str, ...], wait: str, fleet: Fleet) -> None:
    """SIGTERM while a check waits for another system, also one that fails then: exit code 0, and no complaint."""
    worker = fleet.start(*command, wait=wait)
    await worker.says("Waiting for another system")
    assert await worker.stop() == 0
    assert "Traceback" not in worker.text
    assert "error" not in worker.text.lower()


async def test_an_unusable_data_directory_is_one_message(
    chain_settings: Callable[..., Awaitable[Settings]], make_fleet: Callable[[Settings], Fleet], tmp_path: Path
) -> None:
    """The variable and the directory are named: exit code 2."""
    occupied = tmp_path / "file"
    occupied.touch()
    worker = make_fleet(await chain_settings(data_dir=occupied)).start()
    assert await worker.ended() == 2
    assert worker.text.count(f"PIPELINE_DATA_DIR: {occupied} cannot be used") == 1
    assert "Traceback" not in worker.text


@pytest.mark.parametrize("options", [{}, {"bare": "1"}], ids=["producer first", "consumer first"])
async def test_no_broker_is_one_message(
    options: dict[str, str], make_fleet: Callable[[Settings], Fleet], tmp_path: Path
) -> None:
    """Whichever client notices: the address is named, and nothing has a traceback."""
    settings = Settings.load(kafka_bootstrap_servers="127.0.0.1:1", data_dir=tmp_path / "data")
    worker = make_fleet(settings).start(**options)
    assert await worker.ended() == 1
    assert worker.text.count("no Kafka broker could be used at 127.0.0.1:1") == 1
    assert "Traceback" not in worker.text


async def test_other_topics_are_left_to_faust(fleet: Fleet) -> None:
    """An ordinary agent beside the batches gets its records one by one, and Faust commits them."""
    traffic = fleet.traffic()
    await traffic.burst(500)
    producer = AIOKafkaProducer(bootstrap_servers=fleet.settings.kafka_bootstrap_servers)
    await producer.start()
    for number in range(20):
        await producer.send_and_wait(fleet.settings.dead_letters_topic, b"plain-%d" % number)
    await producer.stop()
    worker = fleet.start(plain="1")
    await worker.says("plain-19")
    assert [f"plain-{number}" in worker.text for number in range(20)] == [True] * 20
    await fleet.caught_up(fleet.settings.dead_letters_topic)
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated) == (0, 0)
    assert await worker.stop() == 0
