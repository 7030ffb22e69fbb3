"""A broker starts from its archived classes where it can, and as before where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.local import class_archive, distribution
from pipeline.kafka.local.broker import LocalKafka
from tests.kafka.shared import SharedKafka


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    """Libraries of a version whose archive nobody has made."""
    jars = tmp_path / "cache" / "kafka-0.0.0"
    jars.mkdir(parents=True)
    return jars


def archives(jars: Path) -> list[Path]:
    """What lies beside them."""
    return list(jars.parent.glob("*.jsa"))


class Runs:
    """Brokers that are started for the archive: each writes it, or fails."""

    def __init__(self, failure: str = "", *, writes: bool = True) -> None:
        self.count = 0
        self._failure = failure
        self._writes = writes

    def __call__(self, options: list[str]) -> None:
        """Run one with these options."""
        self.count += 1
        if self._failure:
            raise BrokerUnreachableError(self._failure)
        if self._writes:
            Path(options[0].partition("=")[2]).write_bytes(b"classes")


@pytest.mark.kafka
def test_a_broker_uses_it(kafka: SharedKafka) -> None:
    """The run's broker has the archive mapped, unless its Java is one that cannot."""
    options = class_archive.options(distribution.libraries())
    maps = Path(f"/proc/{kafka.pid}/maps")
    if not options or not maps.exists():
        pytest.skip("no Linux, or a JVM without class archives")
    assert options[0].partition("=")[2] in maps.read_text(encoding="utf-8")


@pytest.mark.kafka
def test_a_broker_starts_without_it(tmp_path: Path) -> None:
    """A file that is no archive costs nothing but the time."""
    broken = tmp_path / "broken.jsa"
    broken.write_bytes(b"no classes")
    options = [f"-XX:SharedArchiveFile={broken}", "-Xshare:auto", *class_archive.QUIET]
    with LocalKafka.start(tmp_path / "broker", heap_mb=256, jvm_options=options) as broker:
        assert broker.alive
        assert "jsa" not in broker.log.read_text(encoding="utf-8")


def test_it_is_made_once(jars: Path) -> None:
    """The first start makes it, the next ones use it."""
    runs, said = Runs(), list[str]()
    assert class_archive.options(jars) == []
    for _ in range(2):
        class_archive.prepare(jars, runs, say=said.append)
    (archive,) = archives(jars)
    assert archive.read_bytes() == b"classes"
    assert f"-XX:SharedArchiveFile={archive}" in class_archive.options(jars)
    assert (runs.count, len(said)) == (1, 1)


def test_another_java_makes_its_own(jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade of Java the old archive is left alone."""
    class_archive.prepare(jars, runs := Runs())
    other = jars.parent / "java"
    other.write_bytes(b"another one")
    monkeypatch.setattr(distribution, "java", lambda: str(other))
    assert class_archive.options(jars) == []
    class_archive.prepare(jars, runs)
    assert (runs.count, len(archives(jars))) == (2, 2)


def test_a_java_that_cannot_is_asked_once(jars: Path) -> None:
    """A JVM that does not know the option starts brokers without it."""
    runs = Runs("it ended with exit code 1: Unrecognized VM option 'ArchiveClassesAtExit=/x.jsa'")
    for _ in range(2):
        class_archive.prepare(jars, runs)
    assert runs.count == 1
    assert class_archive.options(jars) == []


@pytest.mark.parametrize("runs", [Runs("it did not answer within 90 s"), Runs(writes=False)])
def test_a_failure_of_the_moment_is_tried_again(jars: Path, runs: Runs) -> None:
    """A broker that was killed, or too slow, has shown nothing about its Java."""
    for _ in range(2):
        class_archive.prepare(jars, runs)
    assert runs.count == 2
    assert archives(jars) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """Brokers start as before."""
    (tmp_path / "file").touch()
    jars = tmp_path / "file" / "kafka-0.0.0"
    class_archive.prepare(jars, runs := Runs())
    assert runs.count == 0
    assert class_archive.options(jars) == []
