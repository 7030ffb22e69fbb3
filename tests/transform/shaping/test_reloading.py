"""New rules are taken while the transform runs, or refused with the old ones kept."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from pipeline.tasks import Tasks
from pipeline.transform import worker
from pipeline.transform.metrics import observe_transform
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.loading import checked_shaper_of
from pipeline.transform.shaping.reloading import LiveShaper, ShaperLoaded
from pipeline.transform.shaping.types import Shaper
from pipeline.watch.metrics import Metrics
from pipeline.watch.worker import WorkerWatch

GOOD = "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n"
OTHER = GOOD.replace("Order Paid", "Paid")
BROKEN = "rules:\n- renam: X\n"


def put(path: Path, text: str) -> None:
    """Write a file."""
    path.write_text(text)


def remove(path: Path) -> None:
    """Take a file away, if it is there."""
    path.unlink(missing_ok=True)


class Stage:
    """A live shaper of a file, and what it told."""

    def __init__(self, path: Path, look_s: float = 3600.0) -> None:
        self.told: list[object] = []
        self.taken = asyncio.Event()
        settings = Settings.load(rules=path)
        shaper = checked_shaper_of(settings)
        assert shaper is not None
        self.live = LiveShaper(settings, shaper, Tasks(), self.hears, look_s=look_s)

    def hears(self, event: object) -> None:
        """What is told to observers."""
        self.told.append(event)
        if isinstance(event, ShaperLoaded) and event.outcome == "taken":
            self.taken.set()

    @property
    def outcomes(self) -> list[str]:
        """What became of what was loaded."""
        return [one.outcome for one in self.told if isinstance(one, ShaperLoaded)]

    async def looks(self, times: int = 2) -> None:
        """As often as it takes to find the files at rest."""
        for _ in range(times):
            await self.live.look()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of rules."""
    path = tmp_path / "rules.yaml"
    put(path, GOOD)
    return path


async def test_a_change_is_taken_once_it_has_come_to_rest(path: Path) -> None:
    """A file in the middle of being written is not read: half of it might be rules as well."""
    stage = Stage(path)
    before = stage.live.shaper.version
    await stage.looks(3)
    assert stage.outcomes == []
    put(path, "rules: []\n")
    await stage.live.look()
    assert stage.live.shaper.version == before
    put(path, OTHER)
    await stage.live.look()
    assert stage.live.shaper.version == before
    await stage.live.look()
    assert stage.live.shaper.version != before
    assert stage.outcomes == ["taken"]


@pytest.mark.parametrize("which", ["live", "candidate"])
async def test_what_changes_while_it_is_loaded_at_the_start(
    path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout that brings new rules and new pods at once: a worker never stays with the rules of before."""

    def loaded(settings: Settings, **options: Any) -> Shaper | None:
        shaper = checked_shaper_of(settings, **options)
        put(path, OTHER)
        return shaper

    settings = Settings.load(rules=path, shadow_rules=path)
    policy, watch = Policy.of(settings), WorkerWatch(worker.create_app(settings))
    monkeypatch.setattr(worker, "checked_shaper_of", loaded)
    if which == "live":
        found = worker._live(settings, policy, watch, Tasks())
    else:
        beside = worker._beside(settings, policy, watch, Tasks(), None)
        found = None if beside is None else beside.candidate
    assert found is not None
    before = found.shaper.version
    for _ in range(2):
        await found.look()
    assert found.shaper.version != before


async def test_a_swapped_symlink_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes updates a ConfigMap: the folder behind `..data` is another, and the path the same."""
    for name, text in (("one", GOOD), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(text)
    data, path = tmp_path / "..data", tmp_path / "rules.yaml"
    data.symlink_to("one")
    path.symlink_to("..data/rules.yaml")
    stage = Stage(path)
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("two")
    fresh.rename(data)
    await stage.looks()
    assert stage.outcomes == ["taken"]


@pytest.mark.parametrize("fault", ["broken", "missing", "failing case"])
async def test_what_cannot_be_used_is_refused_once_and_the_old_stays(path: Path, fault: str) -> None:
    """Mended, it is taken by itself."""
    stage = Stage(path)
    before = stage.live.shaper
    cases = path.with_name("rules.tests.yaml")
    match fault:
        case "broken":
            put(path, BROKEN)
        case "missing":
            remove(path)
        case _:
            put(path, OTHER)
            put(cases, "cases:\n- sample: payment.succeeded\n  operations: []\n")
    await stage.looks(4)
    assert stage.outcomes == ["refused"]
    assert stage.live.shaper is before
    remove(cases)
    put(path, OTHER)
    await stage.looks()
    assert stage.outcomes == ["refused", "taken"]


async def test_sighup_looks_at_once(path: Path) -> None:
    """Whatever there is is read, though nobody waited for rest, and told of even if it is the same."""
    stage = Stage(path)
    await stage.live.start()
    try:
        put(path, OTHER)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            await stage.taken.wait()
    finally:
        await stage.live.stop()


async def test_sighup_reaches_the_candidate_beside_it(path: Path, tmp_path: Path) -> None:
    """One signal for both; the end of one leaves the other its signal."""
    (tmp_path / "shadow").mkdir()
    shadow = tmp_path / "shadow" / "rules.yaml"
    put(shadow, GOOD)
    stages = [Stage(path), Stage(shadow)]
    for stage in stages:
        await stage.live.start()
    try:
        for file in (path, shadow):
            put(file, OTHER)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            for stage in stages:
                await stage.taken.wait()
        await stages[0].live.stop()
        stages[1].taken.clear()
        put(shadow, GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            await stages[1].taken.wait()
    finally:
        for stage in stages:
            await stage.live.stop()


async def test_it_looks_by_itself(path: Path) -> None:
    """Without a signal."""
    stage = Stage(path, look_s=0.01)
    await stage.live.start()
    try:
        put(path, OTHER)
        async with asyncio.timeout(60):
            await stage.taken.wait()
    finally:
        await stage.live.stop()


def test_version_and_outcomes_are_metrics() -> None:
    """One series of the version that is live."""
    metrics = Metrics("transform")
    observe_transform(metrics)
    for outcome, version in (("started", "a"), ("taken", "b"), ("refused", "b")):
        metrics(ShaperLoaded(outcome, version))  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value
    assert value("dodo_cio_rules_info", {"version": "b"}) == 1
    assert value("dodo_cio_rules_info", {"version": "a"}) is None
    assert [value("dodo_cio_rules_reloads_total", {"outcome": one}) for one in ("taken", "refused")] == [1, 1]
