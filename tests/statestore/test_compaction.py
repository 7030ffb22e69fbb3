"""What was deleted from a mirror leaves its file, whatever happens in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.statestore import compaction, lmdb_file
from pipeline.statestore import lmdb_store as lmdb_module
from pipeline.statestore.changes import Began
from pipeline.statestore.directory import StateDirectory
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST

TOPIC = "dodo.customers"
BEGAN = b"\0state\0began"


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Callable[[], LmdbStore]]:
    """Opens the mirror; what is still open at the end is closed."""
    opened: list[LmdbStore] = []

    def begin() -> LmdbStore:
        opened.append(LmdbStore.open(tmp_path, TOPIC, 0, LARGEST))
        return opened[-1]

    yield begin
    for one in opened:
        one.close(clean=False)


def name(number: int) -> bytes:
    """Of one customer, and no part of it of another: pieces of two names, side by side, are nobody's."""
    return b"cus_" + sha256(b"%d" % number).hexdigest()[:16].encode()


def facts_of(number: int, padding: int = 60) -> dict[bytes, bytes]:
    """A customer's facts, each with the name in key and value."""
    who = name(number)
    return {b"%b\0payment\0pay_%d" % (who, one): b"of %b, " % who + b"x" * padding for one in range(20)}


def fill(store: LmdbStore, customers: int) -> int:
    """So many customers, a write each; the offset of the end."""
    for number in range(customers):
        store.write(facts_of(number), {name(number): b"derived of " + name(number)}, number + 1)
    return customers


def forget(store: LmdbStore, number: int, offset: int) -> None:
    """All facts of a customer are taken away, and the derived value."""
    store.write(dict.fromkeys(facts_of(number)), {name(number): None}, offset)


def bytes_of(directory: Path) -> bytes:
    """Every byte of every file under it."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def content(store: LmdbStore, customers: int) -> tuple[dict[bytes, bytes], list[bytes | None], int, Began | None]:
    """All that a mirror can be asked."""
    derived_values = [store.derived(name(number)) for number in range(customers)]
    return dict(store.scan(b"")), derived_values, store.next_offset, store.began


def test_the_file_has_nothing_of_a_forgotten_customer(stores: Callable[[], LmdbStore], tmp_path: Path) -> None:
    """Before the copy the file has the name in many places, afterwards in none; everything else is as it was."""
    store = stores()
    end = fill(store, 60)
    store.absorb([(BEGAN, b"[1]")], end + 1, Began(end, b"[1]"))
    known = [store.remains_since_s is None]
    forget(store, 30, end + 2)
    known.append(store.remains_since_s is not None)
    assert known == [True, True]
    before = content(store, 60)
    assert bytes_of(tmp_path).count(name(30)) > 10
    store.copy()
    assert store.take_copy()
    assert bytes_of(tmp_path).count(name(30)) == 0
    assert content(store, 60) == before
    assert store.remains_since_s is None
    store.write({b"later\0payment\0p": b"v"}, {}, end + 3)
    store.close()
    again = stores()
    assert again.why_empty is None
    assert again.next_offset == end + 3


@settings(max_examples=60)
@given(data=st.data())
def test_whoever_was_forgotten(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever was written and forgotten in whatever order and size, the copy has nobody who is not there."""
    directory = tmp_path_factory.mktemp("mirror")
    store = LmdbStore.open(directory, TOPIC, 0, LARGEST)
    there: set[int] = set()
    for offset, number in enumerate(data.draw(st.lists(st.integers(0, 15), min_size=5, max_size=60)), 1):
        if number in there:
            forget(store, number, offset)
            there.remove(number)
        else:
            store.write(facts_of(number, data.draw(st.sampled_from([5, 60, 900, 5000]))), {name(number): b"s"}, offset)
            there.add(number)
        if data.draw(st.integers(0, 9)) == 0:
            store.copy()
            assert store.take_copy()
    store.copy()
    assert store.take_copy()
    found = bytes_of(directory)
    assert {number for number in range(16) if name(number) in found} == there
    assert {key.split(b"\0")[0] for key, _ in store.scan(b"")} == {name(number) for number in there}
    store.close()
    shutil.rmtree(directory)


def test_the_changelog_takes_somebody_away(stores: Callable[[], LmdbStore]) -> None:
    """A mirror that hears of a request in the topic, as at a restore, knows that it has something to remove."""
    store = stores()
    fill(store, 3)
    gone = [(key, None) for key in facts_of(1)]
    store.absorb([*gone, (name(7) + b"\0payment\0p", None)], 50, None)
    since_s = store.remains_since_s
    assert since_s is not None
    store.close()
    assert stores().remains_since_s == since_s  # a restart does not begin the time anew


