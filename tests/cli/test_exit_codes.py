"""One fault has one exit code and one message, whichever command meets it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline import cli
from pipeline.cli import build
from pipeline.cli.exit_codes import EXIT_CODES, as_help
from pipeline.errors import PipelineError
from pipeline.kafka.local.broker import free_port
from tests.cli.test_screen import COMMANDS

LEAVES = {path for path in COMMANDS if not any(other[: len(path)] == path and other != path for other in COMMANDS)}
STAGES = {("ingest",), ("transform",), ("sink",)}

RULES = Path(__file__).parents[2] / "tests/bench/rules.yaml"

NEEDED: Mapping[tuple[str, ...], Sequence[str]] = {
    ("explain",): ["--sample", "payment.succeeded"],
    ("recipe", "explain"): ["recipe.js", "--sample", "payment.succeeded"],
    ("recipe", "lint"): ["recipe.js"],
    ("trace",): ["--webhook-id", "msg_1"],
    ("backfill",): ["--from", "2026-01-01", "--yes"],
    ("preview",): ["--rules", str(RULES)],
    ("forget",): ["cus_1", "--yes"],
    ("topics", "apply"): ["--yes"],
    ("dlq", "show"): ["0/1"],
    ("dlq", "replay"): ["--yes"],
    ("state", "repartition"): ["--yes"],
    ("state", "restore-topic"): ["--yes"],
    ("rules", "check"): ["rules.yaml"],
    ("rules", "test"): ["rules.yaml"],
}
"""What a command does not begin without."""

UNSET = {
    ("sandbox",), ("demo",), ("metrics",), ("kafka", "up"), ("kafka", "down"), ("rules", "schema"), ("rules", "check"),
    ("rules", "test"), ("recipe", "lint"), ("recipe", "explain"),
}  # fmt: skip
"""Commands that need no settings, or first a file of their own."""

OFFLINE = {("explain",), ("events",), ("settings",), ("send-test",), ("topics", "render"), *UNSET}
"""Commands that speak to no broker."""

ELSEWHERE = {
    *STAGES,  # tests/cli/test_signals: they try for longer, and end with 1
    ("doctor",),  # its verdict is a fault, and the exit code that of its verdicts
    ("backfill",),  # asks Dodo first
    ("state", "restore-topic"),  # reads the local mirrors first
}


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command line."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["dodo-cio", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code, capsys.readouterr().err


def test_every_command_is_known_here() -> None:
    """The tables above name no command that is gone; one that is new meets every fault below without them."""
    assert {*NEEDED, *OFFLINE, *ELSEWHERE} <= LEAVES


@pytest.mark.parametrize("command", sorted(LEAVES - UNSET), ids=" ".join)
def test_a_malformed_setting(
    command: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2, and the variable is the first word that is said."""
    monkeypatch.setenv("PIPELINE_LANES", "many")
    code, err = run(capsys, monkeypatch, *command, *NEEDED.get(tuple(command), ()))
    assert code == 2
    assert err.startswith("dodo-cio: PIPELINE_LANES: ") or command == ("doctor",)  # one of its findings
    assert "many" not in err


@pytest.mark.parametrize("command", sorted(LEAVES - OFFLINE - ELSEWHERE), ids=" ".join)
def test_no_broker(
    command: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """1: a broker that comes back mends it."""
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path))
    code, err = run(capsys, monkeypatch, *command, *NEEDED.get(tuple(command), ()))
    assert code == 1
    assert "Traceback" not in err


def test_no_broker_at_the_doctors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """2, as every fault that it finds; the table says so, and that the finding is on standard output."""
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    assert run(capsys, monkeypatch, "doctor", "--only", "brokers") == (2, "")
    assert "`doctor`" in EXIT_CODES[2]
    page = (Path(__file__).parents[2] / "docs/operating.md").read_text(encoding="utf-8")
    said = " ".join(page.partition("## The command line")[2].partition("<!-- made")[0].split())
    assert "`dodo-cio doctor` ends with the code of its worst finding" in said
    assert "on standard output" in said


@pytest.mark.parametrize(
    "command",
    [
        ["explain", "missing.json"],
        ["explain", "--rules", "missing.json", "--sample", "payment.succeeded"],
        ["rules", "check", "missing.json"],
        ["preview", "--rules", "missing.json"],
        ["rules", "test", "missing.json"],
        ["recipe", "lint", "missing.json"],
        ["recipe", "explain", "missing.json", "--sample", "payment.succeeded"],
        ["send-test", "--file", "missing.json"],
        ["sandbox", "--faults", "missing.json"],
        ["topics", "render", "--topics-dir", "missing.json"],
    ],
    ids=" ".join,
)
def test_a_missing_file(
    command: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """2, and the message names the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_DODO_WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    code, err = run(capsys, monkeypatch, *command)
    assert code == 2
    assert "missing.json" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    "command",
    [
        ["lag", "--watch", "--interval"],
        ["dlq", "replay", "--rate"],
        ["sandbox", "--latency-ms"],
        ["sandbox", "--rate-limit"],
    ],
    ids=" ".join,
)
def test_a_number_that_is_none(
    command: Sequence[str], number: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad usage: NaN passes each bound, and no loop can wait for so long."""
    assert run(capsys, monkeypatch, *command, number)[0] == 2


def test_unknown_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An option or a command that is none is bad usage, 2, at every place."""
    for command in [*sorted(LEAVES), ()]:
        assert run(capsys, monkeypatch, *command, "--no-such-option")[0] == 2, command


def test_every_error_has_a_code_of_the_table() -> None:
    """No error of ours ends with a code that the help does not have."""

    def below(kind: type[PipelineError]) -> list[type[PipelineError]]:
        return [kind, *(deeper for one in kind.__subclasses__() for deeper in below(one))]

    assert {kind.exit_code for kind in below(PipelineError)} <= set(EXIT_CODES)


def test_the_help_has_the_table() -> None:
    """`dodo-cio --help` explains every code."""
    assert as_help() in (get_command(build()).help or "")
