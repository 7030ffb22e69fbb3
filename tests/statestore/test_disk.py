"""What the machine lacks is named with what to raise, and costs no mirror; only broken files are thrown away."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from pipeline.errors import SettingsError, StateError
from pipeline.statestore import lmdb_file, marker
from pipeline.statestore import lmdb_store as lmdb_module
from pipeline.statestore.disk import BROKEN, REMEDIES, is_broken, unusable
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST

TOPIC = "dodo.customers"
WORKER = Path(__file__).parent / "disk_worker.py"
FAULT = Path(__file__).parent / "disk_fault.c"

STARTS = marker.MAX_UNCLEAN + 1
"""One more than the deaths after which files are suspected."""


def fill(base: Path) -> None:
    """A mirror of 200 facts, closed in order."""
    store = LmdbStore.open(base, TOPIC, 0, LARGEST)
    store.write({b"cus_%04d\0payment\0p" % number: b"%d" % number for number in range(200)}, {}, 200)
    store.close()


def run(base: Path, lack: str, *arguments: str, before: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
    """What a process was told that met this lack; it must end by itself, without a traceback."""
    done = subprocess.run(
        [*before, sys.executable, str(WORKER), str(base), lack, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def assert_kept(base: Path) -> None:
    """The mirror is there with what it had."""
    left = LmdbStore.open(base, TOPIC, 0, LARGEST)
    try:
        assert left.why_empty is None
        assert left.next_offset >= 200
        assert left.get(b"cus_0199\0payment\0p") == b"199"
    finally:
        left.close()


@pytest.mark.parametrize(
    ("lack", "remedy"),
    [("address-space", "ulimit -v"), ("open-files", "ulimit -n"), ("file-size", "ulimit -f")],
)
def test_a_limit_of_the_process(tmp_path: Path, lack: str, remedy: str) -> None:
    """A limit is named with how to raise it, start after start; the mirror is as it was once it is raised."""
    fill(tmp_path)
    for _ in range(STARTS):
        told = run(tmp_path, lack)
        assert (told["kind"], told["code"]) == ("SettingsError", 2)
        assert "PIPELINE_DATA_DIR" in told["message"]
        assert remedy in told["message"]
    assert_kept(tmp_path)


@pytest.fixture(scope="module")
def fault_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes writes fail."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = tmp_path_factory.mktemp("fault") / "disk_fault.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(FAULT), "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get
)
def test_a_disk_that_fails_at_work(tmp_path: Path, fault_library: Path, number: int) -> None:
    """Whatever the disk says to a write: one message with what to do, and the files stay, start after start."""
    fill(tmp_path / "data")
    for _ in range(STARTS):
        mark = tmp_path / "failing"
        mark.unlink(missing_ok=True)
        told = run(
            tmp_path / "data", "write", str(mark),
            LD_PRELOAD=str(fault_library), FAULT_WHEN=str(mark), FAULT_ERRNO=str(number),
        )  # fmt: skip
        assert told == {"kind": "SettingsError", "message": told["message"], "code": 2}
        assert REMEDIES[number] in told["message"]
    assert_kept(tmp_path / "data")


@pytest.mark.parametrize(
    ("mount", "number"),
    [("mount -t tmpfs -o size=3m none {0}", errno.ENOSPC), ("mount -o bind,ro {1} {0}", errno.EROFS)],
    ids=["full", "read-only"],
)
def test_a_file_system(tmp_path: Path, mount: str, number: int) -> None:
    """A tmpfs that fills up, and a file system that is read-only from the start: the same messages."""
    place, origin = tmp_path / "place", tmp_path / "origin"
    place.mkdir()
    fill(origin)
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    shell = mount.format(place, origin) + ' && cp -r --no-clobber "$0"/. "$1" 2>/dev/null; shift; exec "$@"'
    told = run(place, "write", before=("unshare", "-rm", "sh", "-c", shell, str(origin), str(place)))
    assert (told["kind"], told["code"]) == ("SettingsError", 2)
    assert REMEDIES[number] in told["message"]
    assert_kept(origin)


def test_what_is_broken() -> None:
    """Of all that LMDB may say, only corruption, another version and a foreign file cost a mirror."""
    kinds = {kind for kind in vars(lmdb).values() if isinstance(kind, type) and issubclass(kind, lmdb.Error)}
    broken = {kind for kind in kinds if is_broken(kind("x"))}
    assert broken == set(BROKEN)
    assert not broken & {
        lmdb.Error, lmdb.DiskError, lmdb.MemoryError, lmdb.MapFullError, lmdb.PanicError, lmdb.ReadonlyError,
        lmdb.LockError, lmdb.TxnFullError, lmdb.BadTxnError, lmdb.MapResizedError, lmdb.TlsFullError,
    }  # fmt: skip
    assert not is_broken(OSError(errno.EIO, "x"))


def test_what_nobody_foresaw() -> None:
    """An error without a remedy is told with its own words."""
    told = str(unusable(Path("/data"), OSError(errno.ELOOP, "Too many levels of symbolic links")))
    assert "/data: it cannot be used ([Errno 40] Too many levels of symbolic links)" in told


@pytest.mark.parametrize("name", ["mark.json", "boot_id"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOMEM], ids=errno.errorcode.get)
def test_what_vouches_for_it_cannot_be_read_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """Not to be able to read who vouches for the files is no reason to throw them away."""
    fill(tmp_path)
    LmdbStore.open(tmp_path, TOPIC, 0, LARGEST).close(clean=False)  # then the boot counts
    ours = Path.read_bytes if name == "mark.json" else Path.read_text

    def read(path: Path, *arguments: Any, **keywords: Any) -> Any:
        if path.name == name:
            raise OSError(number, os.strerror(number))
        return ours(path, *arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(Path, ours.__name__, read)
        with pytest.raises(SettingsError, match="PIPELINE_DATA_DIR"):
            LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert_kept(tmp_path)


def test_lmdb_gives_up_for_another_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panic after a failed write ends the process; its files are opened again, not thrown away."""
    fill(tmp_path)
    store = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)

    def panics(*_: object) -> bool:
        raise lmdb.PanicError("MDB_PANIC")

    with monkeypatch.context() as patched:
        patched.setattr(LmdbStore, "_has_written", panics)
        with pytest.raises(StateError, match=f"mirror of {TOPIC}/0 .*MDB_PANIC.*it was kept"):
            store.write({b"c\0payment\0": b"v"}, {}, 201)
    assert not store.is_broken
    store.close()
    assert_kept(tmp_path)


