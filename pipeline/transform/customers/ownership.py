"""Computes the partition that owns a customer: that of the customer's id by Java's default partitioner.

Never the one that a webhook happens to lie in: a producer without keys, or with other keys, or a topic that grew would
spread one customer over several partitions, each with a part of the facts. What lies elsewhere is sent on to the
owner's partition and decided there, as Kafka Streams repartitions.
"""

from __future__ import annotations

from typing import Final

from pipeline.kafka.records import REPARTITIONED_AMONG, REPARTITIONED_FROM, Headers, int_header, text_header
from pipeline.statestore.ownership import Ownership
from pipeline.transform.verdicts import DeadLettered, SentOn

AGAIN: Final = (
    "it was sent on from {origin} already, and partition {here} is not its customer's either: something else than this "
    "project wrote it here"
)


def elsewhere(ownership: Ownership | None, customer: bytes, headers: Headers) -> SentOn | DeadLettered | None:
    """What becomes of a record about `customer` in this partition, None when it is to be decided here.

    It is sent on once for each number of partitions, so that nothing goes round: a record that was sent on before the
    topic grew, and lies elsewhere since, may be sent on again.
    """
    if ownership is None or ownership.owns(customer):
        return None
    origin = text_header(headers, REPARTITIONED_FROM)
    if origin is not None and int_header(headers, REPARTITIONED_AMONG) in {None, ownership.partitions}:
        return DeadLettered(
            "unmappable", AGAIN.format(origin=origin, here=ownership.partition), field=REPARTITIONED_FROM
        )
    return SentOn(customer, ownership.owner(customer), ownership.partitions)
