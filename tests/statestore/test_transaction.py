"""A shelf over a mirror reads as one in memory does, whatever of it is stored already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ContractViolationError, TopicError
from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.store import MemoryStore
from pipeline.statestore.transaction import Transaction, TransactionalStore
from tests.statestore.schemas import SMALLEST

CUSTOMERS = (b"a", b"ab", b"b", b"")
KEYS = [b"%b\0%b\0%d" % (customer, kind, n) for customer in CUSTOMERS for kind in (b"k", b"l") for n in range(3)]
BESIDE = [b"%b\0%b" % (customer, name) for customer in CUSTOMERS[:3] for name in (b"p", b"s1", b"s2", b"s3")]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[LmdbStore]:
    """An empty one."""
    mirror = LmdbStore.open(tmp_path, "t", 0, SMALLEST)
    yield mirror
    mirror.close(clean=False)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from([b"1", b"2", None])),
        st.tuples(st.just("keep"), st.sampled_from([*CUSTOMERS[:3], *BESIDE]), st.sampled_from([b"s", b"t", None])),
        st.tuples(st.just("seal"), st.none(), st.none()),
        st.tuples(st.just("store"), st.integers(1, 3), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_it_is_a_shelf(steps: list[tuple[str, object, bytes | None]]) -> None:
    """Puts, seals and stores in any order: every read is that of the shelf in memory, and so is what was written."""
    with tempfile.TemporaryDirectory() as name:
        mirror = LmdbStore.open(Path(name), "t", 0, SMALLEST)
        try:
            _compare(TransactionalStore(mirror, 0), mirror, steps)
        finally:
            mirror.close(clean=False)


def _compare(shelf: TransactionalStore, mirror: LmdbStore, steps: list[tuple[str, object, bytes | None]]) -> None:
    model = MemoryStore()
    sealed: list[Transaction] = []
    offset = 0
    for what, argument, value in steps:
        match what, argument:
            case "put", bytes(key):
                shelf.put(key, value)
                model.put(key, value)
            case "keep", bytes(key):
                shelf.keep(key, value)
                model.keep(key, value)
            case "seal", _:
                sealed.append(shelf.seal())
            case "store", int(count):
                ready, sealed = sealed[:count], sealed[count:]
                offsets = []
                for chunk in ready:
                    offsets.append(range(offset, offset + len(chunk.values)) if chunk.values else None)
                    offset += len(chunk.values)
                shelf.commit(ready, offsets)
        for customer in CUSTOMERS:
            assert list(shelf.scan(customer + b"\0")) == list(model.scan(customer + b"\0"))
            assert list(shelf.scan(customer + b"\0l\0")) == list(model.scan(customer + b"\0l\0"))
        assert [shelf.get(key) for key in KEYS] == [model.get(key) for key in KEYS]
        assert [shelf.sheet(key) for key in (*CUSTOMERS[:3], *BESIDE)] == [
            model.sheet(key) for key in (*CUSTOMERS[:3], *BESIDE)
        ]
        for customer in CUSTOMERS[:3]:
            for start, stop in ((b"\0", b"\0\xff"), (b"\0s1", b"\0s3"), (b"\0p", b"\0s2")):
                for backwards in (False, True):
                    asked = customer + start, customer + stop
                    found = list(shelf.entries(*asked, backwards=backwards))
                    assert found == list(model.entries(*asked, backwards=backwards))
    rest = [*sealed, shelf.seal()]
    offsets = []
    for chunk in rest:
        offsets.append(range(offset, offset + len(chunk.values)) if chunk.values else None)
        offset += len(chunk.values)
    shelf.commit(rest, offsets)
    assert [mirror.get(key) for key in KEYS] == [model.get(key) for key in KEYS]
    assert mirror.next_offset == offset


def test_what_is_known_is_not_written_again(mirror: LmdbStore) -> None:
    """The same value, pending or stored, makes no record; in one chunk only a fact's last value does."""
    shelf = TransactionalStore(mirror, 0)
    shelf.put(b"a\0k\0", b"1")
    shelf.put(b"a\0k\0", b"1")
    shelf.put(b"a\0k\0", b"2")
    first = shelf.seal()
    assert first.values == {b"a\0k\0": b"2"}
    shelf.put(b"a\0k\0", b"2")
    second = shelf.seal()
    assert not second
    shelf.commit([first, second], [range(1), None])
    shelf.put(b"a\0k\0", b"2")
    shelf.put(b"b\0k\0", None)
    assert not shelf.seal()