def removed(directory: Path) -> None:
    """All of the partition's place is gone."""
    shutil.rmtree(directory)


def data_removed(directory: Path) -> None:
    """The data alone is gone."""
    (directory / "data.mdb").unlink()


def replaced(directory: Path) -> None:
    """Another file of the same content lies there."""
    data = directory / "data.mdb"
    data.rename(directory / "other.mdb")
    shutil.copy(directory / "other.mdb", data)


def written(store: LmdbStore) -> None:
    """One more fact."""
    store.write({b"c\0payment\0": b"v"}, {}, 201)


def measured(store: LmdbStore) -> object:
    """The size for the metrics."""
    return store.size_bytes


def mapped_anew(store: LmdbStore) -> object:
    """A look at a derived value that finds much of the file in memory."""
    store._looks = lmdb_module.LOOK_EVERY - 1
    return store.derived(b"cus_0001")


@pytest.mark.parametrize("harm", [removed, data_removed, replaced])
@pytest.mark.parametrize("use", [written, measured, mapped_anew])
def test_removed_while_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], use: Callable[[LmdbStore], object]
) -> None:
    """It is said, nothing is decided with an empty mirror in its place, and it is built anew."""
    monkeypatch.setattr(lmdb_file, "MAX_MAPPED_BYTES", -1)
    fill(tmp_path)
    store = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert store.get(b"cus_0001\0payment\0p") == b"1"
    harm(tmp_path / TOPIC / "0-0")
    with pytest.raises(StateError, match=r"it was removed while it was in use.*builds it anew"):
        use(store)
    assert store.is_broken
    store.start_anew("it was removed")
    assert (store.next_offset, store.get(b"cus_0001\0payment\0p")) == (0, None)
    written(store)
    store.close()
    again = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert (again.why_empty, again.next_offset) == (None, 201)
    again.close()


def test_a_place_that_was_removed_and_taken(tmp_path: Path) -> None:
    """Two processes never write one mirror, though the lock of the first was removed with all the rest."""
    fill(tmp_path)
    store = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    shutil.rmtree(tmp_path / TOPIC)
    other = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    with pytest.raises(SettingsError, match="its lock was removed, and another process has it"):
        store.start_anew("it was removed")
    written(other)
    with pytest.raises(StateError, match="removed while it was in use"):
        store.close()
    other.close()
    again = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert (again.why_empty, again.next_offset) == (None, 201)
    again.close()


def test_removed_before_the_end(tmp_path: Path) -> None:
    """Nobody vouches for what lies in a place that is not this process's any more."""
    fill(tmp_path)
    store = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    replaced(tmp_path / TOPIC / "0-0")
    with pytest.raises(StateError, match="removed while it was in use"):
        store.close()
    again = LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
    assert (again.why_empty, again.next_offset) == ("it was found broken", 0)
    again.close()


def test_files_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken mirror that the disk does not let go is a message, not a mirror that is used all the same."""
    fill(tmp_path)
    with (tmp_path / TOPIC / "0-0" / "data.mdb").open("r+b") as stream:
        stream.write(os.urandom(8192))

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "rmtree", refuses)
    with pytest.raises(SettingsError, match="disk failed to read or write"):
        LmdbStore.open(tmp_path, TOPIC, 0, LARGEST)
