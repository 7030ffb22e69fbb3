"""Whose partition a group of keys is."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.ownership import Ownership


@given(st.binary(min_size=1, max_size=40), st.integers(1, 64))
def test_one_partition_owns_it(group: bytes, partitions: int) -> None:
    """Exactly one does, and it is the one to which Java's default partitioner sends a record with that key."""
    everywhere = list(range(partitions))
    owners = [number for number in everywhere if Ownership(number, partitions).owns(group)]
    assert owners == [Ownership(0, partitions).owner(group)] == [DefaultPartitioner()(group, everywhere, everywhere)]
