"""A transform that dies or freezes at a step of our choice: `python faulty_worker.py STEP COUNT SIGNAL`.

The process is the real worker; the steps are wrapped from outside. With ARMED it happens whenever the file of that name
is there, which is removed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.kafka.producer.outlet import Outlet
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.kafka.worker.commits import Committer
from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.commits import PartitionCommits
from pipeline.transform.flow import Flow
from pipeline.transform.worker import create_app

Act = Callable[[], None]


def before(owner: Any, name: str, act: Act) -> None:
    """Do it ahead of each call."""
    call = getattr(owner, name)

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act()
        return call(*args, **kwargs)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, act: Act) -> None:
    """Do it behind each call."""
    call = getattr(owner, name)

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        act()
        return result

    setattr(owner, name, wrapped)


STEPS: dict[str, tuple[Callable[[Any, str, Act], None], Any, str]] = {
    "outputs-partly": (after, Outlet, "_landed"),
    "outputs-durable": (before, Flow, "_sent"),
    "facts-due": (before, PartitionCommits, "_may_send"),
    "facts-sent": (after, PartitionCommits, "_send"),
    "facts-durable": (before, PartitionCommits, "_facts_stored"),
    "committed": (after, TransactionalStore, "commit"),
    "acknowledged": (after, RecordBatch, "done"),
    "store-due": (before, LmdbStore, "write"),
    "store-written": (after, LmdbStore, "write"),
    "commit-due": (before, Committer, "commit"),
}


def main() -> int:
    """Run until the step has come so many times, or like any worker."""
    step, count, what = sys.argv[1], int(sys.argv[2]), getattr(signal, sys.argv[3])
    armed = os.environ.get("ARMED")
    seen = 0

    def act() -> None:
        nonlocal seen
        seen += 1
        if armed and Path(armed).exists():
            Path(armed).unlink()
        elif armed or seen != count:
            return
        os.kill(os.getpid(), what)

    wrap, owner, name = STEPS[step]
    wrap(owner, name, act)
    settings = Settings.load()
    return run_worker(create_app(settings), settings)


if __name__ == "__main__":
    sys.exit(main())
