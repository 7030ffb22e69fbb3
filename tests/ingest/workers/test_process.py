"""A worker without a process: what its supervisor gets of it."""

from __future__ import annotations

import pytest

from pipeline.ingest.workers.answers import Said
from pipeline.ingest.workers.process import Worker
from pipeline.watch.page.document import STAGE_PATH


@pytest.mark.parametrize("path", ["/live", "/metrics", STAGE_PATH])
async def test_no_process_gives_no_answer(path: str) -> None:
    """Neither ready nor live, and no series: so the supervisor counts it as one that does not serve."""
    worker = Worker(3)
    assert await worker.answer(path) == Said(3, 0, None, None, {})
    assert not worker.serves
    assert worker.series == []


def test_an_order_to_no_process_is_none() -> None:
    """A signal may come while a worker's next process is not there yet."""
    Worker(3).order("stop")
