"""Facts leave together, within their time, and at once when they are many or somebody is in a hurry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.transform.departures import MOST_CHANGES, MOST_CHUNKS, WITHIN_S, Departures
from tests.transform.test_commits import Bench
from tests.transform.test_flow import settle
from tests.virtual import run_virtual


class Leaving:
    """Partitions whose facts leave, and when."""

    def __init__(self) -> None:
        self.left: list[tuple[str, float]] = []

    def of(self, name: str) -> Callable[[], None]:
        """One partition's."""
        return lambda: self.left.append((name, asyncio.get_running_loop().time()))


def test_all_partitions_leave_in_one_moment() -> None:
    """Those of the first to ask wait longest, and each partition's are sent once."""

    async def scenario() -> None:
        leaving, departures = Leaving(), Departures()
        one, other = leaving.of("one"), leaving.of("other")
        departures.ask(one, 1)
        await asyncio.sleep(WITHIN_S / 2)
        departures.ask(other, 1)
        departures.ask(one, 1)
        await asyncio.sleep(1)
        departures.ask(other, 1)
        await asyncio.sleep(1)
        assert [name for name, _ in leaving.left] == ["one", "other", "other"]
        assert [at for _, at in leaving.left] == pytest.approx([WITHIN_S, WITHIN_S, 1 + 1.5 * WITHIN_S], abs=1e-3)

    run_virtual(scenario())


@pytest.mark.parametrize(("chunks", "changes"), [(MOST_CHUNKS, 1), (1, MOST_CHANGES)])
def test_many_do_not_wait(chunks: int, changes: int) -> None:
    """What fills a request, or what the flow waits for, leaves at once."""

    async def scenario() -> None:
        leaving, departures = Leaving(), Departures()
        for _ in range(chunks):
            assert leaving.left == []
            departures.ask(one := leaving.of("one"), changes)
        assert [name for name, _ in leaving.left].count("one") == chunks
        del one
        await asyncio.sleep(1)
        assert len(leaving.left) == chunks

    run_virtual(scenario())


def test_in_a_hurry_nothing_waits() -> None:
    """A hand-over sends what waits, and what comes until it is over; then facts wait for each other again."""

    async def scenario() -> list[float]:
        leaving, departures = Leaving(), Departures()
        departures.ask(leaving.of("before"), 1)
        departures.hurry(on=True)
        departures.ask(leaving.of("meanwhile"), 1)
        assert [name for name, _ in leaving.left] == ["before", "meanwhile"]
        departures.hurry(on=False)
        departures.ask(leaving.of("after"), 1)
        await asyncio.sleep(1)
        return [at for _, at in leaving.left]

    assert run_virtual(scenario()) == pytest.approx([0.0, 0.0, WITHIN_S], abs=1e-3)


async def test_facts_of_chunks_share_a_send(tmp_path: Path) -> None:
    """They are one send, and each chunk keeps its own place in it; nothing is acknowledged before all is durable."""
    bench = Bench(tmp_path)
    try:
        departures = Departures(60.0)
        bench.commits.departures = departures
        for keys in ((b"a\0k\0", b"b\0k\0"), (), (b"a\0k\0",)):
            bench.commits.outputs_stored(bench.fly(*keys))
        await settle()
        assert (bench.sent, bench.acked) == ([], [])
        departures.now()
        assert [facts.keys for facts in bench.sent] == [[b"a\0k\0", b"b\0k\0", b"a\0k\0"]]
        assert bench.acked == []
        bench.sent[0].durable.set_result(None)
        await settle()
        assert [chunk.offsets("customers") for chunk in bench.chunks] == [range(2), None, range(2, 3)]
        assert (bench.acked, bench.failures) == ([0, 1, 2], [])
        bench.store.flush()
        assert (bench.local.get(b"a\0k\0"), bench.local.get(b"b\0k\0"), bench.local.next_offset) == (b"2", b"0", 3)
    finally:
        bench.local.close(clean=False)


async def test_what_is_given_up_does_not_leave(tmp_path: Path) -> None:
    """A partition that has gone meanwhile sends no facts, and neither does one whose membership has."""
    bench = Bench(tmp_path)
    try:
        departures = Departures(60.0)
        bench.commits.departures = departures
        bench.commits.outputs_stored(bench.fly(b"a\0k\0"))
        bench.commits.give_up()
        departures.now()
        assert (bench.sent, bench.acked, bench.finished) == ([], [], bench.chunks)
        bench.commits.outputs_stored(bench.fly(b"a\0k\0"))
        bench.membership.generation = 2
        departures.now()
        assert (bench.sent, bench.acked, bench.finished) == ([], [], bench.chunks)
    finally:
        bench.local.close(clean=False)
