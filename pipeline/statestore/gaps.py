"""Records of the changelog that somebody else wrote between ours, as a former owner does that was slow to notice."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import logs
from pipeline.settings import Settings
from pipeline.statestore.changelog import Changelog
from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.events import GapRead, StateEvent
from pipeline.statestore.partition_count import check_written
from pipeline.statestore.transaction import TransactionalStore
from pipeline.statestore.validation import Warnings, sift

log = logs.get(__name__)


async def read_gap(
    settings: Settings,
    partition: int,
    store: TransactionalStore,
    partitions: int | None,
    tell: Callable[[StateEvent], None],
) -> None:
    """Merge what others have written between our records, or of ours what the broker lost sight of.

    What differs is put again with the open transaction, so that it comes to lie on top. What the topic deletes is
    deleted, unless it was put again since.

    Args:
        settings: the changelog, and how to reach the brokers.
        partition: of the changelog.
        store: that partition's.
        partitions: how many there were when it was restored.
        tell: called with each event.

    Raises:
        TopicError: the records are on their way to other partitions, or the topic cannot be read.
    """
    topic = settings.customers_topic
    local, schema, warnings = store.local, store.schema, Warnings(topic, tell)
    changes: list[Change] = []
    records = 0
    store.gap_begins()
    async with Changelog.open(settings, frozenset({partition}), schema) as changelog:
        end = (await changelog.bounds())[partition].stop
        async for piece in changelog.read({partition: range(local.next_offset, end)}):
            sifted = sift(piece.changes, piece.offsets, schema)
            warnings.hear(partition, sifted)
            if sifted.first is not None:
                local.keeps_aside()
            if sifted.began is not None and partitions is not None:
                check_written(settings, sifted.began.value, partitions)
            changes += sifted.changes
            records += len(piece.changes)
    if store.is_given_up:
        return
    store.merge_in(collapse(changes, schema.merge))
    store.gap_read(end)
    log.warning(
        "Records of another owner lay between this worker's facts and were merged",
        topic=topic, partition=partition, records=records,
    )  # fmt: skip
    tell(GapRead(topic, partition, records))
