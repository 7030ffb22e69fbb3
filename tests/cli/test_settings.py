"""`dodo-cio settings` shows everything and gives nothing away."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.cli.settings import Setting, as_env, overview
from pipeline.errors import SettingsError
from pipeline.settings import Settings


def row(environ: dict[str, str], variable: str) -> Setting:
    """The row of one variable."""
    (found,) = (row for row in overview(environ).settings if row.variable == variable)
    return found


def run(*arguments: str, **environ: str) -> tuple[int, str, str, BaseException | None]:
    """Exit code, stdout, stderr and exception of the command in this environment."""
    result = CliRunner().invoke(build(), ["settings", *arguments], env=environ)
    return result.exit_code, result.stdout, result.stderr, result.exception


def test_every_setting_has_a_row() -> None:
    """No setting is left out, each has a variable and a description, and the defaults are no fault."""
    found = overview({})
    assert [r.variable for r in found.settings] == [f"PIPELINE_{n.upper()}" for n in Settings.model_fields]
    assert all(r.description and r.origin == "default" and r.value == r.default for r in found.settings)
    assert found.faults == ()
    assert found.unknown == {}


@pytest.mark.parametrize(
    ("variable", "given", "value", "form"),
    [
        ("PIPELINE_LANES", "16", "16", "integer"),
        ("PIPELINE_CUSTOMERIO_REQUESTS_PER_SECOND", "12.50", "12.5", "number"),
        ("PIPELINE_CUSTOMERIO_REGION", "eu", "eu", "us|eu|auto"),
        ("PIPELINE_FORWARD_TEST_MODE", "1", "true", "true|false"),
        ("PIPELINE_METADATA_KEYS", "plan, team", "plan,team", "list"),
        ("PIPELINE_CURRENCY_EXPONENTS", "clp=2, UGX=0", "CLP=2,UGX=0", "pairs"),
        ("PIPELINE_PRODUCT_NAMES", "/etc/names.yaml", "/etc/names.yaml", "path"),
        ("PIPELINE_CUSTOMERIO_URL", "http://127.0.0.1:9", "http://127.0.0.1:9", "text"),
        ("PIPELINE_CUSTOMERIO_API_KEY", "abc123", "set", "text"),
        ("PIPELINE_DODO_WEBHOOK_SECRETS", "whsec_a,whsec_b", "2 set", "list"),
    ],
)
def test_values_as_one_would_write_them(variable: str, given: str, value: str, form: str) -> None:
    """A value is shown as understood, in the form of the variable; of secrets only that they are set."""
    shown = row({variable: given}, variable)
    assert (shown.value, shown.form, shown.origin, shown.fault) == (value, form, "env", None)


def test_a_password_in_an_address_is_not_shown() -> None:
    """It is refused where it stands, and what is printed says so without it."""
    shown = row({"PIPELINE_CUSTOMERIO_URL": "http://user:pw-7@127.0.0.1:9"}, "PIPELINE_CUSTOMERIO_URL")
    assert shown.fault == "must hold no user and no password: addresses are written into logs"
    assert "pw-7" not in str(shown)


def test_values_from_files(tmp_path: Path) -> None:
    """A mounted secret shows its origin and not its content."""
    secret = tmp_path / "key"
    secret.write_text("topsecret\n")
    shown = row({"PIPELINE_CUSTOMERIO_API_KEY_FILE": str(secret)}, "PIPELINE_CUSTOMERIO_API_KEY")
    assert (shown.value, shown.origin, shown.fault) == ("set", "file", None)


def test_all_faults_at_once_and_the_rest_still_shown(tmp_path: Path) -> None:
    """Every malformed value and bad file is named in one run, and good values are shown beside them."""
    environ = {
        "PIPELINE_PORT": "eighty",
        "PIPELINE_CUSTOMERIO_REGION": "asia",
        "PIPELINE_DODO_API_KEY_FILE": str(tmp_path / "missing"),
        "PIPELINE_LANES": "9",
    }
    found = overview(environ)
    assert {fault.partition(":")[0] for fault in found.faults} == {
        "PIPELINE_PORT",
        "PIPELINE_CUSTOMERIO_REGION",
        "PIPELINE_DODO_API_KEY",
    }
    assert "eighty" not in str(found)
    assert "asia" not in str(found)
    assert row(environ, "PIPELINE_LANES").value == "9"
    assert row(environ, "PIPELINE_PORT").value == "malformed"


@pytest.mark.parametrize(
    "environ",
    [
        {"PIPELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        {"PIPELINE_OPERATIONS_TOPIC": "dodo.webhooks"},
        {"PIPELINE_ADMIN_PORT": "8080"},
        {"PIPELINE_MERGE_ON_EMAIL_CHANGE": "true"},
        {"PIPELINE_MERGE_DEFAULT_ID": "true"},
        {"PIPELINE_METADATA_KEYS": "plan-name,plan_name"},
        {"PIPELINE_PERSON_ID": "email", "PIPELINE_COMMANDS": "false"},
    ],
)
def test_faults_of_several_settings_together(environ: dict[str, str]) -> None:
    """Settings that are right each but not together are a fault, and their values are still shown."""
    found = overview(environ)
    assert len(found.faults) == 1
    assert {variable: row(environ, variable).value for variable in environ} == environ


def test_one_validator_alone_is_about_several_settings() -> None:
    """What the command switches off is all of them: another one would end it, and the doctor, in a traceback."""
    assert list(Settings.__pydantic_decorators__.model_validators) == ["_fit_together"]


def test_agrees_with_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command calls right, the stages accept, and the other way round."""
    for environ in ({"PIPELINE_PERSON_ID": "email"}, {"PIPELINE_PERSON_ID": "nickname"}, {"PIPELINE_PORT": ""}):
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            try:
                Settings.load()
                accepted = True
            except SettingsError:
                accepted = False
        assert accepted == (not overview(environ).faults), environ


