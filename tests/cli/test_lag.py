"""`dodo-cio lag` shows what waits, and never a zero that is not one."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.cli import lag as lag_module
from pipeline.cli.lag import as_table, nothing_is_known, summary
from pipeline.kafka.cluster.lag import GroupLag, PartitionLag
from pipeline.kafka.cluster.pace import Pace, Throughput
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.settings import Settings

KNOWN = PartitionLag("g", "t", 0, committed=7, start=0, end=1207, records=1200, seconds=3.25, lost=0)
UNKNOWN = PartitionLag("g", "t", 1, note="no leader")


def text_of(group: GroupLag, pace: Pace | None = None) -> str:
    """The table as a terminal shows it."""
    out = io.StringIO()
    Console(file=out, width=160).print(as_table([group], {("g", "t"): pace} if pace else {}))
    return out.getvalue()


def test_unknown_is_written_as_unknown() -> None:
    """A partition that is not known has no number, and neither has the total."""
    text = text_of(GroupLag("g", "t", "Stable", 2, (KNOWN, UNKNOWN)))
    assert "g on t (Stable, 2 members): unknown records, unknown s behind" in text
    known, unknown = text.splitlines()[-2:]
    assert known.split() == ["0", "7", "1,207", "1,200", "3.2"]
    assert unknown.split() == ["1", *["unknown"] * 4, "no", "leader"]


def test_each_partition_has_a_pace() -> None:
    """With a second reading: what arrives and is done a second, and when none waits; unknown is written as such."""
    idle = replace(KNOWN, partition=2)
    group = GroupLag("g", "t", "Stable", 2, (KNOWN, UNKNOWN, idle))
    pace = Pace(partitions={0: Throughput(10.0, 70.0, 20.0), 2: Throughput(0.0, 0.0, None)})
    lines = text_of(group, pace).splitlines()
    assert lines[1].split()[4:] == ["seconds", "arrive", "done", "drained", "in", "note"]
    assert [line.split()[5:9] for line in lines[2:]] == [
        ["10/s", "70/s", "20", "s"],
        ["unknown", "unknown", "unknown", "no"],
        ["0/s", "0/s", "never"],
    ]


@pytest.mark.parametrize(
    ("group", "pace", "says"),
    [
        (GroupLag("g", "t", "Empty", 0, (KNOWN,)), None, "(no worker is running): 1,200 records, 3.2 s behind"),
        (GroupLag("g", "t", None, None, (KNOWN,)), None, "(state unknown)"),
        (
            GroupLag("g", "t", "Stable", 1, (KNOWN,)),
            Throughput(10, 70, 20),
            "10/s arrive, 70/s done, none waits in 20 s",
        ),
        (GroupLag("g", "t", "Stable", 1, (KNOWN,)), Throughput(10, 5, None), "does not catch up"),
        (
            GroupLag("g", "t", "Stable", 1, (PartitionLag("g", "t", 0, 5, 9, 9, 0, 0.0, 4),)),
            None,
            "4 LOST to the topic's retention",
        ),
        (
            GroupLag("g", "t", "Stable", 1, (PartitionLag("g", "t", 0, 5, 0, 9, 4, 9.0, 0, None, 3),)),
            None,
            "4 records, 9.0 s behind, 3 held back by an open transaction",
        ),
    ],
)
def test_a_group_in_one_line(group: GroupLag, pace: Throughput | None, says: str) -> None:
    """Who works, what waits, how fast it goes, and what was lost."""
    assert says in summary(group, pace)


def test_one_note_for_all() -> None:
    """What holds of every partition is said once, and that nothing is known is an exit code of its own."""
    blind = GroupLag("g", "t", None, None, tuple(replace(UNKNOWN, partition=number) for number in range(12)))
    text = text_of(blind)
    assert text.count("no leader") == 1
    assert "all 12 partitions: no leader" in text
    assert nothing_is_known([blind])
    assert not nothing_is_known([blind, GroupLag("g", "t", None, None, (KNOWN,))])
    some = GroupLag("g", "t", None, None, (KNOWN, UNKNOWN, replace(UNKNOWN, partition=2)))
    assert text_of(some).count("no leader") == 2


@pytest.mark.parametrize(("partition", "code"), [(UNKNOWN, 1), (KNOWN, 0)], ids=["nothing", "one"])
@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
def test_nothing_known_fails(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], partition: PartitionLag, code: int
) -> None:
    """The reading is printed all the same; a script learns by exit code 1 that it holds no number at all."""

    async def once(*_: object, **__: object) -> tuple[list[GroupLag], int]:
        return [GroupLag("g", "t", None, None, (UNKNOWN, partition))], 0

    monkeypatch.setattr(lag_module, "_once", once)
    done = CliRunner().invoke(build(), ["lag", *flags])
    assert done.exit_code == code
    assert "no leader" in done.stdout


async def started(environ: dict[str, str], *flags: str) -> asyncio.subprocess.Process:
    """`dodo-cio lag` with these flags."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", "lag", *flags), env=environ, stdout=PIPE, stderr=PIPE
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr."""
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.kafka
async def test_watched_on_kafka(
    chain_settings: Callable[..., Awaitable[Settings]], environment: Callable[[Settings], dict[str, str]]
) -> None:
    """One line a reading, the pace from the second on; Ctrl-C is the way to end it and no failure."""
    settings = await chain_settings(partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        await producer.send_and_wait(settings.webhooks_topic, b"1")
    watching = await started(environment(settings), "--watch", "--json", "--interval", "0.2")
    assert watching.stdout
    first, second = [json.loads(await watching.stdout.readline()) for _ in range(2)]
    watching.send_signal(signal.SIGINT)
    await watching.communicate()
    assert watching.returncode == 0
    transform, sink = second["groups"]
    assert (transform["group"], transform["records"]) == (settings.transform_group, 1)
    assert transform["seconds"] >= 0
    assert transform["partitions"][0]["committed"] is None
    assert (sink["records"], sink["seconds"]) == (0, 0.0)
    for reading, done in ((first, None), (second, 0.0)):
        of_group = reading["groups"][0]
        for told in (of_group, *of_group["partitions"]):
            assert (told["arriving_per_second"], told["done_per_second"], told["drained_in_s"]) == (done, done, None)


@pytest.mark.kafka
async def test_watching_outlives_a_broker(environment: Callable[[Settings], dict[str, str]], tmp_path: Path) -> None:
    """While no broker answers the reason is shown, in the place of a reading; then the readings go on."""
    with LocalKafka.start(tmp_path, heap_mb=256) as broker:
        settings = Settings.load(kafka_bootstrap_servers=broker.bootstrap_servers)
        await apply(settings, plan(load_specs(settings, at_most_partitions=1), {}))
        watching = await started(environment(settings), "--watch", "--json", "--interval", "0.2")
        assert watching.stdout

        async def until(member: str) -> None:
            assert watching.stdout
            while member not in json.loads(await watching.stdout.readline()):
                pass

        await until("groups")
        broker.stop()
        await until("unreachable")
        await asyncio.to_thread(broker.restart)
        await until("groups")
        watching.send_signal(signal.SIGINT)
        assert (await ended(watching))[0::2] == (0, "")


@pytest.mark.kafka
async def test_once_on_kafka(
    chain_settings: Callable[..., Awaitable[Settings]], environment: Callable[[Settings], dict[str, str]]
) -> None:
    """The table names both groups and every partition, in a pipe as on a terminal."""
    settings = await chain_settings(partitions=2)
    code, out, err = await ended(await started(environment(settings)))
    assert f"{settings.transform_group} on {settings.webhooks_topic} (no worker is running): 0 records" in out
    assert out.count("never") == 4
    assert (code, err) == (0, "")


@pytest.mark.parametrize("flags", [[], ["--watch"]])
async def test_no_broker(environment: Callable[[Settings], dict[str, str]], flags: list[str]) -> None:
    """Without a broker: exit code 1 and one message on stderr, watched or not."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    code, _, err = await ended(await started(environment(settings), *flags))
    assert code == 1
    assert err.startswith("dodo-cio: no Kafka broker could be used at")
    assert "Traceback" not in err
