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
from pipeline.statestore import compaction
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
def mirrors(tmp_path: Path) -> Iterator[Callable[[], LmdbStore]]:
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


def fill(mirror: LmdbStore, customers: int) -> int:
    """So many customers, a write each; the offset of the end."""
    for number in range(customers):
        mirror.write(facts_of(number), {name(number): b"sheet of " + name(number)}, number + 1)
    return customers


def forget(mirror: LmdbStore, number: int, offset: int) -> None:
    """All facts of a customer are taken away, and the sheet."""
    mirror.write(dict.fromkeys(facts_of(number)), {name(number): None}, offset)


def bytes_of(directory: Path) -> bytes:
    """Every byte of every file under it."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def content(mirror: LmdbStore, customers: int) -> tuple[dict[bytes, bytes], list[bytes | None], int, Began | None]:
    """All that a mirror can be asked."""
    sheets = [mirror.sheet(name(number)) for number in range(customers)]
    return dict(mirror.scan(b"")), sheets, mirror.next_offset, mirror.began


def test_the_file_has_nothing_of_a_forgotten_customer(mirrors: Callable[[], LmdbStore], tmp_path: Path) -> None:
    """Before the copy the file has the name in many places, afterwards in none; everything else is as it was."""
    mirror = mirrors()
    end = fill(mirror, 60)
    mirror.absorb([(BEGAN, b"[1]")], end + 1, Began(end, b"[1]"))
    known = [mirror.remains_since_s is None]
    forget(mirror, 30, end + 2)
    known.append(mirror.remains_since_s is not None)
    assert known == [True, True]
    before = content(mirror, 60)
    assert bytes_of(tmp_path).count(name(30)) > 10
    mirror.copy()
    assert mirror.take_copy()
    assert bytes_of(tmp_path).count(name(30)) == 0
    assert content(mirror, 60) == before
    assert mirror.remains_since_s is None
    mirror.write({b"later\0payment\0p": b"v"}, {}, end + 3)
    mirror.close()
    again = mirrors()
    assert again.why_empty is None
    assert again.next_offset == end + 3


@settings(max_examples=60)
@given(data=st.data())
def test_whoever_was_forgotten(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever was written and forgotten in whatever order and size, the copy has nobody who is not there."""
    directory = tmp_path_factory.mktemp("mirror")
    mirror = LmdbStore.open(directory, TOPIC, 0, LARGEST)
    there: set[int] = set()
    for offset, number in enumerate(data.draw(st.lists(st.integers(0, 15), min_size=5, max_size=60)), 1):
        if number in there:
            forget(mirror, number, offset)
            there.remove(number)
        else:
            mirror.write(facts_of(number, data.draw(st.sampled_from([5, 60, 900, 5000]))), {name(number): b"s"}, offset)
            there.add(number)
        if data.draw(st.integers(0, 9)) == 0:
            mirror.copy()
            assert mirror.take_copy()
    mirror.copy()
    assert mirror.take_copy()
    found = bytes_of(directory)
    assert {number for number in range(16) if name(number) in found} == there
    assert {key.split(b"\0")[0] for key, _ in mirror.scan(b"")} == {name(number) for number in there}
    mirror.close()
    shutil.rmtree(directory)


def test_the_changelog_takes_somebody_away(mirrors: Callable[[], LmdbStore]) -> None:
    """A mirror that hears of a request in the topic, as at a restore, knows that it has something to remove."""
    mirror = mirrors()
    fill(mirror, 3)
    gone = [(key, None) for key in facts_of(1)]
    mirror.absorb([*gone, (name(7) + b"\0payment\0p", None)], 50, None)
    since_s = mirror.remains_since_s
    assert since_s is not None
    mirror.close()
    assert mirrors().remains_since_s == since_s  # a restart does not begin the time anew


def test_nothing_was_there(mirrors: Callable[[], LmdbStore]) -> None:
    """Facts that never reached the file leave nothing in it."""
    mirror = mirrors()
    forget(mirror, 1, 1)
    mirror.absorb([(key, None) for key in facts_of(2)], 2, None)
    assert mirror.remains_since_s is None


