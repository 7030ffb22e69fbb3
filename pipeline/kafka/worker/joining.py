"""Notices that the group is not joined again although that was asked for: aiokafka's coordination hangs.

Records of the partitions that are there flow on, so nothing else shows it. But a partition that was added, or a topic
that was made anew, would have no reader for ever.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.errors import DeliveryError

HUNG_LOOKS: Final = 60
"""Looks (one a second) at a join that was asked for and has not begun. To begin, nothing is needed but the next turn
of the thread's loop, once the group's coordinator is known. A frozen process looks as rarely as it works."""


class JoinWatch:
    """Looks at one consumer's coordinator, in the consumer's loop."""

    def __init__(self) -> None:
        self._looks = 0

    def look(self, coordinator: Any, *, has_begun: bool) -> BaseException | None:
        """Look once; what to end with when the coordination hangs.

        Args:
            coordinator: aiokafka's.
            has_begun: partitions were handed over, or none are held: a join is on its way, and may take its time.
        """
        # Without a known coordinator brokers are away, or being asked for it: others tell of that.
        is_due = coordinator._rejoin_needed_fut.done() and coordinator.coordinator_id is not None  # noqa: SLF001
        self._looks = self._looks + 1 if is_due and not has_begun else 0
        if self._looks <= HUNG_LOOKS:
            return None
        return DeliveryError(
            f"the consumer group is to be joined again, and that has not begun for {HUNG_LOOKS} s: the consumer's "
            "coordination hangs"
        )
