"""Faults of workers: processes that end, stand still, move, lose the network, the time or the disk."""

from __future__ import annotations

import asyncio
import math
import signal
import subprocess
from pathlib import Path
from typing import Final

from tests.chaos.replicas import STAGES, Replica
from tests.chaos.season.act import Act
from tests.chaos.season.takeovers import AFTER_STOP_S

CLOCK: Final = Path(__file__).parents[3] / "data" / "clock"
"""Where Python finds the module that sets its clock."""

SLOW_DISK: Final = Path(__file__).parents[3] / "data" / "slow_disk"
"""Where Python finds the module that makes the writes of a process slow."""

SLOWEST_S: Final = 0.5
"""For one write, as on a volume that is throttled to some operations a second."""

NO_ROOM: Final = "32k"
"""Less than the mirrors of a few partitions need."""

ROOM: Final = "256m"
NOTICED_WITHIN_S: Final = 60.0


async def killed(act: Act) -> None:
    """SIGKILL."""
    worker, disk = act.worker(), act.dice.random() < 0.5
    act.say(worker.name + (", disk lost" if disk else ""))
    await act.kill(worker, disk=disk)


async def stopped(act: Act) -> None:
    """SIGTERM."""
    worker = act.worker()
    act.say(worker.name)
    await act.restart(worker)


async def frozen(act: Act) -> None:
    """SIGSTOP for longer than a session: the group has given its partitions away when it wakes up."""
    worker = act.worker("transform", "sink")
    seconds = act.chain.settings.session_timeout_seconds + act.dice.uniform(1, 5)
    act.say(f"{worker.name} for {seconds:.0f} s")
    assert worker.process is not None
    worker.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    worker.process.send_signal(signal.SIGCONT)
    await act.settled(worker, 1)


async def rolled(act: Act) -> None:
    """Each worker of a stage in turn."""
    stage = act.one_of(STAGES)
    act.say(stage)
    for worker in act.chain.replicas.of(stage):
        await act.restart(worker)
        await act.chain.replicas.ready(worker)


async def scaled(act: Act) -> None:
    """One more joins, and one leaves for good."""
    replicas, stage = act.chain.replicas, act.one_of(("transform", "sink"))
    new = replicas.add(stage)
    await replicas.ready(new)
    await act.last(1, 1, 6)
    leaving = act.one_of([one for one in replicas.of(stage) if one.number])  # number 0 is whom the wires lead to
    await act.stopping(leaving, "SIGTERM")
    code = await replicas.remove(leaving)
    assert code == 0, f"{leaving.name} ended with {code} on SIGTERM\n{leaving.text}"
    act.say(f"{new.name} joined, {leaving.name} left")
    await asyncio.gather(*(replicas.ready(one) for one in replicas.of(stage)))
    await act.last(0, AFTER_STOP_S + 2, AFTER_STOP_S + 2)


async def cut_off(act: Act) -> None:
    """One worker and one broker, silently or with resets, for less or more than a session."""
    stage, node, silent = act.one_of(STAGES), act.one_of(list(act.chain.cluster.nodes)), act.dice.random() < 0.5
    wire = act.chain.wires[stage, node]
    open_ = wire.open
    wire.cut(silent=silent)
    try:
        seconds = await act.last(2, 3, act.chain.settings.session_timeout_seconds + 5)
    finally:
        wire.mend()
    how = "silent" if silent else "reset"
    act.say(f"{stage}-0 from node {node} for {seconds:.0f} s, {how}, {open_} connections")


async def clock_off(act: Act) -> None:
    """Started again with a wrong clock, and later with the right one."""
    worker = act.worker("transform", "sink")
    ahead_s = act.one_of((-3600, -300, 300, 3600))
    act.say(f"{worker.name} by {ahead_s} s")
    worker.environment.update(CLOCK_AHEAD_S=str(ahead_s), PYTHONPATH=str(CLOCK))
    try:
        await act.restart(worker)
        await act.last(2, 5, 10)
    finally:
        del worker.environment["CLOCK_AHEAD_S"], worker.environment["PYTHONPATH"]
    await act.restart(worker)


async def disk_slow(act: Act) -> None:
    """Started again on a disk on which each write takes its time, and later on the fast one."""
    worker, seconds = act.worker("transform"), act.dice.uniform(0.05, SLOWEST_S)
    worker.environment.update(SLOW_DISK_S=str(seconds), PYTHONPATH=str(SLOW_DISK))
    try:
        await act.restart(worker)
        lasted = await act.last(2, 10, 20)
    finally:
        del worker.environment["SLOW_DISK_S"], worker.environment["PYTHONPATH"]
    workers = [one for one in act.chain.replicas.workers if one.stage == "transform"]
    await act.restart(worker, spare_s=seconds * math.ceil(act.chain.watch.partitions["transform"] / len(workers)))
    act.say(f"{worker.name}: {1000 * seconds:.0f} ms a write for {lasted:.0f} s")


async def disk_full(act: Act) -> None:
    """A transform starts on a disk that has no room, until somebody gives it some."""
    worker = act.worker("transform")
    act.ends.add(worker.name)
    await act.chain.replicas.terminate(worker)
    mounted = _mount(worker, NO_ROOM)
    act.chain.replicas.start(worker)
    if not mounted:
        act.say("not done: mounting a small disk needs root on Linux")
        return
    try:
        began = worker.lives
        async with asyncio.timeout(NOTICED_WITHIN_S):
            while worker.lives == began:  # noqa: ASYNC110 - a process tells its end to nobody
                await asyncio.sleep(0.1)
        seconds, lives = await act.last(3, 5, 12), worker.lives - began
        subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(worker.disk)], check=True)  # noqa: ASYNC221 - at once
        await act.chain.replicas.ready(worker)
        act.say(f"{worker.name} until it ended and {seconds:.0f} s longer, started again {lives} times")
    finally:
        await act.chain.replicas.terminate(worker)
        subprocess.run(["umount", "--lazy", str(worker.disk)], check=True)  # noqa: ASYNC221 - likewise
        act.chain.replicas.start(worker)
    await act.settled(worker, 1)


def _mount(worker: Replica, size: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(worker.disk)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