def test_nothing_was_there(stores: Callable[[], LmdbStore]) -> None:
    """Facts that never reached the file leave nothing in it."""
    store = stores()
    forget(store, 1, 1)
    store.absorb([(key, None) for key in facts_of(2)], 2, None)
    assert store.remains_since_s is None


def test_written_in_between(stores: Callable[[], LmdbStore], tmp_path: Path) -> None:
    """A copy that misses a write is thrown away: the write counts."""
    store = stores()
    fill(store, 5)
    forget(store, 1, 10)
    store.copy()
    store.write({b"new\0payment\0p": b"v"}, {}, 11)
    assert not store.take_copy()
    assert (store.get(b"new\0payment\0p"), store.next_offset) == (b"v", 11)
    assert store.remains_since_s is not None
    assert not list(tmp_path.rglob("*.new"))


STEPS = ["copy begun", "copy written", "in place", "opened"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_between(
    step: str, stores: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies at any step leaves a whole mirror, which knows what it still has to do."""
    store = stores()
    fill(store, 40)
    forget(store, 20, 50)
    before = content(store, 40)

    def dies(*_args: object, **_kwargs: object) -> None:
        raise KilledError

    def half(*args: object, **kwargs: object) -> None:
        compaction.copy(*args, **kwargs)  # type: ignore[arg-type]
        copies = list(tmp_path.rglob("*.new"))
        os.truncate(copies[0], copies[0].stat().st_size // 2)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(LmdbStore, "drop_copy", dies)  # the dead tidy nothing up
        match step:
            case "copy begun":
                patched.setattr(lmdb_file, "copy", half)
            case "in place":
                patched.setattr(StateDirectory, "take_copy", dies)
            case "opened":
                patched.setattr(LmdbStore, "_open", dies)
        with suppress(KilledError):
            store.copy()
            if step != "copy written":
                store.take_copy()
                pytest.fail("it did not die")
    store._env.close()  # as the end of the process does
    store._directory.release()
    again = stores()
    assert again.why_empty is None
    assert content(again, 40) == before
    assert not list(tmp_path.rglob("*.new"))
    taken = step == "opened"
    assert (again.remains_since_s is None) == taken
    assert (name(20) not in bytes_of(tmp_path)) == taken
    again.copy()
    assert again.take_copy()
    assert name(20) not in bytes_of(tmp_path)
    assert content(again, 40) == before


def test_closed_meanwhile(stores: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy does not keep whoever closes the mirror waiting: it ends, and the next process makes it."""
    store = stores()
    fill(store, 5)
    forget(store, 1, 10)
    monkeypatch.setattr(compaction, "SLICE_ITEMS", 10)
    store.give_up_copy()
    store.copy()
    assert not store.take_copy()
    assert not list(tmp_path.rglob("*.new"))
    store.close()
    again = stores()
    assert (again.why_empty, again.remains_since_s is None) == (None, False)
    again.copy()
    assert again.take_copy()
    assert name(1) not in bytes_of(tmp_path)


def test_no_room_for_a_copy(stores: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is not filled up: the copy says what is missing, and the mirror goes on."""
    store = stores()
    fill(store, 5)
    forget(store, 1, 10)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
        with pytest.raises(SettingsError, match=r"PIPELINE_DATA_DIR: .*stays on the disk until.* bytes are missing"):
            store.copy()
    assert not list(tmp_path.rglob("*.new"))
    store.write({b"new\0payment\0p": b"v"}, {}, 11)
    assert store.remains_since_s is not None


def test_a_copy_that_fails(stores: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk in the middle leaves no half of a copy, and the mirror as it was."""
    store = stores()
    fill(store, 5)
    forget(store, 1, 10)

    def breaks(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lmdb_file, "copy", breaks)
        with pytest.raises(SettingsError, match="disk is full"):
            store.copy()
    assert store.get(next(iter(facts_of(2)))) is not None
    store.copy()
    assert store.take_copy()
    assert name(1) not in bytes_of(tmp_path)


def test_whoever_reads_meanwhile(stores: Callable[[], LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on beside a copy, however much is mapped."""
    store = stores()
    fill(store, 300)
    forget(store, 1, 400)
    monkeypatch.setattr(lmdb_file, "MAX_MAPPED_BYTES", -1)
    monkeypatch.setattr(lmdb_module, "LOOK_EVERY", 1)
    ours = compaction.copy

    def slowly(*args: object, **kwargs: object) -> bool:
        assert [store.derived(name(number)) for number in (0, 1)] == [b"derived of " + name(0), None]
        whole = ours(*args, **kwargs)  # type: ignore[arg-type]
        assert store.derived(name(2)) == b"derived of " + name(2)
        return whole

    monkeypatch.setattr(lmdb_file, "copy", slowly)
    store.copy()
    assert store.take_copy()
