"""Computes the partition of a key, as Java's clients do.

All parties must agree, or one customer lies in two partitions and loses its order. librdkafka's default is another
hash (CRC32): producers built on it need `partitioner=murmur2_random`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


@lru_cache(maxsize=65_536)  # customers come again: a look-up costs a tenth of the hash
def murmur2(data: bytes) -> int:
    """Java's `org.apache.kafka.common.utils.Utils.murmur2`, as an unsigned number."""
    length = len(data)
    words = length // 4
    h = 0x9747B28C ^ length
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * _M & _MASK  # noqa: PLW2901 - the algorithm's own names
        h = h * _M & _MASK ^ (k ^ k >> 24) * _M & _MASK
    tail = data[words * 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic that has `partitions` of them (Java's default partitioner)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
