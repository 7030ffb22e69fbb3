"""Ports of local brokers: one process's alone, also while the broker is away."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.local import ports
from pipeline.kafka.local.ports import SLICE, Lease, is_free

BELOW = 10_000
"""The ports of `pipeline.kafka.local.ports` are other tests' at this moment; these tests have ranges below them."""

RANGES = 8
ROOM = 16 * SLICE

ASKING = """
import os, sys
from pipeline.kafka.local import ports
first, stop, times, slices, fork = map(int, sys.argv[1:])
ports.PORTS, ports.SLICES_AT_MOST = range(first, stop), slices
given = [ports.free_port() for _ in range(times)]
child = os.fork() if fork else None
if child == 0:
    given = [ports.free_port() for _ in range(times)]
sys.stdout.write(" ".join(map(str, given)) + "\\n")
sys.stdout.flush()
sys.stdin.read()
if child:
    os.waitpid(child, 0)
"""
"""Asks for ports, says them, and lives until its input ends, its child too: whoever has a slice keeps it for life."""


@pytest.fixture
def room() -> Iterator[range]:
    """Ports that are this test's alone, of all test runs on the machine."""
    with socket.socket() as lock:
        for number in range(RANGES):
            try:
                lock.bind(("127.0.0.1", BELOW - 1 - number))
            except OSError:
                continue
            yield range(BELOW + number * ROOM, BELOW + (number + 1) * ROOM)
            return
        pytest.fail("no range of ports is left for this test")


@contextmanager
def _asked(own: range, times: int, *, slices: int = ports.SLICES_AT_MOST, fork: bool = False) -> Iterator[list[int]]:
    """What another process was given, and its child if it has one; they live until the context ends."""
    command = [sys.executable, "-c", ASKING, *map(str, (own.start, own.stop, times, slices, int(fork)))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        yield [int(port) for _ in range(1 + fork) for port in process.stdout.readline().split()]


def test_a_port_is_one_process_s(room: range) -> None:
    """What one was given no other one is, nor a forked child, though nobody listens there."""
    with ExitStack() as processes:
        given = [port for _ in range(3) for port in processes.enter_context(_asked(room, 100, fork=True))]
    assert len(given) == len(set(given)) == 600
    assert set(given) <= set(room)


def test_all_processes_choose_from_the_same_ports() -> None:
    """Those of a test run, too: slices of different ports would overlap, and what one has locked others would use."""
    assert range(20_000, 32_768) == ports.PORTS


def test_a_process_that_ended_keeps_nothing(room: range) -> None:
    """Its ports are the next one's."""
    for _ in range(3):
        with _asked(room[:SLICE], SLICE - 1) as given:
            assert set(given) == set(room[1:SLICE])


def test_all_are_given_before_one_is_again(room: range) -> None:
    """The one given first comes first then; one on which somebody listens is left out."""
    with socket.create_server(("127.0.0.1", room[2])), _asked(room[:SLICE], 2 * (SLICE - 2)) as given:
        assert not is_free(room[2])
        assert given == 2 * [room[1], *room[3:SLICE]]


def test_a_process_takes_so_many_slices(room: range) -> None:
    """One that asks on and on leaves the others theirs."""
    times = 2 * (SLICE - 1)
    with _asked(room, 2 * times, slices=2) as given:
        assert given[:times] == given[times:]
        assert len(set(given)) == times


def test_none_left_is_said(room: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other processes have all slices, the error names the ports."""
    few = room[:SLICE]
    monkeypatch.setattr(ports, "PORTS", few)
    with _asked(few, 1) as given:
        assert given == [few[1]]
        with pytest.raises(BrokerUnreachableError, match=f"between {few.start} and {few.stop}"):
            Lease().port()
