"""A store with transactions reads as one in memory does, whatever of it is committed and written already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline.errors import ContractViolationError, SettingsError, TopicError
from pipeline.statestore import transaction
from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.store import MemoryStore
from pipeline.statestore.transaction import Transaction, TransactionalStore
from tests.statestore.schemas import SMALLEST

CUSTOMERS = (b"a", b"ab", b"b", b"")
KEYS = [b"%b\0%b\0%d" % (customer, kind, n) for customer in CUSTOMERS for kind in (b"k", b"l") for n in range(3)]
BESIDE = [b"%b\0%b" % (customer, name) for customer in CUSTOMERS[:3] for name in (b"p", b"s1", b"s2", b"s3")]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LmdbStore]:
    """An empty one."""
    local = LmdbStore.open(tmp_path, "t", 0, SMALLEST)
    yield local
    local.close(clean=False)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from([b"1", b"2", None])),
        st.tuples(st.just("keep"), st.sampled_from([*CUSTOMERS[:3], *BESIDE]), st.sampled_from([b"s", b"t", None])),
        st.tuples(st.just("seal"), st.none(), st.none()),
        st.tuples(st.just("commit"), st.integers(1, 3), st.none()),
        st.tuples(st.just("flush"), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_it_is_a_store(steps: list[tuple[str, object, bytes | None]]) -> None:
    """Puts, seals, commits and flushes in any order: reads, and what is kept in the end, are those of memory."""
    with tempfile.TemporaryDirectory() as name:
        local = LmdbStore.open(Path(name), "t", 0, SMALLEST)
        try:
            _compare(TransactionalStore(local, 0), local, steps)
        finally:
            local.close(clean=False)


def _compare(store: TransactionalStore, local: LmdbStore, steps: list[tuple[str, object, bytes | None]]) -> None:
    model = MemoryStore()
    sealed: list[Transaction] = []
    offset = 0
    for what, argument, value in steps:
        match what, argument:
            case "put", bytes(key):
                store.put(key, value)
                model.put(key, value)
            case "keep", bytes(key):
                store.put_derived(key, value)
                model.put_derived(key, value)
            case "seal", _:
                sealed.append(store.seal())
            case "flush", _:
                store.flush()
                assert store.is_flushed
            case "commit", int(count):
                ready, sealed = sealed[:count], sealed[count:]
                offsets = []
                for chunk in ready:
                    offsets.append(range(offset, offset + len(chunk.values)) if chunk.values else None)
                    offset += len(chunk.values)
                store.commit(ready, offsets)
        for customer in CUSTOMERS:
            assert list(store.scan(customer + b"\0")) == list(model.scan(customer + b"\0"))
            assert list(store.scan(customer + b"\0l\0")) == list(model.scan(customer + b"\0l\0"))
        assert [store.get(key) for key in KEYS] == [model.get(key) for key in KEYS]
        assert [store.derived(key) for key in (*CUSTOMERS[:3], *BESIDE)] == [
            model.derived(key) for key in (*CUSTOMERS[:3], *BESIDE)
        ]
        for customer in CUSTOMERS[:3]:
            for start, stop in ((b"\0", b"\0\xff"), (b"\0s1", b"\0s3"), (b"\0p", b"\0s2")):
                for backwards in (False, True):
                    asked = customer + start, customer + stop
                    found = list(store.derived_between(*asked, backwards=backwards))
                    assert found == list(model.derived_between(*asked, backwards=backwards))
    rest = [*sealed, store.seal()]
    offsets = []
    for chunk in rest:
        offsets.append(range(offset, offset + len(chunk.values)) if chunk.values else None)
        offset += len(chunk.values)
    store.commit(rest, offsets)
    store.flush()
    assert [local.get(key) for key in KEYS] == [model.get(key) for key in KEYS]
    assert local.next_offset == offset


def test_what_is_known_is_not_written_again(local: LmdbStore) -> None:
    """The same value, pending or stored, makes no record; in one chunk only a fact's last value does."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0k\0", b"1")
    store.put(b"a\0k\0", b"1")
    store.put(b"a\0k\0", b"2")
    first = store.seal()
    assert first.values == {b"a\0k\0": b"2"}
    store.put(b"a\0k\0", b"2")
    second = store.seal()
    assert not second
    store.commit([first, second], [range(1), None])
    store.put(b"a\0k\0", b"2")
    store.put(b"b\0k\0", None)
    assert not store.seal()


def test_keys_that_no_store_takes(local: LmdbStore) -> None:
    """A key beyond LMDB's limit, or of nobody, is a bug and told as such."""
    store = TransactionalStore(local, 0)
    for key in (b"c\0k\0" + b"x" * 508, b"nobody"):
        with pytest.raises(ContractViolationError):
            store.put(key, b"1")
    with pytest.raises(ContractViolationError):
        store.scan(b"cus")


