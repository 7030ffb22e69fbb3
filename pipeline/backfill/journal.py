"""The journal of a backfill's progress: one SQLite file, in which each page is one transaction.

A page is noted after its commands are durable in Kafka, so a crash between the two repeats one page. The file also
keeps the customer of each payment, since refunds do not name one, and the customers that are to be identified at the
end. It holds ids and no other personal data, is readable by its owner alone, and is deleted when the backfill is
complete.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

from pipeline import private
from pipeline.dodo.api import Collection, Position
from pipeline.errors import InputError, PipelineError

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS run (purpose TEXT NOT NULL, until TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS progress (
    collection TEXT PRIMARY KEY, since TEXT NOT NULL, until TEXT NOT NULL, page INTEGER NOT NULL,
    objects INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payers (payment TEXT PRIMARY KEY, customer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_out (
    collection TEXT NOT NULL, object TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (collection, object)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS customers (customer TEXT PRIMARY KEY, identified INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An object that could not be brought into the state."""

    collection: str
    object_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one page."""

    objects: int = 0
    payers: dict[str, str] = field(default_factory=dict)
    customers: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()


def path_for(data_dir: Path, purpose: dict[str, object]) -> Path:
    """The file of a backfill with this purpose: the same options find the same file."""
    digest = blake2b(json.dumps(purpose, sort_keys=True).encode(), digest_size=6).hexdigest()
    return data_dir / f"backfill-{digest}.sqlite"


class Journal:
    """The progress of one backfill.

    Attributes:
        until: the end of the range, as it was when the backfill began.
        resumed: whether an earlier run had begun.

    Whatever asks it or notes something raises InputError where the file is damaged: SQLite looks at a page when it
    needs it, so a file that opens may still have one that cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, until: datetime, path: Path | None, *, resumed: bool) -> None:
        self._db = connection
        self._path = path
        self.until = until
        self.resumed = resumed

    @classmethod
    def open(cls, path: Path | None, purpose: dict[str, object], until: datetime, *, afresh: bool = False) -> Self:
        """Open or begin a journal.

        Args:
            path: of the file; None keeps it in memory.
            purpose: what the backfill is for.
            until: the end of its range, unless the file knows one already.
            afresh: discard the progress of earlier runs.

        Raises:
            InputError: the file is not a journal, of a backfill with another purpose, or this user may not write it.
            PipelineError: another process has it open, or the disk is full.
        """
        text = json.dumps(purpose, sort_keys=True)
        with _explained(path), contextlib.ExitStack() as stack:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                private.file(path)
            connection = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None)
            stack.callback(connection.close)
            # From the first statement on nobody else can open it: two runs would overwrite each other's progress.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            if afresh:
                for table in ("run", "progress", "payers", "left_out", "customers"):
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
            known = connection.execute("SELECT purpose, until FROM run").fetchone()
            if known is None:
                connection.execute("INSERT INTO run VALUES (?, ?)", (text, until.isoformat()))
            elif known[0] != text:
                raise InputError(
                    f"{path} is the state of another backfill: {known[0]}. Give its options again, another "
                    "--state-file, or --no-resume"
                )
            else:
                until = datetime.fromisoformat(known[1])
            connection.execute("COMMIT")
            stack.pop_all()
        return cls(connection, until, path, resumed=known is not None)

    def position(self, collection: Collection) -> Position | None:
        """The position to continue at; None before the first page."""
        with _explained(self._path):
            rows = self._read("SELECT since, until, page FROM progress WHERE collection = ?", collection)
            places = [Position(datetime.fromisoformat(row[0]), datetime.fromisoformat(row[1]), row[2]) for row in rows]
        return places[0] if places else None

    def objects(self, collection: Collection) -> int:
        """How many commands for objects of the collection are durable, of all runs together."""
        rows = self._read("SELECT objects FROM progress WHERE collection = ?", collection)
        return rows[0][0] if rows else 0

    def note(self, collection: Collection, then: Position, done: Done) -> None:
        """Note that a page's commands are durable, and that `then` is the next position.

        Raises:
            PipelineError: it cannot be written, such as on a full disk.
        """
        with self._transaction():
            self._db.execute(
                "INSERT INTO progress VALUES (?, ?, ?, ?, ?) ON CONFLICT (collection) DO UPDATE SET since = "
                "excluded.since, until = excluded.until, page = excluded.page, objects = objects + excluded.objects",
                (collection, then.since.isoformat(), then.until.isoformat(), then.page, done.objects),
            )
            self._db.executemany("INSERT OR REPLACE INTO payers VALUES (?, ?)", done.payers.items())
            self._db.executemany(
                "INSERT OR IGNORE INTO customers (customer) VALUES (?)", [(customer,) for customer in done.customers]
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO left_out VALUES (?, ?, ?)",
                [(item.collection, item.object_id, item.reason) for item in done.left_out],
            )

    def left_out(self, limit: int = -1) -> list[LeftOut]:
        """The objects that could not be brought into the state, of all runs together."""
        return [LeftOut(*row) for row in self._read("SELECT collection, object, reason FROM left_out LIMIT ?", limit)]

    def left_out_count(self) -> int:
        """How many objects those are."""
        return int(self._read("SELECT count(*) FROM left_out")[0][0])

    def payer(self, payment_id: str) -> str | None:
        """The customer of a payment that was seen; None for others."""
        rows = self._read("SELECT customer FROM payers WHERE payment = ?", payment_id)
        return rows[0][0] if rows else None

    def customers(self) -> int:
        """How many customers there are to identify, including those that are identified already."""
        return int(self._read("SELECT count(*) FROM customers")[0][0])

    def to_identify(self, limit: int) -> list[str]:
        """The next customers that are to be identified."""
        return [row[0] for row in self._read("SELECT customer FROM customers WHERE NOT identified LIMIT ?", limit)]

    def note_identified(self, customers: Iterable[str]) -> None:
        """Note that the commands to identify these are durable."""
        with self._transaction():
            self._db.executemany(
                "UPDATE customers SET identified = 1 WHERE customer = ?", [(customer,) for customer in customers]
            )

    def identified(self) -> int:
        """How many customers' commands were sent, of all runs together."""
        return int(self._read("SELECT count(*) FROM customers WHERE identified")[0][0])

    def close(self, *, complete: bool) -> None:
        """Close the file; delete it if the backfill is complete."""
        self._db.close()
        if complete and self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, query: str, *parameters: str | int) -> list[Any]:
        """All rows: each may lie on a page that cannot be read."""
        with _explained(self._path):
            return self._db.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _explained(self._path):
            try:
                self._db.execute("BEGIN")
                yield
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise PipelineError(
                    f"{self._path} cannot be written ({error}): the page that was just sent is sent again next time"
                ) from None


@contextlib.contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    """Say what is wrong with the file and what to do, in place of an error of SQLite's or the system's.

    Raises:
        InputError: it is damaged, no journal, or this user may not use it.
        PipelineError: what may pass by itself: another process has it open, or the disk is full.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise PipelineError(f"{path} is in use: another backfill with these options is running") from None
        raise _unusable(path, str(error), passing="full" in str(error)) from None
    except OSError as error:
        passing = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise _unusable(path, str(error.strerror), passing=passing) from None
    except (sqlite3.DatabaseError, ValueError):  # a ValueError: a date that is none
        raise InputError(
            f"{path} is damaged, or no state file of a backfill: move it away, or give --state-file"
        ) from None


def _unusable(path: Path | None, why: str, *, passing: bool) -> PipelineError:
    kind = PipelineError if passing else InputError
    return kind(f"{path} cannot be used ({why}): PIPELINE_DATA_DIR must be writable")
