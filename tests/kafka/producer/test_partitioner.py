"""The partition of a key, as Java has it."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.producer.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_javas_own_vectors(key: bytes, java: int) -> None:
    """The values that Kafka's UtilsTest.testMurmur2 expects."""
    assert murmur2(key) == java % 2**32


@given(st.binary(max_size=64))
def test_agrees_with_aiokafka(key: bytes) -> None:
    """The ingest's producer uses aiokafka's partitioner; both must choose the same partition."""
    assert murmur2(key) == aiokafka_murmur2(key)
    assert partition_of(key, 12) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % 12
