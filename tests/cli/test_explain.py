"""`dodo-cio explain` answers people and scripts, and says clearly what it cannot read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.dodo.envelope import parse, webhook_id_of
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
        r"profile update .*safe to repeat .* \d+ bytes .* sent first, this person's later operations wait",
        r"event payment_completed +ULID 01M4WR15WGMKBZW9WAVJS2YK2S · [\d,]+ bytes",
        r'"payment_amount": "46\.65"',
        r"note +total_spent",
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
    document = json.loads(out)
    assert document["code"] == "test-mode"
    assert document["reason"].startswith("a test-mode webhook")


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


@pytest.mark.parametrize(
    ("words", "type_"),
    [
        ("license", "license_key.created"),
        ("licence", "license_key.created"),
        ("payment.suceeded", "payment.succeeded"),
        ("subscription trial", "subscription.active"),
        ("payment jpy", "payment.succeeded"),
    ],
)
def test_a_sample_is_found_by_words(words: str, type_: str) -> None:
    """Also with a typing error, where one sample alone can be meant."""
    out, error = run("--sample", words, "--json")
    assert error is None
    assert json.loads(out)["webhook_type"] == type_


@pytest.mark.parametrize(
    ("words", "meant"),
    [("trial", "subscription.active--trial"), ("checkout", "abandoned_checkout.detected"), ("xyzzy", "--sample lists")],
)
def test_words_that_mean_several_samples_or_none(words: str, meant: str) -> None:
    """They are named, or how to list all."""
    assert meant in str(fault("--sample", words))


def test_a_bare_sample_lists_them() -> None:
    """All names, for people and for scripts."""
    out, error = run("--sample")
    assert error is None
    assert out.split() == list(samples.names())
    out, _ = run("--sample", "--json")
    assert json.loads(out) == {"samples": list(samples.names())}


JOURNEY = [
    {"type": "payment.succeeded", "timestamp": "2026-03-01T10:00:00Z", "data": {
        "payment_id": "pay_1", "total_amount": 2900, "currency": "USD", "subscription_id": "sub_1",
        "charge_type": "new",
        "customer": {"customer_id": "cus_1", "email": "ada@example.com", "name": "Ada Lovelace"}}},
    {"type": "subscription.active", "timestamp": "2026-03-01T10:00:01Z", "data": {
        "subscription_id": "sub_1", "status": "active", "product_id": "pdt_1", "recurring_pre_tax_amount": 2900,
        "currency": "USD", "created_at": "2026-03-01T10:00:00Z", "previous_billing_date": "2026-03-01T10:00:00Z",
        "next_billing_date": "2026-04-01T10:00:00Z", "payment_frequency_interval": "Month",
        "payment_frequency_count": 1, "customer": {"customer_id": "cus_1", "email": "ada@example.com"}}},
    {"type": "subscription.renewed", "timestamp": "2026-03-01T10:00:02Z", "data": {
        "subscription_id": "sub_1", "status": "active", "product_id": "pdt_1", "recurring_pre_tax_amount": 2900,
        "currency": "USD", "created_at": "2026-03-01T10:00:00Z", "previous_billing_date": "2026-03-01T10:00:00Z",
        "next_billing_date": "2026-04-01T10:00:00Z", "payment_frequency_interval": "Month", "payment_id": "pay_1",
        "payment_frequency_count": 1, "customer": {"customer_id": "cus_1", "email": "ada@example.com"}}},
]  # fmt: skip
"""A customer's first minute: the last one is the first charge, and no renewal."""


def test_several_webhooks_are_a_journey(tmp_path: Path) -> None:
    """In order, with a state: no note that the state decides, the profile at the end, as lines, list or files."""
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(map(json.dumps, JOURNEY)))
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(JOURNEY))
    files = []
    for number, webhook in enumerate(JOURNEY):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(webhook))
    told = []
    for arguments in ([str(lines)], [str(whole)], [*map(str, files)]):
        out, error = run(*arguments, "--json")
        assert error is None
        told.append(json.loads(out))
    for document in told:
        events = [[o["name"] for o in one["operations"] if o["action"] == "event"] for one in document["webhooks"]]
        assert events == [["payment_completed"], ["subscription_started"], []]
        assert "no subscription_renewed: this looks like the first charge" in document["webhooks"][2]["warnings"]
        assert not any("come from the state" in one for w in document["webhooks"] for one in w["warnings"])
        (person,) = document["people"]
        assert person["attributes"]["total_spent"] == "29.00"
        assert person["attributes"]["subscription_amount"] == "29.00"
    assert told[0]["people"] == told[1]["people"] == told[2]["people"]


