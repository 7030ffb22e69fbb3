"""A season's slow disk is slow: what writes to the customers' state waits, and what reads does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.chaos.season.faults.workers import SLOW_DISK
from tests.docs.pages import ROOT

SCRIPT = """
import sys, time
from pathlib import Path
waited = []
time.sleep = waited.append
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST
store = LmdbStore.open(Path(sys.argv[1]), "customers", 0, LARGEST)
opened = len(waited)
store.write({b"key": b"1"}, {}, 1)
written = len(waited)
assert store.get(b"key") == b"1"
print(written - opened, len(waited) - written, set(waited))
"""


def test_writes_wait(tmp_path: Path) -> None:
    """Each transaction that writes, and none that reads."""
    environment = {**os.environ, "SLOW_DISK_S": "0.25", "PYTHONPATH": str(SLOW_DISK)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    told = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["1", "0", "{0.25}"]