def test_an_unknown_offset_holds_the_place(local: LmdbStore) -> None:
    """Values are written, but the checkpoint stays until somebody has read what lies there."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0k\0", b"1")
    store.commit([store.seal()], [range(5, 6)])
    store.flush()
    assert (local.get(b"a\0k\0"), local.next_offset, store.has_gap) == (b"1", 0, True)
    store.gap_read(6)
    assert not store.has_gap
    assert local.next_offset == 0
    store.put(b"a\0k\0", b"2")
    store.commit([store.seal()], [None])
    store.flush()
    assert (local.next_offset, store.has_gap) == (6, True)


def test_a_tombstone_under_what_is_on_its_way(local: LmdbStore) -> None:
    """What was put here and is not stored yet stays, and comes to lie on top; merged with what others told."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0event\0x", b"[5]")
    store.put(b"a\0event\0y", b"[5]")
    sealed = store.seal()
    changes: list[Change] = [(b"a\0event\0x", None), (b"a\0event\0y", b"[3]"), (b"a\0event\0z", b"[9]")]
    store.merge_in(collapse(changes, SMALLEST.merge))
    assert [store.get(b"a\0event\0" + name) for name in (b"x", b"y", b"z")] == [b"[5]", b"[3]", b"[9]"]
    assert sealed.values == {b"a\0event\0x": b"[5]", b"a\0event\0y": b"[5]"}
    assert store.seal().values == {b"a\0event\0x": b"[5]", b"a\0event\0y": b"[3]", b"a\0event\0z": b"[9]"}


def test_what_is_deleted_while_a_gap_is_read(local: LmdbStore) -> None:
    """A tombstone that is on its way, or was committed meanwhile, lies behind what is read: nothing comes back."""
    store = TransactionalStore(local, 0)
    for key in (b"a\0event\0x", b"a\0event\0y"):
        put(store, key, b"[5]", int(key.endswith(b"y")))
    store.put(b"a\0event\0x", None)
    x_goes = store.seal()
    store.put(b"a\0event\0y", None)
    y_goes = store.seal()
    store.gap_begins()
    read: list[Change] = [(b"a\0event\0x", b"[5]"), (b"a\0event\0y", b"[5]"), (b"a\0event\0z", b"[9]")]
    store.commit([x_goes], [range(7, 8)])
    store.merge_in(collapse(read, SMALLEST.merge))
    assert [store.get(b"a\0event\0" + name) for name in (b"x", b"y", b"z")] == [None, None, b"[9]"]
    store.commit([y_goes, store.seal()], [range(8, 9), None])
    store.flush()
    assert dict(local.scan(b"")) == {b"a\0event\0z": b"[9]"}


def test_what_others_told_on_top_of_a_tombstone_on_its_way(local: LmdbStore) -> None:
    """Whether it lies behind is not known: it is put once more, so that a restore finds what is found here."""
    store = TransactionalStore(local, 0)
    put(store, b"a\0event\0x", b"[5]", 0)
    store.put(b"a\0event\0x", None)
    gone = store.seal()
    store.gap_begins()
    store.merge_in(collapse([*gone.changes(), (b"a\0event\0x", b"[9]")], SMALLEST.merge))
    assert store.get(b"a\0event\0x") is None
    assert store.seal().values == {b"a\0event\0x": None}


def test_what_others_told_drops_all_that_was_summed_up(local: LmdbStore) -> None:
    """Of a customer whose fact they changed: the summary and what lies beside it, stored or not, and of nobody else."""
    store = TransactionalStore(local, 0)
    for key in (b"a\0event\0x", b"ab\0event\0x"):
        store.put(key, b"[5]")
    for key in (b"a", b"a\0s1", b"ab", b"ab\0s1"):
        store.put_derived(key, b"1")
    store.commit([store.seal()], [range(2)])
    store.put_derived(b"a\0s2", b"2")
    store.merge_in(collapse([(b"a\0event\0x", None), (b"a\0event\0y", None)], SMALLEST.merge))
    assert [store.derived(key) for key in (b"a", b"a\0s1", b"a\0s2")] == [None] * 3
    assert [store.derived(key) for key in (b"ab", b"ab\0s1")] == [b"1"] * 2
    store.commit([store.seal()], [range(2, 4)])
    store.flush()
    assert list(local.derived_between(b"a", b"b")) == [(b"ab", b"1"), (b"ab\0s1", b"1")]


