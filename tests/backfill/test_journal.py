"""The memory of a backfill, in a file."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.backfill.journal import Done, Journal, LeftOut, path_for
from pipeline.dodo.api import Position
from pipeline.errors import InputError, PipelineError

UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
LATER = UNTIL + timedelta(days=1)
PURPOSE: dict[str, object] = {"from": "2026-01-01", "what": ["payments"]}
PAGE_BYTES = 4_096
THEN = Position(UNTIL - timedelta(days=3), UNTIL - timedelta(days=2), 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "new" / "backfill.sqlite"


def test_what_was_noted_is_there_after_a_crash(path: Path) -> None:
    """Whatever was noted survives a process that never closed the file; the first run's end of the range stays."""
    first = Journal.open(path, PURPOSE, UNTIL)
    assert (first.resumed, first.position("payments"), first.objects("payments")) == (False, None, 0)
    first.note("payments", THEN, Done(3, {"pay_1": "cus_1"}, frozenset({"cus_1", "cus_2"})))
    first.note("payments", THEN, Done(2, {}, frozenset({"cus_2"}), (LeftOut("payments", "pay_9", "why"),)))
    first._db.close()  # what the end of a process does
    second = Journal.open(path, PURPOSE, LATER)
    assert (second.resumed, second.until, second.position("payments")) == (True, UNTIL, THEN)
    assert (second.objects("payments"), second.customers(), second.payer("pay_1")) == (5, 2, "cus_1")
    assert second.left_out() == [LeftOut("payments", "pay_9", "why")]
    second.close(complete=False)
    assert path.exists()


def test_complete_leaves_nothing(path: Path) -> None:
    """A complete backfill leaves no file behind."""
    Journal.open(path, PURPOSE, UNTIL).close(complete=True)
    assert list(path.parent.iterdir()) == []


def test_afresh(path: Path) -> None:
    """Begun afresh, nothing of the earlier run is left, its purpose included."""
    first = Journal.open(path, PURPOSE, UNTIL)
    first.note("payments", THEN, Done(3, {"pay_1": "cus_1"}, frozenset({"cus_1"})))
    first.close(complete=False)
    second = Journal.open(path, {"from": "other"}, LATER, afresh=True)
    assert (second.resumed, second.until, second.position("payments")) == (False, LATER, None)
    assert (second.customers(), second.payer("pay_1")) == (0, None)
    second.close(complete=True)


def test_customers_are_identified_once(path: Path) -> None:
    """Each customer comes once, also over two runs, and one that is seen again is not asked for again."""
    journal = Journal.open(path, PURPOSE, UNTIL)
    everybody = {f"cus_{number}" for number in range(25)}
    journal.note("payments", THEN, Done(25, {}, frozenset(everybody)))
    some = journal.to_identify(10)
    journal.note_identified(some)
    journal.note("refunds", THEN, Done(25, {}, frozenset(everybody)))
    journal.close(complete=False)
    journal = Journal.open(path, PURPOSE, UNTIL)
    rest = journal.to_identify(100)
    assert len(some) == journal.identified() == 10
    assert sorted([*some, *rest]) == sorted(everybody)
    journal.close(complete=True)


def test_two_at_once(path: Path) -> None:
    """A second process with the same options is turned away while the first one works."""
    first = Journal.open(path, PURPOSE, UNTIL)
    with pytest.raises(PipelineError, match="in use"):
        Journal.open(path, PURPOSE, UNTIL)
    first.close(complete=True)


def test_files_of_others(tmp_path: Path) -> None:
    """A file of another backfill or program is neither used nor harmed."""
    other = tmp_path / "other.sqlite"
    Journal.open(other, {"from": "2020"}, UNTIL).close(complete=False)
    with pytest.raises(InputError, match=r"another backfill.*2020"):
        Journal.open(other, PURPOSE, UNTIL)
    Journal.open(other, {"from": "2020"}, UNTIL).close(complete=True)
    text = tmp_path / "notes.txt"
    text.write_text("my notes, which are longer than the header of a database file\n" * 20, encoding="utf-8")
    before = text.read_bytes()
    with pytest.raises(InputError, match="no state file"):
        Journal.open(text, PURPOSE, UNTIL)
    assert text.read_bytes() == before


