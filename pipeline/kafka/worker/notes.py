"""Notes: a line of text that each member leaves for its whole group, beside an offset that it commits.

Kafka keeps a text with every committed offset (`metadata` of OffsetCommit), and gives it to whoever may read the
group's offsets. So a note needs no topic and no right that a member does not have, it is fenced by the generation as
the offset is, and it is there as long as the offset. Each member has one place for it: the lowest of its partitions.
"""

from __future__ import annotations

from typing import cast

from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.transport import Consumer


class Notes:
    """The notes of one topic's readers, for one of them."""

    def __init__(self, app: BatchApp, topic: str) -> None:
        self._app = app
        self._topic = topic

    @property
    def _consumer(self) -> Consumer:
        return cast("Consumer", self._app.consumer)

    def say(self, text: str, generation: int) -> None:
        """Publish `text` to the group in the place of this member's last one; "" for nothing.

        Stored with the next commit, within a second while the coordinator can be reached, unless `generation` ends
        before. Whether it was cannot be known, so nothing may depend on it.
        """
        self._consumer.committer.note(text, generation)

    async def read(self) -> list[str] | None:
        """What all members left, of whatever generation, and what others wrote there; None when it cannot be read."""
        if not self._consumer.committer.takes_notes:
            return None
        notes = await self._consumer.notes(self._topic)
        return None if notes is None else list(notes.values())
