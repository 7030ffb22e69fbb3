"""The broker of a run: one for all who ask, none where nobody does, and gone with the run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.local.broker import LocalKafka
from tests.kafka.shared import Keeper, shared


class Starts:
    """Stands in for brokers: what was started, and what was stopped."""

    def __init__(self) -> None:
        self.directories: list[Path] = []
        self.refusals: list[Exception] = []
        self.stopped = 0
        self.bootstrap_servers = "127.0.0.1:1"
        self.pid = 1

    def start(self, directory: Path) -> Starts:
        """As LocalKafka.start."""
        self.directories.append(directory)
        if self.refusals:
            raise self.refusals.pop()
        return self

    def stop(self) -> None:
        """As LocalKafka.stop."""
        self.stopped += 1


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    """No broker takes part."""
    found = Starts()
    monkeypatch.setattr(LocalKafka, "start", found.start)
    return found


@pytest.fixture
def keeper(starts: Starts) -> Iterator[Keeper]:  # noqa: ARG001 - before the first question
    """One that answers until the test ends it, or ends."""
    made = Keeper()
    yield made
    made.end()


def test_all_who_ask_have_one_broker(keeper: Keeper, starts: Starts, tmp_path: Path) -> None:
    """Also at once: the first decides where it lives, and the end of the run stops it, once."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: shared(keeper.address, tmp_path / "kafka"), range(32)))
    assert len(set(answers)) == 1
    assert shared(keeper.address, tmp_path / "later") == answers[0]
    assert starts.directories == [tmp_path / "kafka"]
    assert starts.stopped == 0
    keeper.end()
    keeper.end()
    assert starts.stopped == 1


def test_where_nobody_asks_there_is_none(keeper: Keeper, starts: Starts) -> None:
    """A run without a test on Kafka starts no broker."""
    keeper.end()
    assert (starts.directories, starts.stopped) == ([], 0)


def test_a_start_that_fails_is_told(keeper: Keeper, starts: Starts, tmp_path: Path) -> None:
    """Whoever asked has the broker's own words, and the next one tries again."""
    starts.refusals.append(BrokerUnreachableError("no room left"))
    with pytest.raises(BrokerUnreachableError, match="no room left"):
        shared(keeper.address, tmp_path)
    assert shared(keeper.address, tmp_path).pid == starts.pid


def test_afterwards_nobody_is_answered(keeper: Keeper, tmp_path: Path) -> None:
    """A question after the end fails at once; nobody waits for a broker that will not come."""
    address = keeper.address
    keeper.end()
    with pytest.raises(OSError, match=r"No such file|refused"):
        shared(address, tmp_path)
