"""Brokers that the tests of several files have one after the other: a start costs more than most of these tests.

Such files are given to one process (`Scheduling`), follow each other there, and what they share ends with the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

T = TypeVar("T")

TOGETHER: Final[Mapping[str, tuple[str, ...]]] = {
    "three brokers": (
        "ingest/test_leaders.py",
        "kafka/cluster/test_cluster.py",
        "kafka/cluster/test_start_checks.py",
        "kafka/worker/test_stored_offsets.py",
        "sink/kafka/test_removals.py",
        "transform/test_given_away.py",
    ),
    "one broker": (
        "cli/test_ingest.py",
        "deadletters/test_reader.py",
        "ingest/test_outages.py",
        "kafka/cluster/test_fenced.py",
        "kafka/producer/test_producer.py",
        "preview/test_on_kafka.py",
    ),
    "a secure broker": (
        "doctor/test_on_kafka.py",
        "kafka/cluster/test_acls.py",
        "kafka/cluster/test_rights.py",
        "kafka/test_security.py",
    ),
}
"""By what they share, files below tests/. One that is not here has a broker of its own."""

_SHARE: Final = {file: name for name, files in TOGETHER.items() for file in files}
_HERE: Final = Path(__file__).parent


@cache
def share_of(file: str | Path) -> str:
    """What the tests of a file share with others, or the file itself: which tests follow each other in one process."""
    path = _HERE.parent / file
    name = path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else str(path)
    return _SHARE.get(name, name)


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Files to processes, those that share something to one."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid.partition("::")[0])


class Shared:
    """What runs for the tests at hand."""

    def __init__(self) -> None:
        self._running: dict[str, Any] = {}
        self._stack = ExitStack()

    def get(self, name: str, start: Callable[[], AbstractContextManager[T]]) -> T:
        """What runs under this name, started on first use."""
        if name not in self._running:
            self._running[name] = self._stack.enter_context(start())
        running: T = self._running[name]
        return running

    def goes_on(self, item: pytest.Item, following: pytest.Item | None) -> None:
        """End it all where the next test is of files that share nothing with this one's."""
        if following is None or share_of(following.path) != share_of(item.path):
            self.end()

    def end(self) -> None:
        """End it all."""
        self._running.clear()
        self._stack.close()


SHARED: Final = pytest.StashKey[Shared]()