def test_a_damaged_page(path: Path) -> None:
    """Whatever page is damaged, each question and note works or says what to do with the file."""
    journal = Journal.open(path, PURPOSE, UNTIL)
    for page in range(20):
        pairs = {f"pay_{page:03}_{number:02}": f"cus_{page}_{number}" for number in range(50)}
        out = (LeftOut("payments", f"pay_{page}", "why" * 100),)
        journal.note("payments", THEN, Done(50, pairs, frozenset(pairs.values()), out))
    journal.close(complete=False)
    whole = path.read_bytes()
    ways: dict[str, Callable[[Journal], object]] = {
        "position": lambda one: one.position("payments"),
        "objects": lambda one: one.objects("payments"),
        "payer": lambda one: [one.payer(f"pay_{page:03}_25") for page in range(20)],
        "customers": Journal.customers,
        "to_identify": lambda one: one.to_identify(10_000),
        "identified": Journal.identified,
        "left_out": Journal.left_out,
        "left_out_count": Journal.left_out_count,
        "note": lambda one: one.note("refunds", THEN, Done(1, {"pay_010_99": "cus"}, frozenset({"cus_10_99"}))),
        "note_identified": lambda one: one.note_identified(f"cus_{page}_25" for page in range(20)),
    }
    refused = set()
    for begin in range(0, len(whole), PAGE_BYTES):
        for name, way in ways.items():
            path.write_bytes(whole[:begin] + bytes(PAGE_BYTES) + whole[begin + PAGE_BYTES :])
            try:
                journal = Journal.open(path, PURPOSE, UNTIL)
            except InputError as error:
                assert "move it away, or give --state-file" in str(error)  # noqa: PT017 - it may also open
                continue
            try:
                way(journal)
            except InputError as error:
                assert "move it away, or give --state-file" in str(error)  # noqa: PT017 - or need another page
                refused.add(name)
            finally:
                journal.close(complete=False)
                path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    assert refused == set(ways)


def test_a_date_that_is_none(path: Path) -> None:
    """A date that cannot be read is damage as well."""
    journal = Journal.open(path, PURPOSE, UNTIL)
    journal.note("payments", THEN, Done(1))
    journal.close(complete=False)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE progress SET until = 'soon'")
    journal = Journal.open(path, PURPOSE, UNTIL)
    with pytest.raises(InputError, match="move it away"):
        journal.position("payments")
    journal.close(complete=False)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE run SET until = 'soon'")
    with pytest.raises(InputError, match="move it away"):
        Journal.open(path, PURPOSE, UNTIL)


def test_unwritable(tmp_path: Path) -> None:
    """A directory that cannot be made is a fault with the setting's name, and one that somebody has to mend."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="PIPELINE_DATA_DIR"):
        Journal.open(tmp_path / "file" / "backfill.sqlite", PURPOSE, UNTIL)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pass by itself: exit code 1."""

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.backfill.journal.private.file", full)
    with pytest.raises(PipelineError, match="No space left") as caught:
        Journal.open(tmp_path / "backfill.sqlite", PURPOSE, UNTIL)
    assert caught.value.exit_code == 1


def test_only_the_owner_reads_it(path: Path) -> None:
    """Customers' ids are nobody else's business."""
    journal = Journal.open(path, PURPOSE, UNTIL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.close(complete=True)


def test_same_purpose_same_file(tmp_path: Path) -> None:
    """The same options lead to the same file, others to another."""
    assert path_for(tmp_path, dict(reversed(PURPOSE.items()))) == path_for(tmp_path, PURPOSE)
    assert path_for(tmp_path, {**PURPOSE, "from": "2025"}) != path_for(tmp_path, PURPOSE)
