"""Customers' data on the disk is nobody else's, also where the umask or an earlier version left it open."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline import private
from pipeline.backfill.journal import Journal
from pipeline.kafka.local.node import write_properties
from pipeline.kafka.local.ports import Ports
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST


@pytest.fixture(autouse=True)
def _lax() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Its rights."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory(tmp_path: Path) -> None:
    """It is closed from its first moment, and nothing is said."""
    with capture_logs() as said:
        private.directory(tmp_path / "a" / "b")
        private.directory(tmp_path / "a" / "b")
    assert (mode(tmp_path / "a" / "b"), said) == (0o700, [])


@pytest.mark.parametrize("found", [0o755, 0o770, 0o701])
def test_one_that_was_open(tmp_path: Path, found: int) -> None:
    """It is closed, and told with the rights that it had."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(found)
    with capture_logs() as said:
        private.directory(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o700
    assert [(line["log_level"], line["was"]) for line in said] == [("warning", f"{found:04o}")]


def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    """It is left as it is, an error as of any other mkdir; nor does a directory become a file."""
    (tmp_path / "a").touch(0o644)
    with pytest.raises(FileExistsError):
        private.directory(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o644
    (tmp_path / "b").mkdir(0o755)
    private.file(tmp_path / "b")
    assert mode(tmp_path / "b") == 0o755


def test_someone_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this user may not close is used as it is, and told: a volume's owner decides."""

    def refuse(*_: object) -> None:
        raise PermissionError

    (tmp_path / "a").mkdir(0o770)
    monkeypatch.setattr(Path, "chmod", refuse)
    with capture_logs() as said:
        private.directory(tmp_path / "a")
    assert [(line["mode"], line["error"]) for line in said] == [("0770", "PermissionError")]


def test_a_mirror(tmp_path: Path) -> None:
    """Its directories and LMDB's file are the user's alone, also those of an earlier version."""
    base = tmp_path / "customers"
    LmdbStore.open(base, "dodo.customers", 3, LARGEST).close()
    (data,) = base.rglob("data.mdb")
    assert (mode(base / "dodo.customers"), mode(data.parent), mode(data)) == (0o700, 0o700, 0o600)
    data.chmod(0o644)
    data.parent.chmod(0o755)
    LmdbStore.open(base, "dodo.customers", 3, LARGEST).close()
    assert (mode(data.parent), mode(data)) == (0o700, 0o600)


def test_a_journal(tmp_path: Path) -> None:
    """A backfill's file is the user's alone, whether it is new or was open to others."""
    path = tmp_path / "backfill.db"
    for _ in range(2):
        Journal.open(path, {}, datetime(2026, 1, 1, tzinfo=UTC)).close(complete=False)
        assert mode(path) == 0o600
        path.chmod(0o644)


def test_a_local_brokers_settings(tmp_path: Path) -> None:
    """The file with the super user's password is closed even where it lay open."""
    (tmp_path / "server.properties").touch(0o644)
    write_properties(tmp_path, Ports(1, 2), None, {})
    assert mode(tmp_path / "server.properties") == 0o600
