"""What a topic lacks of the last copy can be written back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.changes import BEGAN, Change, collapse
from pipeline.statestore.validation import ASIDE
from pipeline.transform.customers.facts import merge_at
from pipeline.transform.customers.lacking import lacking

CUSTOMERS = (b"cus_1", b"cus_2")
KEYS = [b"%b\0event\0%d" % (customer, number) for customer in CUSTOMERS for number in range(3)]
VALUES = [b"[%d]" % second for second in (100, 200, 300)]


def test_who_was_forgotten_in_the_topic_stays_forgotten() -> None:
    """Whatever the mirror still knows of the customer; the others come back."""
    store = [(key, b"[100]") for key in KEYS]
    topic = collapse([(b"cus_1\0forgotten\0", b"[500]")], merge_at)
    assert set(lacking(store, topic)) == {key for key in KEYS if key.startswith(b"cus_2")}


FORGOTTEN_S = 1_700_000_000
MARK = (b"cus_1\0forgotten\0", b"[%d]" % FORGOTTEN_S)
BEFORE = [(b"cus_1\0event\0a", b"[%d]" % (FORGOTTEN_S - 10)), (b"cus_1\0card\0", b'[5,"p1","visa","4242","12","2030"]')]
SINCE = [(b"cus_1\0event\0b", b"[%d]" % (FORGOTTEN_S + 10)), (b"cus_1\0shared\0", b"[7,null,null]")]


def test_who_came_back_after_a_request_comes_back_whole() -> None:
    """Of a request that both know nothing tells the topic's records from the mirror's: a broken-off run wrote the mark,
    or the log was cut behind it."""  # noqa: D205, D209 - one sentence
    assert lacking([MARK, *SINCE], collapse([MARK], merge_at)) == dict(SINCE)
    assert lacking([MARK, *SINCE], collapse([MARK, SINCE[0]], merge_at)) == dict(SINCE[1:])
    later = (MARK[0], b"[%d]" % (FORGOTTEN_S + 100))
    assert lacking([MARK, *SINCE], collapse([later], merge_at)) == {}


def test_a_log_that_was_cut_before_a_request() -> None:
    """What the request took away is there again, and is taken away first: the mark must not be there before."""
    missing = lacking([MARK, *SINCE], collapse([*BEFORE, SINCE[0]], merge_at))
    assert missing == {**dict.fromkeys(dict(BEFORE)), **dict([MARK, SINCE[1]])}
    assert [value is None for value in missing.values()] == [True, True, False, False]


def test_what_is_kept_aside_goes_back_as_it_was() -> None:
    """A mirror's own word before a value is none of the topic's."""
    odd = b'["x"]'
    assert lacking([(KEYS[0], ASIDE + odd)], {}) == {KEYS[0]: odd}
    assert lacking([(KEYS[0], ASIDE + odd)], collapse([(KEYS[0], odd)], merge_at)) == {}


def test_what_nobody_here_can_read_stays_as_the_topic_has_it() -> None:
    """Of a kind of a newer version the copy may be the older one."""
    later = b"cus_1\0later\0"
    assert lacking([(later, ASIDE + b"[9]")], {}) == {later: b"[9]"}
    assert lacking([(later, ASIDE + b"[9]")], collapse([(later, b"[10]")], merge_at)) == {}


changes = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES)), max_size=12)


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)), changes)
def test_afterwards_the_topic_has_all(store: dict[bytes, bytes], written: list[Change]) -> None:
    """Each fact is what both tellings make, what the topic took away stays away, and a second run has nothing to do."""
    before = collapse(written, merge_at)
    missing = lacking(store.items(), before)
    after = {key: news.value for key, news in collapse([*written, *missing.items()], merge_at).items()}
    for key, value in store.items():
        told = before.get(key)
        seconds = [value] if told is None else [told.value, value]
        assert after[key] == (None if None in seconds else min(one for one in seconds if one is not None))
    assert {key: value for key, value in after.items() if key not in store} == {
        key: news.value for key, news in before.items() if key not in store
    }
    assert lacking(store.items(), collapse([*written, *missing.items()], merge_at)) == {}


def test_the_beginning_is_the_mirror_s() -> None:
    """It comes back where the topic has none, and is left alone where it has another."""
    assert lacking([(BEGAN, b"[1]")], {}) == {BEGAN: b"[1]"}
    assert lacking([(BEGAN, b"[1]")], collapse([(BEGAN, b"[2]")], merge_at)) == {}
