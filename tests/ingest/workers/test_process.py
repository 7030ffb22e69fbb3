"""A worker without a process: what its supervisor gets of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.ingest.workers.answers import Said
from pipeline.ingest.workers.process import Worker
from pipeline.ingest.workers.supervisor import Supervisor
from pipeline.settings import PREFIX, Settings
from pipeline.watch.page.document import STAGE_PATH


@pytest.mark.parametrize("path", ["/live", "/metrics", STAGE_PATH])
async def test_no_process_gives_no_answer(path: str) -> None:
    """Neither ready nor live, and no series: so the supervisor counts it as one that does not serve."""
    worker = Worker(3)
    assert await worker.answer(path) == Said(3, 0, None, None, {})
    assert not worker.serves
    assert worker.series == []


def test_settings_in_files_reach_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the supervisor tells its workers itself takes the place of a file; everything else stays as it was given."""
    texts = {"HOST": "127.0.0.1", "PORT": "7000", "ADMIN_PORT": "7001", "INGEST_WORKERS": "2", "LOG_FORMAT": "json"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.setenv(f"{PREFIX}{name}_FILE", str(tmp_path / name))
    settings = Settings.load()
    environment = Supervisor(settings, lambda _: None)._environment()
    monkeypatch.setattr(os, "environ", environment)
    told = Settings.load()
    assert (told.host, told.ingest_workers, told.log_format) == ("127.0.0.1", 2, "json")
    assert told.file_of("log_format") == tmp_path / "LOG_FORMAT"


def test_an_order_to_no_process_is_none() -> None:
    """A signal may come while a worker's next process is not there yet."""
    Worker(3).order("stop")
