"""Rewrites a store's file, so that nothing of deleted values is left in it.

LMDB overwrites nothing that it deletes: old values stay in free pages and in the gaps of used ones, and keys of deleted
facts as the signposts of its trees. Its own compacting copy takes the signposts along. So every value that is
there is put into an empty file, in the order of keys. What was never put there cannot be in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb

from pipeline import private
from pipeline.errors import SettingsError
from pipeline.settings import PREFIX

SLICE_ITEMS: Final = 5000
"""Items of one transaction: what bounds the pages that LMDB keeps in memory."""

SPARE_BYTES: Final = 64 * 1024 * 1024
"""Room that a copy leaves on the disk: the copy can wait, a store that cannot be written ends the worker."""


def copy(
    source: lmdb.Environment,
    databases: Mapping[bytes, lmdb._Database],
    left_out: frozenset[bytes],
    to: Path,
    go_on: Callable[[], bool] = lambda: True,
) -> bool:
    """Put what these databases hold, but for the keys `left_out`, into a new file, which is on the disk then.

    `source` is not written meanwhile. False when `go_on` returned false in between: an unfinished copy is left behind.

    Raises:
        SettingsError: the disk has no room for a second file.
        lmdb.Error, OSError: it cannot be read or written; what was begun lies there.
    """
    to.unlink(missing_ok=True)
    info, page = source.info(), int(source.stat()["psize"])
    needed = (info["last_pgno"] + 1) * page + SPARE_BYTES
    free = shutil.disk_usage(to.parent).free
    if free < needed:
        raise SettingsError(
            f"{PREFIX}DATA_DIR: {to.parent}: what was deleted there stays on the disk until the file is written anew, "
            f"for which {needed - free} bytes are missing: make room"
        )
    target = lmdb.open(
        str(to),
        subdir=False,
        mode=private.FILE,
        map_size=2 * int(info["map_size"]),  # address space; sorted items need no more pages than they had
        max_dbs=len(databases),
        sync=False,
        lock=False,
        readahead=False,
        meminit=True,  # no page of the memory's earlier uses
    )
    try:
        for name, database in databases.items():
            into = target.open_db(name)
            with source.begin(db=database) as reading, reading.cursor() as cursor:
                items = (item for item in cursor.iternext() if item[0] not in left_out)
                while piece := list(islice(items, SLICE_ITEMS)):
                    if not go_on():
                        return False
                    with target.begin(db=into, write=True) as writing, writing.cursor() as end:
                        end.putmulti(piece, append=True)
        target.sync(True)
        return True
    finally:
        target.close()
