"""`dodo-cio explain` answers people and scripts, and says clearly what it cannot read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.errors import InputError, PipelineError, SettingsError, UnreadableBodyError

ESCAPE = "\x1b["
PAYMENT = samples.load("payment.succeeded")


def run(*arguments: str, stdin: bytes | None = None, **environ: str) -> tuple[str, BaseException | None]:
    """Standard output and exception of the command in this environment; without either it ended with 0."""
    result = CliRunner().invoke(build(), ["explain", *arguments], input=stdin, env=environ)
    if result.exception is None:
        assert result.exit_code == 0
    return result.stdout, result.exception


def fault(*arguments: str, stdin: bytes | None = None, **environ: str) -> PipelineError:
    """The error that the command ends with; its message is one line, its exit code 2."""
    _out, error = run(*arguments, stdin=stdin, **environ)
    assert isinstance(error, PipelineError)
    assert error.exit_code == 2
    assert "\n" not in str(error)
    return error


def test_for_people_it_shows_verdict_operations_and_request() -> None:
    """Webhook, verdict, operations with ids and sizes, warnings, request; no colours without a terminal."""
    out, error = run("--sample", "payment.succeeded", "--webhook-id", "msg_1")
    assert error is None
    assert ESCAPE not in out
    for expected in (
        r"webhook +payment\.succeeded",
        r"webhook-id msg_1",
        r"verdict +2 operations",
        r"identify .* \d+ bytes .* barrier",
        r"event payment_completed +ULID 01M4WR15WGMKBZW9WAVJS2YK2S · [\d,]+ bytes",
        r'"payment_amount": "46\.65"',
        r"warning +total_spent",
        r"request +POST https://track\.customer\.io/api/v2/batch · [\d,]+ bytes",
    ):
        assert re.search(expected, out), expected


def test_colours_on_a_terminal_and_none_under_no_color() -> None:
    """The convention of no-color.org."""
    coloured, _error = run("--sample", "payment.succeeded", FORCE_COLOR="1", TERM="xterm-256color")
    assert ESCAPE in coloured
    plain, _error = run("--sample", "payment.succeeded", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)


def test_json_is_one_document_alone() -> None:
    """Standard output is for the script."""
    out, error = run("--sample", "payment.succeeded--jpy", "--json")
    assert error is None
    document = json.loads(out)
    assert document["verdict"] == "operations"
    assert document["operations"][1]["attributes"]["payment_amount"] == "4980"


def test_a_file_and_standard_input_are_the_same(tmp_path: Path) -> None:
    """`-` reads standard input."""
    path = tmp_path / "webhook.json"
    path.write_bytes(PAYMENT)
    from_file, _error = run(str(path), "--json")
    from_stdin, _error = run("-", "--json", stdin=PAYMENT)
    assert json.loads(from_file) == json.loads(from_stdin)


def test_settings_are_the_environments() -> None:
    """What an operator would set is what is explained."""
    out, _error = run(
        "--sample", "payment.succeeded", "--json", PIPELINE_PERSON_ID="email", PIPELINE_CUSTOMERIO_REGION="eu"
    )
    document = json.loads(out)
    assert document["operations"][0]["identifiers"] == {"email": "jiwoo.han@example.com"}
    assert document["request"]["url"].startswith("https://track-eu.customer.io/")


@pytest.mark.parametrize(
    ("sample", "verdict"), [("payout.created", "dropped"), ("dispute.opened--no-customer", "dead letter, unmappable")]
)
def test_a_drop_and_a_dead_letter_are_answers(sample: str, verdict: str) -> None:
    """They explain, so the exit code is 0."""
    out, error = run("--sample", sample)
    assert error is None
    assert verdict in out
    assert "reason" in out


def test_test_mode_can_be_asked_for() -> None:
    """What the test endpoint's secret would make of it."""
    out, _error = run("--sample", "payment.succeeded", "--mode", "test", "--json")
    assert json.loads(out)["reason"].startswith("test-mode: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path, and what the system said."""
    error = fault(str(tmp_path / "gone.json"))
    assert "gone.json cannot be read: No such file or directory" in str(error)


def test_a_folder_is_no_webhook(tmp_path: Path) -> None:
    """Nor is it a traceback."""
    assert "cannot be read" in str(fault(str(tmp_path)))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"type": 1}'])
def test_an_unreadable_body_says_why(tmp_path: Path, body: bytes) -> None:
    """Why, and what the pipeline would do with it; as JSON the verdict comes too."""
    path = tmp_path / "webhook.json"
    path.write_bytes(body)
    error = fault(str(path))
    assert isinstance(error, UnreadableBodyError)
    assert "webhook.json is not a webhook: " in str(error)
    assert "dead letter of class unreadable" in str(error)
    out, _error = run(str(path), "--json")
    assert json.loads(out)["class"] == "unreadable"
    assert "standard input is not a webhook" in str(fault("-", stdin=body))


def test_an_unknown_sample_gets_suggestions() -> None:
    """A typing error is answered with what was probably meant."""
    error = fault("--sample", "payment.suceeded")
    assert "payment.succeeded" in str(error)


@pytest.mark.parametrize("arguments", [(), ("file.json", "--sample", "payment.succeeded")])
def test_exactly_one_source_is_needed(arguments: tuple[str, ...]) -> None:
    """Neither none nor two."""
    assert isinstance(fault(*arguments), InputError)


def test_an_empty_id_is_refused() -> None:
    """An id that is nothing would name every event of every webhook."""
    assert "--webhook-id is empty" in str(fault("--sample", "payment.succeeded", "--webhook-id", " "))


def test_a_file_far_too_large_is_refused(tmp_path: Path) -> None:
    """A dump of a topic was given by mistake."""
    path = tmp_path / "dump.json"
    path.write_bytes(b" " * 4_000_001)
    assert "no webhook is that large" in str(fault(str(path)))


def test_a_faulty_setting_is_named() -> None:
    """The variable, not its value."""
    _out, error = run("--sample", "payment.succeeded", PIPELINE_PRODUCT_NAMES="/nowhere/names.yaml")
    assert isinstance(error, SettingsError)
    assert str(error).startswith("PIPELINE_PRODUCT_NAMES: ")


def test_nothing_of_a_body_can_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters and bidirectional overrides are shown, not obeyed; markup is text."""
    webhook = json.loads(PAYMENT)
    webhook["data"]["customer"]["name"] = "\u009b31m[red]\u202eevil\x1b[2J"
    path = tmp_path / "webhook.json"
    path.write_text(json.dumps(webhook))
    out, error = run(str(path), "--webhook-id", "msg\x1b[2J\ud800")
    assert error is None
    assert not re.search(r"[\x1b\x9b\u202e]", out)
    assert "[red]" in out


def test_help_shows_examples() -> None:
    """The shortest way in is in the help."""
    result = CliRunner().invoke(build(), ["explain", "--help"])
    assert result.exit_code == 0
    assert "dodo-cio explain --sample payment.succeeded" in result.stdout
    assert "Exit code 0" in result.stdout