def test_keys_that_no_mirror_takes(mirror: LmdbStore) -> None:
    """A key beyond LMDB's limit, or of nobody, is a bug and told as such."""
    shelf = TransactionalStore(mirror, 0)
    for key in (b"c\0k\0" + b"x" * 508, b"nobody"):
        with pytest.raises(ContractViolationError):
            shelf.put(key, b"1")
    with pytest.raises(ContractViolationError):
        shelf.scan(b"cus")


def test_an_unknown_offset_holds_the_place(mirror: LmdbStore) -> None:
    """Facts are stored, but the place stays until somebody has read what lies there."""
    shelf = TransactionalStore(mirror, 0)
    shelf.put(b"a\0k\0", b"1")
    shelf.commit([shelf.seal()], [range(5, 6)])
    assert (mirror.get(b"a\0k\0"), mirror.next_offset, shelf.has_gap) == (b"1", 0, True)
    shelf.gap_read(6)
    assert not shelf.has_gap
    assert mirror.next_offset == 0
    shelf.put(b"a\0k\0", b"2")
    shelf.commit([shelf.seal()], [None])
    assert (mirror.next_offset, shelf.has_gap) == (6, True)


def test_a_tombstone_under_what_is_on_its_way(mirror: LmdbStore) -> None:
    """What was put here and is not stored yet stays, and comes to lie on top; merged with what others told."""
    shelf = TransactionalStore(mirror, 0)
    shelf.put(b"a\0event\0x", b"[5]")
    shelf.put(b"a\0event\0y", b"[5]")
    sealed = shelf.seal()
    changes: list[Change] = [(b"a\0event\0x", None), (b"a\0event\0y", b"[3]"), (b"a\0event\0z", b"[9]")]
    shelf.merge_in(collapse(changes, SMALLEST.merge))
    assert [shelf.get(b"a\0event\0" + name) for name in (b"x", b"y", b"z")] == [b"[5]", b"[3]", b"[9]"]
    assert sealed.values == {b"a\0event\0x": b"[5]", b"a\0event\0y": b"[5]"}
    assert shelf.seal().values == {b"a\0event\0x": b"[5]", b"a\0event\0y": b"[3]", b"a\0event\0z": b"[9]"}


def test_what_others_told_drops_all_that_was_summed_up(mirror: LmdbStore) -> None:
    """Of a customer whose fact they changed: the summary and what lies beside it, stored or not, and of nobody else."""
    shelf = TransactionalStore(mirror, 0)
    for key in (b"a\0event\0x", b"ab\0event\0x"):
        shelf.put(key, b"[5]")
    for key in (b"a", b"a\0s1", b"ab", b"ab\0s1"):
        shelf.keep(key, b"1")
    shelf.commit([shelf.seal()], [range(2)])
    shelf.keep(b"a\0s2", b"2")
    shelf.merge_in(collapse([(b"a\0event\0x", None), (b"a\0event\0y", None)], SMALLEST.merge))
    assert [shelf.sheet(key) for key in (b"a", b"a\0s1", b"a\0s2")] == [None] * 3
    assert [shelf.sheet(key) for key in (b"ab", b"ab\0s1")] == [b"1"] * 2
    shelf.commit([shelf.seal()], [range(2, 4)])
    assert list(mirror.entries(b"a", b"b")) == [(b"ab", b"1"), (b"ab\0s1", b"1")]


def test_offsets_that_go_back(mirror: LmdbStore) -> None:
    """A topic that was made anew under a running worker ends it."""
    shelf = TransactionalStore(mirror, 0)
    shelf.put(b"a\0k\0", b"1")
    shelf.commit([shelf.seal()], [range(7, 8)])
    shelf.put(b"a\0k\0", b"2")
    with pytest.raises(TopicError, match="made anew"):
        shelf.commit([shelf.seal()], [range(1)])


def test_given_up(mirror: LmdbStore) -> None:
    """After its partition has gone a shelf reads and stores nothing."""
    shelf = TransactionalStore(mirror, 0)
    shelf.put(b"a\0k\0", b"1")
    writes = shelf.seal()
    shelf.give_up()
    with pytest.raises(ContractViolationError):
        shelf.commit([writes], [range(1)])
    with pytest.raises(ContractViolationError):
        shelf.get(b"a\0k\0")
    assert mirror.get(b"a\0k\0") is None
