"""Killed between any two writes, a store is restored to what the changelog makes of its records, and never to less."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.statestore import lmdb_store, marker, transaction
from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.transaction import Transaction, TransactionalStore
from tests.statestore.schemas import LARGEST

GROUPS = (b"a", b"ab", b"b")
PIECE_RECORDS = 5
KEYS = [b"%b\0k\0%d" % (group, number) for group in GROUPS for number in range(2)]


def union(_key: bytes, old: bytes, new: bytes) -> bytes:
    """Values are sets of numbers, which only grow."""
    return orjson.dumps(sorted({*orjson.loads(old), *orjson.loads(new)}))


SETS = replace(LARGEST, merge=union)


class KilledError(BaseException):
    """The process ends here."""


def fold(records: Iterable[Change]) -> dict[bytes, bytes]:
    """What a changelog means, record by record: the oracle, which knows nothing of stores."""
    values: dict[bytes, bytes] = {}
    for key, value in records:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value if key not in values else union(key, values[key], value)
    return values


@dataclass
class Fuse:
    """Kills at the LMDB transaction of this number from now, before it or behind it."""

    left: int = -1
    behind: bool = False

    def burn(self, write: Any, *args: Any) -> bool:
        """One transaction of LMDB."""
        self.left -= 1
        if self.left == 0 and not self.behind:
            raise KilledError
        written: bool = write(*args)
        if self.left == 0:
            raise KilledError
        return written


@dataclass
class Sealed:
    """A transaction on its way, and where it lies in the changelog once it is durable."""

    writes: Transaction
    where: range | None = None


@dataclass
class World:
    """The changelog, and the process that dies."""

    directory: Path
    log: list[Change] = field(default_factory=list)
    sealed: list[Sealed] = field(default_factory=list)
    acknowledged: int = 0
    """Up to here the changelog's records are of input that is not read again."""


