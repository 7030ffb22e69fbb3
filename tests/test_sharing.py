"""Files that share brokers follow each other in one process, and what they share ends with the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.sharing import TOGETHER, Shared, share_of

TESTS = Path(__file__).parent
FIXTURES = {"three brokers": "kafka_cluster", "one broker": "own_kafka", "a secure broker": "secure_kafka"}


@pytest.mark.parametrize("name", TOGETHER)
def test_files_share_what_they_use(name: str) -> None:
    """Each file that is named is there, and uses the brokers; else its name had no effect."""
    for file in TOGETHER[name]:
        assert FIXTURES[name] in (TESTS / file).read_text(encoding="utf-8"), file


def test_no_file_has_a_broker_of_its_own_by_mistake() -> None:
    """A new file that uses shared brokers is named as well, but for the long forms, which run alone."""
    for name, fixture in FIXTURES.items():
        users = [path for path in TESTS.rglob("test_*.py") if f"{fixture}:" in path.read_text(encoding="utf-8")]
        unnamed = {path.relative_to(TESTS).as_posix() for path in users if share_of(path) != name}
        assert unnamed <= {"chaos/test_three_brokers.py"}, name


def test_until_the_last_of_them() -> None:
    """It is started once, on first use, and ended before a test of another file."""
    said: list[str] = []

    @contextmanager
    def broker() -> Iterator[str]:
        said.append("started")
        yield "broker"
        said.append("ended")

    def item(file: str) -> Any:
        return SimpleNamespace(path=TESTS / file)

    first, second = TOGETHER["one broker"][:2]
    shared = Shared()
    assert shared.get("own_kafka", broker) == "broker"
    shared.goes_on(item(first), item(first))
    shared.goes_on(item(first), item(second))
    assert shared.get("own_kafka", broker) == "broker"
    assert said == ["started"]
    shared.goes_on(item(second), cast("Any", item("test_sharing.py")))
    assert said == ["started", "ended"]
    shared.get("own_kafka", broker)
    shared.goes_on(item(first), None)
    assert said == ["started", "ended"] * 2