def test_a_journey_as_a_marketer_reads_it(tmp_path: Path) -> None:
    """What is sent and why not, a repeated webhook skipped, the profile at the end."""
    path = tmp_path / "webhooks.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in [*JOURNEY, JOURNEY[1]]))
    out, error = run(str(path))
    assert error is None
    for said in ("sends   event payment_completed", "sends   profile update", "skipped, already sent",
                 "no subscription_renewed: this looks like the first charge", "profile    cus_1 (ada@example.com)",
                 '"total_spent": "29.00"'):  # fmt: skip
        assert said in out, said


def test_an_event_of_the_past_starts_no_campaign_now() -> None:
    """Who sends an old webhook again is told so."""
    out, _ = run("--sample", "payment.succeeded--captured-2026-08")
    assert re.search(r"note +sent now, the event would be \d+ days old", out)


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda body: {"log": {"request": {"body": body}}}, "log.request.body"),
        (lambda body: {"message": json.dumps(body)}, "message (text)"),
        (lambda body: {"records": [{"value": body}]}, "records[0].value"),
    ],
)
def test_a_wrapped_copy_says_where_the_webhook_was(wrap: Any, path: str, tmp_path: Path) -> None:
    """A line of a log, a text in a text, a list inside; with the webhook-id beside it."""
    file = tmp_path / "copy.json"
    file.write_text(json.dumps({"headers": {"Webhook-Id": "msg_7"}, **wrap(JOURNEY[0])}))
    out, error = run(str(file), "--json")
    assert error is None
    document = json.loads(out)
    assert (document["found_at"], document["webhook_id"]) == (path, "msg_7")
    assert document["webhook_type"] == "payment.succeeded"
    out, _ = run(str(file))
    assert f"found at   {path}" in out


@pytest.mark.parametrize(
    ("copied", "found"),
    [
        ("[{webhook}]", "[0]"),
        ("2026-11-30 INFO webhook {webhook}", "byte 24 on"),
        ('{{"level": "info"}}\n2026-11-30 INFO webhook {webhook}', "byte 24 on"),
    ],
    ids=["a list of one", "behind a prefix", "a line of many"],
)
def test_what_was_read_of_a_copy_is_said(copied: str, found: str, tmp_path: Path) -> None:
    """The transform takes such bytes for no webhook, so it is said that they are not explained as they are."""
    path = tmp_path / "copy"
    path.write_text(copied.format(webhook=json.dumps(JOURNEY[0])))
    document = json.loads(run(str(path), "--json")[0])
    last = document["webhooks"][-1] if "webhooks" in document else document
    assert (last["found_at"], last["webhook_type"]) == (found, "payment.succeeded")


@pytest.mark.parametrize("body", ["[1]", "[1, 2]", "prefix [1]", 'prefix {"level": "info"}', "[]"])
def test_what_holds_no_webhook_is_explained_as_it_is(body: str, tmp_path: Path) -> None:
    """The bytes of a dead letter have the reason that the dead letter has."""
    path = tmp_path / "letter"
    path.write_text(body)
    document = json.loads(run(str(path), "--json")[0])
    with pytest.raises(UnreadableBodyError) as unreadable:
        parse(body.encode())
    assert (document["class"], document["reason"]) == ("unreadable", str(unreadable.value))
    assert document["webhook_id"] == webhook_id_of((), body.encode())


def test_several_webhooks_inside_one_wrapping_are_all_taken(tmp_path: Path) -> None:
    """A consumer's dump with a list of records, in its order."""
    file = tmp_path / "records.json"
    records = [{"headers": {"webhook-id": f"msg_{number}"}, "value": body} for number, body in enumerate(JOURNEY)]
    file.write_text(json.dumps({"topic": "dodo.webhooks", "records": records}))
    out, error = run(str(file), "--json")
    assert error is None
    told = json.loads(out)["webhooks"]
    assert [one["webhook_id"] for one in told] == ["msg_0", "msg_1", "msg_2"]
    assert [one["found_at"] for one in told] == [f"records[{number}].value" for number in range(3)]


def test_one_unreadable_line_hides_no_other(tmp_path: Path) -> None:
    """The others are explained, and the exit code says that something was no webhook."""
    path = tmp_path / "webhooks.jsonl"
    path.write_text("\n".join([json.dumps(JOURNEY[0]), '{"level": "info"}', json.dumps(JOURNEY[1])]))
    out, error = run(str(path))
    assert isinstance(error, UnreadableBodyError)
    assert "line 2 is not a webhook" in str(error)
    assert "subscription_started" in out


def test_no_customer_in_plain_words() -> None:
    """What is wrong with the webhook, first."""
    out, _ = run("--sample", "dispute.opened--no-customer")
    assert "this webhook names no customer" in out


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
