"""`dodo-cio state`: what it asks for, what it says, and how it ends when it is interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import build, state_run
from pipeline.errors import InputError, SettingsError, TopicError
from pipeline.settings import Settings
from pipeline.transform.customers.repartition import Advanced, Repartition, Survey

Invoke = Callable[..., Any]


@pytest.fixture
def invoke() -> Invoke:
    """Runs the command in this process; its own errors are raised."""

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(build(), ["state", *arguments], catch_exceptions=True)

    return run


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A stopped group and six partitions; tells whether a backlog was accepted."""
    asked: list[bool] = []

    async def check(_settings: Settings, *, with_backlog: bool) -> None:
        asked.append(with_backlog)

    async def partitions(_settings: Settings) -> int:
        return 6

    monkeypatch.setattr(state_run, "check_quiet", check)
    monkeypatch.setattr(state_run, "partitions_now", partitions)
    return asked


def reading(monkeypatch: pytest.MonkeyPatch, survey: Survey) -> None:
    """What the topic holds."""

    async def read(_self: Repartition, tell: Callable[[Advanced], None]) -> Survey:
        tell(Advanced("Reading", 1, 2))
        return survey

    monkeypatch.setattr(Repartition, "read", read)


def misplaced() -> Survey:
    """Two facts that lie elsewhere."""
    survey = Survey(6, facts=10, customers=4, kept_aside=1, written_under=dict.fromkeys(range(4), 4))
    survey.misplaced[0, 5] = 2
    return survey


def test_help_has_examples(invoke: Invoke) -> None:
    """Both levels tell what the command does."""
    assert "repartition" in invoke("--help").output
    said = invoke("repartition", "--help").output
    assert "dodo-cio state repartition --dry-run" in said
    assert "--with-backlog" in said


def test_nobody_to_ask(invoke: Invoke) -> None:
    """Without a terminal nothing is done that was not confirmed."""
    done = invoke("repartition")
    assert isinstance(done.exception, InputError)
    assert "--yes" in str(done.exception)


def test_without_a_state(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no facts to move then."""
    monkeypatch.setenv("PIPELINE_STATE", "false")
    assert isinstance(invoke("repartition", "--yes").exception, SettingsError)


@pytest.mark.usefixtures("quiet")
def test_a_dry_run(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts what would move, from where to where, and what is no fact."""
    reading(monkeypatch, misplaced())
    done = invoke("repartition", "--dry-run")
    assert done.exit_code == 0
    assert "Would move 2 of 10 facts in 6 partitions" in done.output
    assert "0 -> 5: 2" in done.output
    assert "1 records are no facts" in done.output


def test_the_json_form(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, quiet: list[bool]) -> None:
    """One document; a dry run does not mind a backlog."""
    reading(monkeypatch, misplaced())
    done = invoke("repartition", "--dry-run", "--json")
    assert '"to_move": 2' in done.output
    assert '"moved": 0' in done.output
    assert '"settled": false' in done.output
    assert quiet == [True]


def test_nothing_to_do(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, quiet: list[bool]) -> None:
    """It says so, and writes nothing."""
    reading(monkeypatch, Survey(6, facts=10, written_under=dict.fromkeys(range(6), 6)))
    done = invoke("repartition", "--yes")
    assert (done.exit_code, "Nothing to do: 10 facts lie at their owners" in done.output) == (0, True)
    assert quiet == [False]


def test_who_is_not_settled() -> None:
    """A misplaced fact, another number, none, or a partition that has not begun beside some that have."""
    right: dict[int, int | None] = dict.fromkeys(range(6), 6)
    assert Survey(6, written_under=right).is_settled
    assert Survey(6).is_settled
    assert not misplaced().is_settled
    wrong: list[dict[int, int | None]] = [
        {**right, 3: 4},
        {**right, 3: None},
        {**right, 3: 0},
        dict.fromkeys(range(5), 6),
    ]
    for written in wrong:
        assert not Survey(6, written_under=written).is_settled


@pytest.mark.usefixtures("quiet")
def test_interrupted(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it with 130 and says what goes on: `topics apply` would find its partitions added, and do nothing."""

    async def read(_self: Repartition, _tell: Callable[[Advanced], None]) -> Survey:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError("nobody ends the wait but the signal")

    monkeypatch.setattr(Repartition, "read", read)
    done = invoke("repartition", "--yes")
    assert (done.exit_code, "`dodo-cio state repartition` goes on" in done.output) == (130, True)


def test_a_group_that_runs(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before anything is read."""

    async def check(_settings: Settings, **_: object) -> None:
        raise TopicError("stop every transform first")

    monkeypatch.setattr(state_run, "check_quiet", check)
    done = invoke("repartition", "--yes", "--with-backlog")
    assert isinstance(done.exception, TopicError)
