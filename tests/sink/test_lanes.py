"""Who shares a lane."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink.batching import MIN_BUDGET_BYTES
from pipeline.sink.lanes import Lane, lane_of


@given(st.binary(), st.integers(1, 256))
def test_same_key_same_lane(key: bytes, lanes: int) -> None:
    """A key always has the same lane, one that exists."""
    assert lane_of(key, lanes) == lane_of(bytes(key), lanes)
    assert 0 <= lane_of(key, lanes) < lanes


def test_one_partition_uses_every_lane() -> None:
    """A sink that owns one partition of eight still spreads its people over all eight lanes."""
    partitioner, partitions = DefaultPartitioner(), list(range(8))
    own = [key for key in (b"cus_%d" % n for n in range(4000)) if partitioner(key, partitions, partitions) == 3]
    counts = [sum(lane_of(key, 8) == lane for key in own) for lane in range(8)]
    assert min(counts) > len(own) / 8 * 0.6


@given(st.lists(st.booleans(), max_size=40))
def test_byte_budget(timeouts: list[bool]) -> None:
    """The byte budget stays between one largest operation and what Customer.io takes, and successes restore it."""
    lane = Lane(0)
    for timeout in timeouts:
        changed = lane.shrink() if timeout else lane.grow()
        assert MIN_BUDGET_BYTES <= lane.budget_bytes <= BODY_MAX_BYTES
        assert isinstance(changed, bool)
    while lane.grow():
        pass
    assert lane.budget_bytes == BODY_MAX_BYTES