def test_written_in_between(mirrors: Callable[[], LmdbStore], tmp_path: Path) -> None:
    """A copy that misses a write is thrown away: the write counts."""
    mirror = mirrors()
    fill(mirror, 5)
    forget(mirror, 1, 10)
    mirror.copy()
    mirror.write({b"new\0payment\0p": b"v"}, {}, 11)
    assert not mirror.take_copy()
    assert (mirror.get(b"new\0payment\0p"), mirror.next_offset) == (b"v", 11)
    assert mirror.remains_since_s is not None
    assert not list(tmp_path.rglob("*.new"))


STEPS = ["copy begun", "copy written", "in place", "opened"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_between(
    step: str, mirrors: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies at any step leaves a whole mirror, which knows what it still has to do."""
    mirror = mirrors()
    fill(mirror, 40)
    forget(mirror, 20, 50)
    before = content(mirror, 40)

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
                patched.setattr(lmdb_module, "copy", half)
            case "in place":
                patched.setattr(StateDirectory, "take_copy", dies)
            case "opened":
                patched.setattr(LmdbStore, "_open", dies)
        with suppress(KilledError):
            mirror.copy()
            if step != "copy written":
                mirror.take_copy()
                pytest.fail("it did not die")
    mirror._env.close()  # as the end of the process does
    mirror._directory.release()
    again = mirrors()
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


def test_closed_meanwhile(mirrors: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy does not keep whoever closes the mirror waiting: it ends, and the next process makes it."""
    mirror = mirrors()
    fill(mirror, 5)
    forget(mirror, 1, 10)
    monkeypatch.setattr(compaction, "SLICE_ITEMS", 10)
    mirror.give_up_copy()
    mirror.copy()
    assert not mirror.take_copy()
    assert not list(tmp_path.rglob("*.new"))
    mirror.close()
    again = mirrors()
    assert (again.why_empty, again.remains_since_s is None) == (None, False)
    again.copy()
    assert again.take_copy()
    assert name(1) not in bytes_of(tmp_path)


def test_no_room_for_a_copy(mirrors: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is not filled up: the copy says what is missing, and the mirror goes on."""
    mirror = mirrors()
    fill(mirror, 5)
    forget(mirror, 1, 10)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
        with pytest.raises(SettingsError, match=r"PIPELINE_DATA_DIR: .*stays on the disk until.* bytes are missing"):
            mirror.copy()
    assert not list(tmp_path.rglob("*.new"))
    mirror.write({b"new\0payment\0p": b"v"}, {}, 11)
    assert mirror.remains_since_s is not None


def test_a_copy_that_fails(mirrors: Callable[[], LmdbStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk in the middle leaves no half of a copy, and the mirror as it was."""
    mirror = mirrors()
    fill(mirror, 5)
    forget(mirror, 1, 10)

    def breaks(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lmdb_module, "copy", breaks)
        with pytest.raises(SettingsError, match="disk is full"):
            mirror.copy()
    assert mirror.get(next(iter(facts_of(2)))) is not None
    mirror.copy()
    assert mirror.take_copy()
    assert name(1) not in bytes_of(tmp_path)


def test_whoever_reads_meanwhile(mirrors: Callable[[], LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on beside a copy, however much is mapped."""
    mirror = mirrors()
    fill(mirror, 300)
    forget(mirror, 1, 400)
    monkeypatch.setattr(lmdb_module, "MAX_MAPPED_BYTES", -1)
    monkeypatch.setattr(lmdb_module, "LOOK_EVERY", 1)
    ours = compaction.copy

    def slowly(*args: object, **kwargs: object) -> bool:
        assert [mirror.sheet(name(number)) for number in (0, 1)] == [b"sheet of " + name(0), None]
        whole = ours(*args, **kwargs)  # type: ignore[arg-type]
        assert mirror.sheet(name(2)) == b"sheet of " + name(2)
        return whole

    monkeypatch.setattr(lmdb_module, "copy", slowly)
    mirror.copy()
    assert mirror.take_copy()
