"""What a topic lacks of the last copy can be written back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.changes import BEGAN, Change, collapse
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
