"""Seasons of bad days: a seed's faults befall the whole chain on three brokers, and the user cannot tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.season.catalogue import KINDS, QUICK
from tests.chaos.season.chain import WIRES, running
from tests.chaos.season.play import Played, play
from tests.chaos.season.report import report, write
from tests.chaos.season.schedule import schedule
from tests.conftest import ChainSettings
from tests.kafka.three_brokers import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LONG = bool(os.environ.get("CHAOS_SECONDS"))
FAULTS, WEBHOOKS = (
    (int(os.environ.get("CHAOS_FAULTS") or 300), int(os.environ.get("CHAOS_WEBHOOKS") or 200_000))
    if LONG
    else (20, 1_200)
)
FILE = "tests/chaos/season/test_seasons.py"
TIMED = LONG and not os.environ.get("CHAOS_UNTIMED")
"""On a machine that others load, how long work waits is their doing."""

SESSION_S = 10.0 if LONG else 6.0


@pytest.mark.timeout(8 * 3600 if LONG else 1800)
async def test_a_season_of_bad_days(chain_settings: ChainSettings, tmp_path: Path, seed: int) -> None:
    """Nothing is lost, counted twice, out of order or worth something else; nothing waits in the end or is wedged.

    The long form judges times as well (not with CHAOS_UNTIMED=1): after a SIGKILL work goes on within the session and
    5 s, after a SIGTERM within 3 s and without a repeat.
    """
    planned = schedule(seed, FAULTS, WEBHOOKS, KINDS if LONG else QUICK)
    again = the_same_again(seed)
    with Cluster.start(tmp_path / "cluster", wires=WIRES.values()) as cluster:
        async with running(
            cluster,
            chain_settings,
            tmp_path,
            seed=seed,
            webhooks=WEBHOOKS,
            session_s=SESSION_S,
            brief=not LONG,
            timed=TIMED,
        ) as chain:
            try:
                played = await play(chain, seed, planned, timed=TIMED)
            except AssertionError as error:
                raise AssertionError(f"{error}\nthe same again: {again}\n{chain.replicas.said}") from error
    told = report(played, planned)
    print(told)  # noqa: T201 - the season's result
    keep(played)
    assert not played.found, "\n".join([*played.found, told, f"the same again: {again}"])


def the_same_again(seed: int) -> str:
    """The command that plays this season once more."""
    if LONG:
        return f"make chaos SEED={seed} FAULTS={FAULTS} WEBHOOKS={WEBHOOKS}"
    return f"make unit T={FILE} CHAOS_SEED={seed}"


def keep(played: Played) -> None:
    """Write what docs show, where somebody asks for it."""
    if directory := os.environ.get("CHAOS_REPORT"):
        write(played, Path(directory))
