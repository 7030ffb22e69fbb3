"""What a transform's log tells of the facts that it read."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.season.record import Restored
from tests.chaos.season.restores import restores

BEGAN_S = 1_780_272_000.0  # 2026-06-01T00:00:00Z


def test_what_was_read_and_what_was_broken_off(tmp_path: Path) -> None:
    """A restore counts for as long as it took, one that was called off or killed until then, one of nothing not."""
    (tmp_path / "transform-1.log").write_text(
        '{"partition": 0, "timestamp": "2026-06-01T00:00:01Z", '
        '"message": "The local mirror of a partition is built anew from the topic"}\n'
        '{"timestamp": "2026-06-01T00:00:04Z", "message": "Starting"}\n'
        '{"records": 0, "seconds": 1, "timestamp": "2026-06-01T00:00:06Z", "message": "Customers\' state restored"}\n'
        "Killed\n"
        '{"records": 9, "seconds": 2.5, "timestamp": "2026-06-01T00:00:20Z", "message": "Customers\' state restored"}\n'
        '{"records": 0, "seconds": 4.5, "timestamp": "2026-06-01T00:00:30Z", '
        '"message": "The restore of the customers\' state was called off; the next one goes on"}\n'
        '{"timestamp": "2026-06-01T00:00:31'
    )
    (tmp_path / "sink-0.log").write_text('{"timestamp": "2026-06-01T00:00:04Z", "message": "Partitions handed over"}\n')
    assert restores(tmp_path) == (
        Restored("transform-1", BEGAN_S + 1, BEGAN_S + 4),
        Restored("transform-1", BEGAN_S + 17.5, BEGAN_S + 20),
        Restored("transform-1", BEGAN_S + 25.5, BEGAN_S + 30),
    )
