"""Mirrors that are removed or break under a store and under a worker: a restore, and an end to it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import pytest

from pipeline.errors import SettingsError, StateError
from pipeline.settings import Settings
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.partitions import MAX_ANEW

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Books, Fleet, Owner, ShopTraffic

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]


def event(number: int) -> bytes:
    """A key of a grow-only kind."""
    return b"cus_%06d\0event\0" % number


async def test_removed_under_a_store(chain_settings: ChainSettings, own: Own) -> None:
    """At the next assignment the partition is restored from the topic, by the same process."""
    settings = await chain_settings(partitions=2)
    async with own(settings) as owner:
        await owner.owns(0, 1)
        await owner.writes(0, {event(number): b"[100]" for number in range(50)})
        shutil.rmtree(settings.data_dir / "state" / settings.customers_topic)
        with pytest.raises(StateError, match="removed while it was in use"):
            await owner.writes(0, {event(99): b"[100]"})
        await owner.owns(0, 1)
        assert "it was removed while it was in use" in owner.started_anew
        assert [owner.store(0).get(event(number)) for number in (0, 49, 99)] == [b"[100]", b"[100]", b"[100]"]
        await owner.writes(0, {event(100): b"[100]"})
    async with own(settings) as owner:
        await owner.owns(0, 1)
        assert owner.store(0).get(event(100)) == b"[100]"


async def test_a_mirror_that_breaks_each_time(
    chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few fresh starts, then an end with the reason; afterwards the count begins anew."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, {event(1): b"[100]"})
    shutil.rmtree(settings.data_dir)
    begun: list[str] = []
    ours = LmdbStore.start_anew

    def counted(store: LmdbStore, why: str) -> None:
        begun.append(why)
        ours(store, why)

    def breaks(*_: Any) -> bool:
        raise lmdb.CorruptedError("MDB_CORRUPTED")

    async with own(settings) as owner:
        with monkeypatch.context() as patched:
            patched.setattr(LmdbStore, "start_anew", counted)
            patched.setattr(LmdbStore, "_has_written", breaks)
            with pytest.raises(StateError, match=r"begun anew 3 times and broke again \(MDB_CORRUPTED\).*dmesg"):
                await owner.owns(0)
        assert begun == ["MDB_CORRUPTED"] * MAX_ANEW


async def test_a_disk_that_is_full_in_a_restore(
    chain_settings: ChainSettings, own: Own, put: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fresh start at all: it would not help, and what is there stays."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, {event(1): b"[100]"})
    await put(settings, 0, [(event(2), b"[100]")])

    def full(*_: Any) -> bool:
        error = lmdb.DiskError("No space left on device")
        error.code = errno.ENOSPC  # type: ignore[misc]  # as LMDB does
        raise error

    for _ in range(5):
        async with own(settings) as owner:
            with monkeypatch.context() as patched:
                patched.setattr(LmdbStore, "_has_written", full)
                with pytest.raises(SettingsError, match="disk is full"):
                    await owner.owns(0)
    async with own(settings) as owner:
        await owner.owns(0)
        assert (owner.started_anew, owner.records_read) == ([], 1)


async def test_removed_under_a_worker(
    chain_settings: ChainSettings,
    make_fleet: Callable[[Settings], Fleet],
    make_shop: Callable[[Settings, int, int], ShopTraffic],
    read_books: Callable[[Settings, int], Awaitable[Books]],
    tmp_path: Path,
) -> None:
    """The worker ends with one line, and the next one restores: totals exact, no event lost or told twice."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path / "chain")
    settings.data_dir.mkdir()
    fleet, shop = make_fleet(settings), make_shop(settings, 31, 2)
    first = fleet.start()
    await shop.deliver(300)
    await fleet.caught_up()
    shutil.rmtree(settings.data_dir / "state")
    await shop.deliver(100)
    assert await first.ended() == 1
    assert "removed while it was in use" in first.text
    assert "Traceback" not in first.text
    last = fleet.start()
    await last.says("Customers' state restored")  # the first may have acknowledged everything
    await fleet.caught_up()
    assert await last.stop() == 0, last.text[-6000:]
    books = await read_books(settings, 2)
    assert books.totals == shop.spent
    assert books.events == shop.events
    assert books.mirrored
