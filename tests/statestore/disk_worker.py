"""A process that uses a mirror while the machine lacks something: `python disk_worker.py DIRECTORY LACK [MARK]`.

It says on stdout, as JSON, what it was told: the error's class and message, and the offset of the mirror.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.statestore.lmdb_store import LmdbStore
from tests.statestore.schemas import LARGEST


def address_space() -> None:
    """Room for no further mirror."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 16 * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def open_files() -> None:
    """The lock and the mark can be opened, the data cannot."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 1024))
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    for _ in range(2):
        os.close(taken.pop())


def file_size() -> None:
    """No file grows."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))


def writes(store: LmdbStore) -> None:
    """More than fits anywhere."""
    offset = store.next_offset
    for number in range(2000):
        offset += 1
        store.write({b"more_%d\0payment\0%d" % (number, n): b"x" * 1000 for n in range(100)}, {}, offset)


def main(directory: Path, lack: str, mark: str | None) -> dict[str, object]:
    """Meet the fault."""
    at_open = {"address-space": address_space, "open-files": open_files}.get(lack)
    store = None
    try:
        if at_open is not None:
            at_open()
        store = LmdbStore.open(directory, "dodo.customers", 0, LARGEST)
        if lack == "file-size":
            file_size()
        if mark:
            Path(mark).touch()
        writes(store)
    except PipelineError as error:
        return {"kind": type(error).__name__, "message": str(error), "code": error.exit_code}
    finally:
        if store is not None:
            with suppress(PipelineError):
                store.close()
    return {"kind": None}


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
    sys.stdout.write(json.dumps(found))
