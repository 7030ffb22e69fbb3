"""What the store is told of facts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers.schema import CUSTOMERS, leaves_remains


@pytest.mark.parametrize(
    ("key", "value", "leaves"),
    [
        (b"cus_1\0payment\0p", None, True),
        (b"cus_1\0identity\0", None, True),
        (b"cus_1\0event\0ULID", None, False),
        (b"cus_1\0payment\0p", b'[1,"USD","",null,null,false,"webhook",[],null]', False),
        (b"person:00\0share\0cus_1", b"[3,null]", True),
        (b"person:00\0share\0cus_1", b'[3,{"contact":["a",null,null,null],"metadata":{}}]', False),
    ],
)
def test_what_leaves_remains(key: bytes, value: bytes | None, leaves: bool) -> None:
    """Facts that are taken away and shares that are taken back; not the pruning of old events, all day long."""
    assert leaves_remains(key, value) is leaves


FORGOTTEN_S = 1_700_000_000
MARK = b"cus_1\0forgotten\0"
WHO = b"cus_1\0identity\0"


def identity(version: int, delivered_s: int, name: str) -> bytes:
    """Who a customer is."""
    said = b'[%d,%d,null,null,null,null,[%d,0,"%b"],null,null,{}]'
    return said % (version, delivered_s, delivered_s, name.encode())


BEFORE = identity(57, FORGOTTEN_S - 10, "Ada")
SINCE = identity(1, FORGOTTEN_S + 10, "A")


@pytest.fixture
def away(tmp_path: Path) -> Iterator[LmdbStore]:
    """A mirror that was away while its customer was forgotten and came back."""
    store = LmdbStore.open(tmp_path, "customers", 0, CUSTOMERS)
    store.absorb([(WHO, BEFORE), (b"cus_2\0identity\0", BEFORE)], 2, None)
    yield store
    store.close(clean=False)


@pytest.mark.parametrize("tombstone", [True, False], ids=["all of the log", "compacted"])
def test_a_mirror_that_was_away_over_a_request(away: LmdbStore, tombstone: bool) -> None:
    """Compaction takes a tombstone as soon as its key has a newer value: the mark says as much."""
    log = [*([(WHO, None)] if tombstone else []), (MARK, b"[%d]" % FORGOTTEN_S), (WHO, SINCE)]
    away.absorb(log, 9, None)
    assert away.differing() == []
    assert away.get(WHO) == SINCE
    assert away.get(b"cus_2\0identity\0") == BEFORE


def test_a_request_in_one_piece_and_what_came_since_in_the_next(away: LmdbStore) -> None:
    """A restore takes the log in piece by piece."""
    away.absorb([(MARK, b"[%d]" % FORGOTTEN_S)], 8, None)
    assert away.get(WHO) is None
    away.absorb([(WHO, SINCE)], 9, None)
    assert away.get(WHO) == SINCE


def test_a_mark_that_is_known_ends_nothing(away: LmdbStore) -> None:
    """What came after a request is merged as ever, also where the mark lies in the log once more."""
    mark = (MARK, b"[%d]" % FORGOTTEN_S)
    away.absorb([(WHO, None), mark, (WHO, SINCE)], 9, None)
    later = identity(2, FORGOTTEN_S + 20, "Ada L.")
    away.absorb([mark, (WHO, later)], 11, None)
    away.absorb([(WHO, SINCE)], 12, None)
    assert away.get(WHO) == later


@pytest.mark.parametrize(
    ("marked_by", "came_back"),
    [("this owner", False), ("this owner", True), ("the other one", False), ("both", False), ("both", True)],
)
def test_a_late_record_of_a_former_owner(away: LmdbStore, marked_by: str, came_back: bool) -> None:
    """It lies behind a request to be forgotten and tells of before it: what there is since then is put on top."""
    mark, store = (MARK, b"[%d]" % FORGOTTEN_S), TransactionalStore(away, 0)
    if marked_by != "the other one":
        for key, value in ((WHO, None), mark):
            store.put(key, value)
        store.commit([store.seal()], [range(2, 4)])
    if came_back:
        store.put(WHO, SINCE)
        store.commit([store.seal()], [range(4, 5)])
    theirs: list[Change] = [] if marked_by == "this owner" else [(WHO, None), mark]
    store.gap_begins()
    store.merge_in(collapse([*theirs, (WHO, BEFORE), (b"cus_2\0identity\0", SINCE)], CUSTOMERS.merge))
    assert store.get(WHO) == (SINCE if came_back else None)
    assert store.seal().values[WHO] == (SINCE if came_back else None)
    assert store.get(b"cus_2\0identity\0") is not None


def test_a_former_owner_s_record_of_who_was_revived(away: LmdbStore) -> None:
    """The mark is gone, so what is of before it is known again."""
    store = TransactionalStore(away, 0)
    for key, value in ((WHO, None), (MARK, b"[%d]" % FORGOTTEN_S)):
        store.put(key, value)
    store.commit([store.seal()], [range(2, 4)])
    store.gap_begins()
    store.merge_in(collapse([(WHO, BEFORE), (MARK, None)], CUSTOMERS.merge))
    assert store.get(WHO) == BEFORE


def test_a_former_owner_s_revival_before_the_request(away: LmdbStore) -> None:
    """The mark that is on its way will lie behind it: what is of before is not known again."""
    store, paid = TransactionalStore(away, 0), b"cus_1\0payment\0p"
    store.put(MARK, b"[%d]" % FORGOTTEN_S)
    store.seal()
    before = b'[1,"USD","2023-11-01T00:00:00Z",null,null,false,"webhook",[],null]'
    store.merge_in(collapse([(MARK, None), (paid, before)], CUSTOMERS.merge))
    assert (store.get(MARK), store.get(paid)) == (b"[%d]" % FORGOTTEN_S, None)