def test_unknown_variables_are_named() -> None:
    """A misspelt variable is reported with the one that was probably meant."""
    found = overview({"PIPELINE_PERSONID": "email", "PIPELINE_PORT_FILE": "", "PIPELINE_X": "1", "OTHER": "1"})
    assert found.unknown == {"PIPELINE_PERSONID": "PIPELINE_PERSON_ID", "PIPELINE_X": None}


def test_env_file_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment file that is printed gives the same settings when it is read back."""
    environ = {
        "PIPELINE_LANES": "3",
        "PIPELINE_PERSON_ID": "metadata.uid,email",
        "PIPELINE_CURRENCY_EXPONENTS": "CLP=2",
    }
    expected = Settings.load(lanes=3, person_id="metadata.uid,email", currency_exponents={"CLP": 2})
    text = as_env(overview(environ))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            monkeypatch.setenv(name, value)
    assert Settings.load() == expected
    assert "# PIPELINE_KAFKA_BOOTSTRAP_SERVERS=localhost:9092\n" in text


def test_command_in_order() -> None:
    """Good settings: the table with every variable, exit 0."""
    code, out, _, _ = run(PIPELINE_LANES="5")
    assert code == 0
    assert len(re.findall(r"^PIPELINE_\w+", out, re.MULTILINE)) == len(Settings.model_fields)


def test_command_at_fault() -> None:
    """A malformed value still prints everything, then fails with one message that names it."""
    code, out, _, error = run("--json", PIPELINE_LANES="many", PIPELINE_TYPO="1")
    assert code == 1  # main() turns the exception into exit code 2
    assert isinstance(error, SettingsError)
    assert str(error).startswith("PIPELINE_LANES: ")
    shown: dict[str, Any] = json.loads(out)
    assert shown["faults"] == [str(error)]
    assert shown["unknown"] == [{"variable": "PIPELINE_TYPO", "meant": None}]


def test_no_secret_is_ever_printed() -> None:
    """None of the three forms contains any part of a secret."""
    secrets = {
        "PIPELINE_DODO_WEBHOOK_SECRETS": "whsec_c2VjcmV0",
        "PIPELINE_CUSTOMERIO_API_KEY": "c2VjcmV0",
        "PIPELINE_DODO_API_KEY": "c2VjcmV0",
        "PIPELINE_KAFKA_SASL_PASSWORD": "c2VjcmV0",
    }
    for form in ([], ["--json"], ["--env"]):
        code, out, err, _ = run(*form, **secrets)
        assert code == 0
        assert "c2VjcmV0" not in out + err


def test_two_forms_at_once() -> None:
    """--json and --env together are refused as bad usage."""
    assert run("--json", "--env")[0] == 2
