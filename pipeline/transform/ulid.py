"""Event ids: ULIDs that the same fact always gets again.

Customer.io ignores an event whose `id` it has seen, and wants a ULID (docs.customer.io, Track API v2, event). The time
part is the fact's own time, the random part a hash of what names the fact, so a retry, a replay and a crash give the
id that was sent before.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, as the ULID specification takes it (github.com/ulid/spec)."""

MAX_TIME_MS: Final = 2**48 - 1
"""The 48-bit time ends in the year 10889."""

FORM: Final = re.compile(rf"[0-7][{ALPHABET}]{{25}}")

_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)
"""Two characters for each ten bits: thirteen look-ups instead of a loop over 26 digits."""

_LOW_40: Final = 2**40 - 1
_HASH_BYTES: Final = 10


def ulid(time_ms: int, *names: str) -> str:
    """The ULID of a fact that happened at `time_ms` (unix milliseconds) and is named by `names`.

    Each name is hashed with its length, so ("ab", "c") and ("a", "bc") differ. A time outside the 48 bits becomes 0:
    Customer.io does not read it, and the hash alone still distinguishes facts.
    """
    key = ""
    for name in names:
        key += f"{len(name)}:{name}"
    hashed = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest(), "big")
    high, low = hashed >> 40, hashed & _LOW_40
    time = time_ms if 0 <= time_ms <= MAX_TIME_MS else 0
    pairs = _PAIRS
    return (
        f"{pairs[time >> 40]}{pairs[time >> 30 & 1023]}{pairs[time >> 20 & 1023]}{pairs[time >> 10 & 1023]}"
        f"{pairs[time & 1023]}{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def time_of(value: str) -> int:
    """The unix milliseconds inside a ULID.

    Raises:
        ValueError: when `value` has not the form of a ULID.
    """
    if not FORM.fullmatch(value):
        raise ValueError("not a ULID: 26 characters of Crockford's base 32, the first at most 7")
    time = 0
    for character in value[:10]:
        time = time << 5 | ALPHABET.index(character)
    return time
