"""A store that holds more than the topic is the last copy, and nobody throws it away unasked."""

from __future__ import annotations

from pipeline.statestore.last_copy import TopicDifference, refused


def test_what_makes_a_last_copy() -> None:
    """More facts than there can be records, or a topic that ends before the mirror; the mere beginning is nothing."""
    assert TopicDifference("", 10, 9).is_last_copy
    assert not TopicDifference("", 10, 10).is_last_copy
    assert TopicDifference("", 10, 5000, is_cut=True).is_last_copy
    assert not TopicDifference("", 1, 0).is_last_copy


def test_the_refusal_names_places_and_ways_out() -> None:
    """Some partitions with their numbers, how many more there are, and both ways to go on."""
    text = str(refused("dodo.customers", "/data", {number: TopicDifference("it went", 9, 2) for number in range(7)}))
    assert "partition 4: 9 facts here, at most 2 records there (it went); and 2 more partitions" in text
    assert "partition 5" not in text
    assert "dodo-cio state restore-topic" in text
    assert "PIPELINE_STATE_LOSS_ACCEPTED=true" in text
    assert "--accept-state-loss" in text