def test_offsets_that_go_back(local: LmdbStore) -> None:
    """A topic that was made anew under a running worker ends it."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0k\0", b"1")
    store.commit([store.seal()], [range(7, 8)])
    store.put(b"a\0k\0", b"2")
    with pytest.raises(TopicError, match="made anew"):
        store.commit([store.seal()], [range(1)])


def put(store: TransactionalStore, key: bytes, value: bytes, offset: int) -> None:
    """One chunk with one value, committed."""
    store.put(key, value)
    store.commit([store.seal()], [range(offset, offset + 1)])


def test_several_transactions_are_one_write(local: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is read at once, and in the local store with the last of so many transactions."""
    monkeypatch.setattr(transaction, "FLUSH_TRANSACTIONS", 3)
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    put(store, b"a\0k\0", b"2", 1)
    assert (store.get(b"a\0k\0"), store.is_flushed) == (b"2", False)
    assert (local.get(b"a\0k\0"), local.next_offset) == (None, 0)
    put(store, b"b\0k\0", b"3", 2)
    assert store.is_flushed
    assert (local.get(b"a\0k\0"), local.get(b"b\0k\0"), local.next_offset) == (b"2", b"3", 3)


def test_many_keys_are_written_at_once(local: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by keys as well, derived values among them."""
    monkeypatch.setattr(transaction, "FLUSH_KEYS", 3)
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    store.put_derived(b"b", b"derived")
    put(store, b"b\0k\0", b"2", 1)
    assert (store.is_flushed, local.next_offset, local.derived(b"b")) == (True, 2, b"derived")


def test_the_partition_goes(local: LmdbStore) -> None:
    """Whoever has it next on this machine finds what was committed, and nothing of what was not."""
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    store.put(b"b\0k\0", b"2")
    store.seal()
    store.put(b"c\0k\0", b"3")
    store.give_up()
    assert (dict(local.scan(b"")), local.next_offset) == ({b"a\0k\0": b"1"}, 1)


def test_the_partition_goes_from_a_disk_that_is_full(local: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes all the same: the topic has what was committed."""

    def full(*_: object) -> None:
        raise SettingsError("the disk is full")

    monkeypatch.setattr(LmdbStore, "write", full)
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    with capture_logs() as said:
        store.give_up()
    assert store.is_given_up
    assert [line["log_level"] for line in said] == ["warning"]


def test_a_write_that_fails_is_tried_again(local: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forgotten meanwhile, and reads go on."""
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    with monkeypatch.context() as patched:
        patched.setattr(LmdbStore, "_has_written", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.flush()
    assert (store.get(b"a\0k\0"), store.is_flushed, local.next_offset) == (b"1", False, 0)
    store.flush()
    assert (local.get(b"a\0k\0"), local.next_offset) == (b"1", 1)


def test_a_tombstone_over_what_is_committed(local: LmdbStore) -> None:
    """It lies behind in the topic, written to the local store or not: the value is gone."""
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    store.merge_in(collapse([(b"a\0k\0", None)], SMALLEST.merge))
    assert store.get(b"a\0k\0") is None


def test_what_lies_behind_a_tombstone(local: LmdbStore) -> None:
    """What was there before it does not count, also where the key was told before it once more."""
    store = TransactionalStore(local, 0)
    put(store, b"a\0k\0", b"1", 0)
    store.merge_in(collapse([(b"a\0k\0", b"1"), (b"a\0k\0", None), (b"a\0k\0", b"2")], SMALLEST.merge))
    assert store.get(b"a\0k\0") == b"2"


def test_given_up(local: LmdbStore) -> None:
    """After its partition has gone a store reads and commits nothing."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0k\0", b"1")
    writes = store.seal()
    store.give_up()
    with pytest.raises(ContractViolationError):
        store.commit([writes], [range(1)])
    with pytest.raises(ContractViolationError):
        store.get(b"a\0k\0")
    assert local.get(b"a\0k\0") is None


def test_deleted_and_put_in_one_chunk(local: LmdbStore) -> None:
    """A restore from below the chunk makes of a key what the chunk made of it: what was deleted does not come back."""
    store = TransactionalStore(local, 0)
    store.put(b"a\0k\0", b"1")
    first = store.seal()
    store.commit([first], [range(1)])
    store.flush()
    store.put(b"a\0k\0", None)
    store.put(b"a\0k\0", b"2")
    store.put(b"b\0k\0", b"1")
    changes = list(store.seal().changes())
    assert changes == [(b"a\0k\0", None), (b"a\0k\0", b"2"), (b"b\0k\0", b"1")]
    local.absorb(changes, 1 + len(changes), None)
    assert dict(local.scan(b"a\0")) == {b"a\0k\0": b"2"}


def test_what_is_put_last_lies_last(local: LmdbStore) -> None:
    """A crash leaves the first records of a chunk: what was put before a key goes is there when that is gone."""
    store = TransactionalStore(local, 0)
    for name, value in ((b"k", b"1"), (b"l", b"2"), (b"mark", b"3"), (b"k", None), (b"l", b"4")):
        store.put(b"a\0%b\0" % name, value)
    assert list(store.seal().changes()) == [(b"a\0mark\0", b"3"), (b"a\0k\0", None), (b"a\0l\0", b"4")]
