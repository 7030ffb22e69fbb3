"""Event ids: the same fact always gets the same ULID, two facts never."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.ulid import ALPHABET, FORM, MAX_TIME_MS, time_of, ulid

TIMES = st.integers(0, MAX_TIME_MS)
NAMES = st.lists(st.text(), min_size=1, max_size=4).map(tuple)


def test_known_ids_never_change() -> None:
    """A release that changed an id would send every event of a replay again."""
    assert ulid(1791966091152, "payment_completed", "fact", "pay_0NExamplePayment00001") == "01M4WR15WGMKBZW9WAVJS2YK2S"
    assert ulid(0, "payment_failed", "webhook", "msg_1") == "0000000000BJB30FEPE8M4N007"


@given(TIMES, NAMES)
def test_encoding_is_base_32_digit_by_digit(time_ms: int, names: tuple[str, ...]) -> None:
    """The look-up of pairs gives what the specification's division by 32 gives."""
    key = "".join(f"{len(name)}:{name}" for name in names).encode("utf-8", "surrogatepass")
    rest = time_ms << 80 | int.from_bytes(blake2b(key, digest_size=10).digest(), "big")
    digits = ""
    for _ in range(26):
        rest, digit = divmod(rest, 32)
        digits = ALPHABET[digit] + digits
    assert ulid(time_ms, *names) == digits


@given(TIMES, NAMES)
def test_same_fact_same_id(time_ms: int, names: tuple[str, ...]) -> None:
    """Nothing but the time and the names goes in."""
    assert ulid(time_ms, *names) == ulid(time_ms, *names)


@given(TIMES, NAMES, NAMES)
def test_distinct_facts_have_distinct_ids(time_ms: int, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Also when the same characters are cut into other names: ("ab", "c") is not ("a", "bc")."""
    assert (ulid(time_ms, *one) == ulid(time_ms, *other)) == (one == other)


@given(TIMES, st.text(min_size=1), st.text(min_size=1))
def test_names_are_not_run_together(time_ms: int, one: str, other: str) -> None:
    """Two names are never the same as their concatenation."""
    assert ulid(time_ms, one, other) != ulid(time_ms, one + other)


@given(TIMES, NAMES)
def test_form_is_a_ulid_that_carries_its_time(time_ms: int, names: tuple[str, ...]) -> None:
    """26 characters of Crockford's base 32, the first ten of which are the milliseconds."""
    found = ulid(time_ms, *names)
    assert FORM.fullmatch(found)
    assert time_of(found) == time_ms


@given(st.lists(TIMES, min_size=2, max_size=2, unique=True))
def test_ids_sort_by_time(times: list[int]) -> None:
    """What a ULID is for: text order is time order."""
    earlier, later = sorted(times)
    assert ulid(earlier, "fact") < ulid(later, "fact")


@pytest.mark.parametrize("time_ms", [-1, -(10**30), MAX_TIME_MS + 1, 10**30])
def test_impossible_times_become_zero(time_ms: int) -> None:
    """A clock gone wild cannot make an id that Customer.io refuses."""
    assert ulid(time_ms, "fact") == ulid(0, "fact")


def test_the_alphabet_lacks_the_letters_that_look_like_digits() -> None:
    """Crockford's base 32 has no I, L, O and U."""
    assert len(ALPHABET) == 32
    assert not set("ILOU") & set(ALPHABET)


@pytest.mark.parametrize("value", ["", "8" + "0" * 25, "0" * 25, "0" * 27, "i" * 26, "01M4WR15WGMKBZW9WAVJS2YK2U"])
def test_what_is_no_ulid_has_no_time(value: str) -> None:
    """A first digit above 7 is beyond 128 bits; lower case and other letters are not ours."""
    with pytest.raises(ValueError, match="not a ULID"):
        time_of(value)
