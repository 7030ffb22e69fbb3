"""What is said of the customers' facts, and of the mirrors on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.doctor.state import _local_stores, state
from pipeline.settings import Settings
from pipeline.statestore.partitions import DIRECTORY


async def test_without_a_state() -> None:
    """It is said what is then not known, without asking anybody."""
    (found,) = await state(Settings.load(state=False, kafka_bootstrap_servers="127.0.0.1:1"))
    assert (found.verdict, found.text.startswith("off: no totals")) == ("ok", True)


def test_mirrors(tmp_path: Path) -> None:
    """How many there are and how large: what a transform that starts here need not read again."""
    settings = Settings.load(data_dir=tmp_path)
    (none,) = _local_stores(settings)
    assert "a transform that starts reads all" in none.text
    for partition in range(3):
        mirror = tmp_path / DIRECTORY / settings.customers_topic / str(partition) / "data.mdb"
        mirror.parent.mkdir(parents=True)
        mirror.write_bytes(b"x" * 2**20)
    (found,) = _local_stores(settings)
    assert (found.verdict, found.text) == ("ok", "3 mirrors, 3 MiB: what a transform that starts here need not read")


def test_a_mirror_that_goes_while_one_looks(tmp_path: Path, monkeypatch: Any) -> None:
    """A worker may give one up at any moment: it counts as nothing."""
    settings = Settings.load(data_dir=tmp_path)
    gone = tmp_path / DIRECTORY / settings.customers_topic / "0" / "data.mdb"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    gone.parent.parent.mkdir(parents=True)
    (found,) = _local_stores(settings)
    assert found.text.startswith("1 mirrors, 0 MiB")