class Killed(RuleBasedStateMachine):
    """A process that writes, and whatever comes in between."""

    def __init__(self) -> None:
        super().__init__()
        self._tmp = tempfile.TemporaryDirectory()
        self._patches = pytest.MonkeyPatch()
        self._patches.setattr(lmdb_store, "SLICE_KEYS", 2)
        self._patches.setattr(transaction, "FLUSH_TRANSACTIONS", 4)
        self._patches.setattr(marker, "MAX_UNCLEAN", 10_000)  # it is not the files' fault
        self.fuse = Fuse()
        ours, fuse = LmdbStore._has_written, self.fuse
        self._patches.setattr(LmdbStore, "_has_written", lambda *args: fuse.burn(ours, *args))
        self.world = World(Path(self._tmp.name))

    @initialize()
    def begin(self) -> None:
        """The first process."""
        self.starts()

    def starts(self) -> None:
        """The next process; one that dies over its restore is followed by another."""
        while True:
            try:
                self.restores()
            except KilledError:
                self.ends()
            else:
                return

    def restores(self) -> None:
        """Open and read the changelog from the checkpoint on, as `restore` does."""
        world = self.world
        self.local = LmdbStore.open(world.directory, "t", 0, SETS)
        assert self.local.why_empty is None or not self.local.next_offset
        while read := world.log[self.local.next_offset :][:PIECE_RECORDS]:
            self.local.absorb(read, self.local.next_offset + len(read), None)
        values = dict(self.local.scan(b""))
        assert values == fold(world.log)
        for group in GROUPS:
            derived = self.local.derived(group)
            assert derived in {None, self.derived(values, group)}, (group, derived)
        self.store = TransactionalStore(self.local, 0)
        for key in self.local.differing():
            self.store.write(key, values.get(key))
        world.sealed = []

    @staticmethod
    def derived(values: dict[bytes, bytes], group: bytes) -> bytes:
        """What follows from a group's values."""
        return orjson.dumps(
            [[key.decode(), value.decode()] for key, value in sorted(values.items()) if key.startswith(group + b"\0")]
        )

    def kept(self, group: bytes) -> None:
        """Keep what follows from the group as it is read now."""
        self.store.put_derived(group, self.derived(dict(self.store.scan(group + b"\0")), group))

    @rule(
        changes=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 9)), max_size=4),
        until=st.sampled_from(["open", "sealed", "durable", "committed", "committed", "lost"]),
    )
    def works(self, changes: list[tuple[bytes, int | None]], until: str) -> None:
        """A chunk: values grow or go, and with them what follows from them; it comes so far, as do those before it."""
        for key, number in changes:
            known = self.store.get(key)
            one = orjson.dumps([number])
            self.store.put(key, None if number is None else one if known is None else union(key, known, one))
            self.kept(key.split(b"\0")[0])
        if until == "open":
            return
        self.world.sealed.append(Sealed(self.store.seal()))
        if until != "sealed":
            for one_sealed in self.world.sealed:
                self.is_durable(one_sealed)
        if until in {"committed", "lost"}:
            self.commits(lost=until == "lost")

    def is_durable(self, one: Sealed) -> None:
        """A transaction is in the changelog, and the process does not know yet."""
        if one.where is None:
            start = len(self.world.log)
            self.world.log += one.writes.changes()
            one.where = range(start, len(self.world.log))

    def commits(self, *, lost: bool) -> None:
        """The process learns of all that are durable, perhaps not where the last lies; their input is acknowledged."""
        ready, self.world.sealed = self.world.sealed, []
        offsets = [one.where if one.writes.values else None for one in ready]
        if lost:
            offsets[-1] = None
        if self.lives(lambda: self.store.commit([one.writes for one in ready], offsets)):
            self.world.acknowledged = max([self.world.acknowledged, *(one.where.stop for one in ready if one.where)])

    @rule()
    def flushes(self) -> None:
        """Its time has come."""
        self.lives(self.store.flush)

    @rule(key=st.sampled_from(KEYS), value=st.none() | st.integers(0, 9).map(lambda number: orjson.dumps([number])))
    def another_writes(self, key: bytes, value: bytes | None) -> None:
        """A former owner, between our records."""
        self.world.log.append((key, value))

    @precondition(lambda self: self.store.has_gap and not self.world.sealed)
    @rule()
    def reads_the_gap(self) -> None:
        """Before the next chunk, as the flow does."""
        self.world.sealed.append(Sealed(self.store.seal()))
        end = len(self.world.log)
        read = self.world.log[self.local.next_offset : end]
        if self.lives(lambda: self.store.merge_in(collapse(read, union))):
            self.store.gap_read(end)

    @rule(left=st.integers(1, 6), behind=st.booleans())
    def is_doomed(self, left: int, *, behind: bool) -> None:
        """It dies at one of its next writes."""
        self.fuse.left, self.fuse.behind = left, behind

    @rule()
    def is_killed(self) -> None:
        """Here and now."""
        self.dies()

    @rule()
    def is_stopped(self) -> None:
        """In order: what is committed is found again, and nothing of it is read from the topic."""
        whole = not self.store._checkpoint.has_gap
        if not self.lives(self.store.give_up):
            return
        reached = self.local.next_offset
        self.local.close()
        assert not whole or reached >= self.world.acknowledged
        self.starts()

    @rule()
    def comes_to_rest(self) -> None:
        """The next process has read everything and done one chunk: a compaction takes nothing that anybody wrote."""
        self.dies()
        self.world.sealed.append(Sealed(self.store.seal()))
        self.is_durable(self.world.sealed[-1])
        self.commits(lost=False)
        assert {key: value for key, value in dict(self.world.log).items() if value is not None} == fold(self.world.log)

    def lives(self, work: Any) -> bool:
        """Do it; another process begins when this one dies over it."""
        try:
            work()
        except KilledError:
            self.dies()
            return False
        return True

    def dies(self) -> None:
        """The end of the process, and the next one."""
        self.ends()
        self.starts()

    def ends(self) -> None:
        """As SIGKILL ends it: what LMDB has written stays, and nobody says goodbye."""
        self.fuse.left = -1
        self.local._env.close()
        self.local._directory.release()

    @invariant()
    def the_checkpoint_is_in_the_topic(self) -> None:
        """What is said to be known of the changelog is there."""
        assert self.local.next_offset <= len(self.world.log)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.local.close(clean=False)
        self._patches.undo()
        self._tmp.cleanup()


TestKilled = Killed.TestCase
TestKilled.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink an example takes minutes
)
