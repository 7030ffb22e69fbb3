"""The writes of one record are nobody else's until they are committed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.draft import Draft
from pipeline.statestore.store import MemoryStore

KEYS = [b"%b\0event\0%d" % (customer, number) for customer in (b"a", b"b") for number in range(3)]


@given(
    st.dictionaries(st.sampled_from(KEYS), st.binary(min_size=1, max_size=1)),
    st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(min_size=1, max_size=1))),
)
def test_it_is_a_store(stored: dict[bytes, bytes], puts: list[tuple[bytes, bytes | None]]) -> None:
    """What is put is read back at once; the store below has it after the commit, and not before."""
    store, model = MemoryStore(7), dict(stored)
    for name, one in stored.items():
        store.put(name, one)
    draft = Draft(store)
    for name, value in puts:
        draft.put(name, value)
        model.pop(name, None)
        if value is not None:
            model[name] = value
        assert [draft.get(one) for one in KEYS] == [model.get(one) for one in KEYS]
        for prefix in (b"a\0", b"b\0event\0"):
            assert list(draft.scan(prefix)) == sorted((k, v) for k, v in model.items() if k.startswith(prefix))
    assert {name: store.get(name) for name in stored} == stored
    draft.put_derived(b"a", b"derived")
    assert (draft.derived(b"a"), store.derived(b"a"), draft.began_at_ms) == (b"derived", None, 7)
    draft.commit()
    assert store.derived(b"a") == b"derived"
    assert [store.get(one) for one in KEYS] == [model.get(one) for one in KEYS]
