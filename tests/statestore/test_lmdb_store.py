"""A mirror keeps facts, derived values and its place together, and is thrown away when it cannot be trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import version
from pipeline.errors import SettingsError, StateError
from pipeline.statestore import directory as directory_module
from pipeline.statestore import lmdb_file, marker
from pipeline.statestore import lmdb_store as lmdb_module
from pipeline.statestore.changes import Began
from pipeline.statestore.lmdb_store import EARLIER, LmdbStore
from pipeline.statestore.memory import mapped_bytes
from tests.statestore.schemas import LARGEST

TOPIC = "dodo.customers"


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., LmdbStore]]:
    """`open_store(partition=0)`; what is still open at the end is closed."""
    stores: list[LmdbStore] = []

    def begin(partition: int = 0) -> LmdbStore:
        stores.append(LmdbStore.open(tmp_path, TOPIC, partition, LARGEST))
        return stores[-1]

    yield begin
    for one in stores:
        one.close(clean=False)


def filled(store: LmdbStore, facts: int = 200) -> dict[bytes, bytes]:
    """So many facts in it, in two writes."""
    values = {b"cus_%04d\0payment\0p" % number: b"%d" % number for number in range(facts)}
    half = dict(list(values.items())[: facts // 2])
    store.write(half, {b"cus_0001": b"derived"}, 100)
    store.write({key: value for key, value in values.items() if key not in half}, {}, 200)
    return values


def data_of(tmp_path: Path, partition: int = 0, slot: int = 0) -> Path:
    """The file of a partition."""
    return tmp_path / TOPIC / f"{partition}-{slot}" / "data.mdb"


def test_it_is_found_again_after_a_clean_close(open_store: Callable[..., LmdbStore]) -> None:
    """Facts, derived values, offset and the record with which the state began are there after a restart."""
    first = open_store()
    assert first.why_empty is not None
    values = filled(first)
    first.absorb([(b"\0state\0began", b"[1]")], 201, Began(200, b"[1]"))
    first.close()
    again = open_store()
    assert again.why_empty is None
    assert (again.next_offset, again.began) == (201, Began(200, b"[1]"))
    assert {key: again.get(key) for key in values} == values
    assert again.derived(b"cus_0001") == b"derived"
    assert list(again.scan(b"cus_0007\0")) == [(b"cus_0007\0payment\0p", b"7")]
    assert again.get(b"") is None


def test_it_knows_who_has_kept_something_aside(
    open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the build that did, nothing is missing; to another one, and behind one that does not note it, it may be."""
    store = open_store()
    filled(store)
    store.close()
    store = open_store()
    assert not store.may_lack
    store.keeps_aside()
    store.copy()
    assert store.take_copy()
    store.write({b"c\0payment\0p": b"1"}, {}, 300)
    store.close()
    store = open_store()
    assert (store.kept_aside_by, store.may_lack) == (version.build(), False)
    with monkeypatch.context() as another:
        another.setattr(version, "build", lambda: "another")
        seen = [store.may_lack]
        store.start_anew("as it may lack something")
        assert [*seen, store.may_lack] == [True, False]
        filled(store)
    store.close()
    store = open_store()
    assert not store.may_lack
    with store._env.begin(db=store._meta, write=True) as txn:
        txn.put(b"place", (txn.get(b"place") or b"").replace(b"\0\0\0\xc8", b"\0\0\0\xc9", 1))
    store.close()
    store = open_store()
    assert (store.next_offset, store.kept_aside_by, store.may_lack) == (201, EARLIER, True)


def test_a_change_drops_all_that_was_summed_up(open_store: Callable[..., LmdbStore]) -> None:
    """The derived value and all that lies below it, the last of the file too; also below one that was taken already."""
    store = open_store()
    derived_values = {
        b"a": b"1",
        b"a\0p": b"",
        b"a\0s1": b"",
        b"ab": b"2",
        b"ab\0s1": b"",
        b"b\0s1": b"",
        b"b\0s2": b"",
    }
    store.write({b"a\0payment\0p": b"1", b"b\0payment\0p": b"1"}, derived_values, 1)
    assert [key for key, _ in store.derived_between(b"a\0", b"a\0\xff")] == [b"a\0p", b"a\0s1"]
    assert [key for key, _ in store.derived_between(b"a\0p", b"b", backwards=True)] == [
        b"ab\0s1",
        b"ab",
        b"a\0s1",
        b"a\0p",
    ]
    assert list(store.derived_between(b"c", b"d", backwards=True)) == list(store.derived_between(b"c", b"d")) == []
    store.absorb([(b"a\0payment\0p", None), (b"b\0payment\0p", None)], 3, None)
    assert [key for key, _ in store.derived_between(b"", b"c")] == [b"ab", b"ab\0s1"]


def test_a_process_that_died_leaves_what_its_last_transaction_had(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing: offset and facts belong together, and nothing is rebuilt."""
    script = f"""
import os, signal, sys
from pathlib import Path
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST
mirror = LmdbStore.open(Path({str(tmp_path)!r}), {TOPIC!r}, 0, LARGEST)
for number in range(1, 10_000):
    mirror.write({{b"c\\0payment\\0%d" % number: b"v", b"c\\0count\\0": b"%d" % number}}, {{}}, number)
    if number == 50:
        print("going", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"going\n"
    process.kill()
    process.wait()
    process.stdout.close()
    left = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert left.why_empty is None
    assert left.next_offset >= 50
    assert left.get(b"c\0count\0") == b"%d" % left.next_offset
    assert len(list(left.scan(b"c\0payment\0"))) == left.next_offset
    left.close()


def cut(data: Path) -> None:
    """Half of it is gone."""
    os.truncate(data, data.stat().st_size // 2)


def cut_to_nothing(data: Path) -> None:
    """All of it is gone, the file is there."""
    os.truncate(data, 0)


def garbage_at_the_start(data: Path) -> None:
    """No LMDB file any more."""
    with data.open("r+b") as stream:
        stream.write(os.urandom(8192))


def garbage_in_the_middle(data: Path) -> None:
    """One page of it is garbage, which LMDB itself would not notice at the start."""
    with data.open("r+b") as stream:
        stream.seek(4 * 4096)
        stream.write(os.urandom(4096))


def gone(data: Path) -> None:
    """The file is not there."""
    data.unlink()


def other_version(data: Path) -> None:
    """Written by another version of this program."""
    mark = data.parent / "mark.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "format": 99}))


def no_mark(data: Path) -> None:
    """Nobody vouches for it."""
    (data.parent / "mark.json").unlink()


def unreadable_mark(data: Path) -> None:
    """What vouches for it is garbage."""
    (data.parent / "mark.json").write_bytes(b"\xff[1]")


def old(data: Path) -> None:
    """Not used for a month: tombstones may have passed it by."""
    then = time.time() - 30 * 86_400
    os.utime(data, (then, then))


def of_the_future(data: Path) -> None:
    """Written by a clock that was years ahead: how long ago that is, nobody knows."""
    then = time.time() + 1000 * 86_400
    os.utime(data, (then, then))


def another_partition(data: Path) -> None:
    """Copied from another partition by somebody who meant well."""
    other = LmdbStore.open(data.parents[2], TOPIC, 7, LARGEST)
    other.write({b"x\0payment\0": b"1"}, {}, 5)
    other.close()
    for name in ("data.mdb", "mark.json"):
        (data.parent / name).write_bytes((data.parents[1] / "7-0" / name).read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        cut, cut_to_nothing, garbage_at_the_start, garbage_in_the_middle, gone, other_version, no_mark, unreadable_mark,
        old, of_the_future, another_partition,
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_thrown_away(
    open_store: Callable[..., LmdbStore], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Whatever happened to a closed mirror: it is empty, works, and says why."""
    first = open_store()
    values = filled(first)
    first.close()
    damage(data_of(tmp_path))
    anew = open_store()
    assert anew.why_empty is not None
    assert (anew.next_offset, anew.began) == (0, None)
    assert [key for key in values if anew.get(key) is not None] == []
    anew.write(values, {}, 3)
    assert anew.get(b"cus_0001\0payment\0p") == b"1"


@pytest.mark.parametrize("damage", [cut, garbage_at_the_start])
def test_damage_to_an_unclosed_mirror_is_noticed(
    open_store: Callable[..., LmdbStore], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Without a checksum, after a kill, a file that is no LMDB file or too short is still not used."""
    first = open_store()
    filled(first, 20_000)
    first.close(clean=False)
    damage(data_of(tmp_path))
    anew = open_store()
    assert anew.why_empty is not None
    assert anew.next_offset == 0


def test_a_power_failure_is_not_trusted(open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Open when the machine went down: thrown away; closed in order before that: used."""
    first, second = open_store(0), open_store(1)
    filled(first)
    filled(second)
    first.close(clean=False)
    second.close()
    monkeypatch.setattr(marker, "_boot_id", lambda: "another boot")
    assert open_store(0).next_offset == 0
    assert open_store(1).next_offset == 200


def test_files_that_kill_are_suspected(open_store: Callable[..., LmdbStore]) -> None:
    """After three processes in a row died over the same files they are not opened a fourth time."""
    first = open_store()
    filled(first)
    first.close(clean=False)
    for _ in range(2):
        again = open_store()
        assert again.next_offset == 200
        again.close(clean=False)
    assert open_store().next_offset == 0


def test_long_use_clears_the_suspicion(open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that worked for a while before it was killed did not die of the files."""
    monkeypatch.setattr(lmdb_module, "HEALTHY_AFTER_S", 0.0)
    for number in range(5):
        store = open_store()
        assert store.next_offset == number
        store.write({b"c\0payment\0": b"v"}, {}, number + 1)
        store.close(clean=False)


def test_nobody_shares_a_mirror(open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second owner has an empty mirror of its own; once both are closed the first one counts, the other is gone."""
    monkeypatch.setattr(directory_module, "LOCK_WITHIN_S", 0.1)
    first = open_store()
    filled(first)
    second = open_store()
    assert second.next_offset == 0
    second.write({b"c\0payment\0": b"v"}, {}, 7)
    assert first.get(b"c\0payment\0") is None
    second.close()
    first.close()
    assert open_store().next_offset == 200
    assert open_store().next_offset == 0


def test_it_grows(open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """A full map is made larger, the write that met it is whole."""
    monkeypatch.setattr(lmdb_file, "FIRST_MAP_BYTES", 256 * 1024)
    store = open_store()
    facts = {b"cus_%05d\0payment\0" % number: b"x" * 400 for number in range(5000)}
    store.write(facts, {}, 1)
    assert store.size_bytes > 1024 * 1024
    assert len(list(store.scan(b"cus_"))) == 5000
    store.close()
    assert open_store().get(b"cus_04999\0payment\0") == b"x" * 400


def test_absorbing(open_store: Callable[..., LmdbStore]) -> None:
    """The changelog's order counts, two values become what both make; what is derived of what changed is dropped."""
    store = open_store()
    store.write(
        {b"a\0k\0": b"1", b"b\0k\0": b"5", b"c\0k\0": b"3", b"d\0k\0": b"9"},
        {b"a": b"s", b"b": b"s", b"c": b"s", b"d": b"s"}, 4,
    )  # fmt: skip
    store.absorb(
        [
            (b"a\0k\0", b"2"), (b"a\0k\0", b"3"),  # grows
            (b"b\0k\0", b"4"),  # a late one: the mirror has more, and the topic's latest must be told again
            (b"c\0k\0", b"3"),  # known
            (b"d\0k\0", None), (b"d\0k\0", b"2"),  # taken away, and begun anew
            (b"e\0k\0", b"1"), (b"e\0k\0", None),  # came and went
        ],
        12, None,
    )  # fmt: skip
    assert {key: store.get(key) for key in (b"a\0k\0", b"b\0k\0", b"c\0k\0", b"d\0k\0", b"e\0k\0")} == {
        b"a\0k\0": b"3", b"b\0k\0": b"5", b"c\0k\0": b"3", b"d\0k\0": b"2", b"e\0k\0": None,
    }  # fmt: skip
    assert {customer: store.derived(customer) for customer in (b"a", b"b", b"c", b"d")} == {
        b"a": None, b"b": b"s", b"c": b"s", b"d": None,
    }  # fmt: skip
    assert store.differing() == [b"b\0k\0"]
    assert store.next_offset == 12


def test_what_must_be_written_again_is_known_until_it_is_written(open_store: Callable[..., LmdbStore]) -> None:
    """A process that ends before it has written it leaves it to the next; what came on top since needs no more."""
    store = open_store()
    store.write({b"%b\0k\0" % group: b"5" for group in (b"a", b"b", b"c", b"d")}, {}, 4)
    store.absorb([(b"%b\0k\0" % group, b"4") for group in (b"a", b"b", b"c", b"d")], 8, None)
    store.close()
    store = open_store()
    assert store.differing() == [b"a\0k\0", b"b\0k\0", b"c\0k\0", b"d\0k\0"]
    store.absorb([(b"b\0k\0", b"6"), (b"c\0k\0", None)], 10, None)
    store.write({b"a\0k\0": b"5"}, {}, 11)
    store.copy()
    assert store.take_copy()
    assert store.differing() == [b"d\0k\0"]
    store.start_anew("for a test")
    assert store.differing() == []


def test_absorbing_is_called_off_between_two_transactions(
    open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offset stays where it was, so that what was taken in already is read once more, and comes to the same."""
    monkeypatch.setattr(lmdb_module, "SLICE_KEYS", 2)
    store = open_store()
    changes = [(b"%d\0k\0" % number, b"1") for number in range(6)]
    asked = iter([False, False, True])
    store.absorb(changes, 7, None, lambda: next(asked))
    assert (store.count, store.next_offset) == (4, 0)
    store.absorb(changes, 7, None)
    assert (store.count, store.next_offset) == (6, 7)


def test_a_slow_disk_takes_in_more_at_once(
    open_store: Callable[..., LmdbStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for fewer transactions; each has whole groups, and all that was told is there in the end."""
    monkeypatch.setattr(lmdb_module, "SLICE_KEYS", 10)
    now, sizes = 0.0, []
    store, ours = open_store(), LmdbStore._has_written

    def slow(self: LmdbStore, do: Callable[[Any], bool], place: bytes) -> bool:
        nonlocal now
        now += 0.34
        before = self.count
        done = ours(self, do, place)
        sizes.append(self.count - before)
        return done

    monkeypatch.setattr(LmdbStore, "_has_written", slow)
    monkeypatch.setattr(lmdb_module, "monotonic", lambda: now)
    changes = [(b"%04d\0k\0%d" % divmod(number, 4), b"1") for number in range(800)]
    store.absorb(changes[:400], 400, None)
    store.absorb(changes[400:], 800, None)
    assert sizes == [12, 20, 40, *4 * [80], 8, *5 * [80]]
    assert (store.count, store.next_offset) == (800, 800)


def test_a_broken_file_that_is_met_later_is_thrown_away_at_the_next_start(
    open_store: Callable[..., LmdbStore], tmp_path: Path
) -> None:
    """What LMDB notices while it works ends the worker; the restart does not meet it again."""
    first = open_store()
    filled(first, 20_000)
    first.close(clean=False)
    with data_of(tmp_path).open("r+b") as stream:
        pages = [stream.read(4096) for _ in range(data_of(tmp_path).stat().st_size // 4096)]
        for number, page in enumerate(pages):
            if b"\0payment\0" in page and b"place" not in page and b"facts" not in page:
                stream.seek(number * 4096)
                stream.write(bytes(4096))
    again = open_store()
    assert again.next_offset == 200
    with pytest.raises(StateError):
        list(again.scan(b"cus_"))
    assert again.is_broken
    again.close()
    anew = open_store()
    assert (anew.next_offset, anew.why_empty) == (0, "it was found broken")


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """An operator's mistake is told with the setting's name."""
    (tmp_path / TOPIC).write_text("a file where the directory should be")
    with pytest.raises(SettingsError, match="PIPELINE_DATA_DIR"):
        LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)


def test_old_mirrors_are_swept(open_store: Callable[..., LmdbStore], tmp_path: Path) -> None:
    """What was not used for weeks does not stay on the disk; what is in use, or younger, does."""
    for partition in (0, 1, 2):
        store = open_store(partition)
        filled(store)
        if partition:
            store.close()
    then = time.time() - 30 * 86_400
    for partition in (0, 1):
        os.utime(data_of(tmp_path, partition), (then, then))
    directory_module.sweep(tmp_path / TOPIC)
    assert [data_of(tmp_path, partition).exists() for partition in (0, 1, 2)] == [True, False, True]
    assert directory_module.unused(tmp_path / TOPIC, 1800.0) == []
    then = time.time() + 1000 * 86_400
    for name in ("data.mdb", "mark.json"):
        os.utime(data_of(tmp_path, 2).with_name(name), (then, then))
    assert directory_module.unused(tmp_path / TOPIC, 1800.0) == [(2, 0)]
    directory_module.sweep(tmp_path / TOPIC)
    assert not data_of(tmp_path, 2).exists()


def test_memory_stays_within_its_bound(open_store: Callable[..., LmdbStore]) -> None:
    """Looking at a large mirror does not keep its file in this process's memory."""
    store = open_store()
    for first in range(0, 100_000, 20_000):
        facts = {b"cus_%08d\0payment\0" % (n * 7919 % 100_003): b"x" * 1000 for n in range(first, first + 20_000)}
        store.write(facts, {}, first + 1)
    assert store.size_bytes > 100_000_000
    before = mapped_bytes()
    peak = 0
    for number in range(0, 100_000, 50):
        for step in range(50):
            store.get(b"cus_%08d\0payment\0" % (number + step))
        store.write({b"cus_1\0payment\0": b"%d" % number}, {}, 200_000 + number)
        peak = max(peak, mapped_bytes())
    assert peak - before < lmdb_file.MAX_MAPPED_BYTES + 8 * 1024 * 1024


def test_a_look_at_its_size_hinders_nobody(tmp_path: Path) -> None:
    """Bytes and facts as they are; while somebody writes, as they were; once the file is closed, no error."""
    store = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert store.measure() == (store.size_bytes, store.count)
    store.write({b"a": b"1", b"b": b"2"}, {}, 2)
    with store._writing:
        before = store.measure()
    assert store.measure() == (store.size_bytes, store.count)
    after = store.measure()
    assert before is not None
    assert after is not None
    assert after.values == before.values + 2
    store.close()
    assert store.measure() == after
