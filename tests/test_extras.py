"""Extras that settings need: named by the doctor and at a stage's start, in one line and with one exit code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.doctor.installation import installation
from pipeline.extras import EXTRAS, JAVASCRIPT, MSK, OTEL, Extra, missing
from pipeline.settings import Settings

ROOT = Path(__file__).parent.parent
ASKING: dict[str, dict[str, str]] = {
    "otel": {"PIPELINE_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    "msk": {
        "PIPELINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "PIPELINE_KAFKA_SASL_MECHANISM": "AWS_MSK_IAM",
        "PIPELINE_KAFKA_MSK_REGION": "eu-central-1",
    },
    "javascript": {"PIPELINE_JAVASCRIPT": str(ROOT / "tests" / "data")},
}  # fmt: skip
"""Settings that need each extra."""

WITHOUT = """
import sys
for name in {modules!r}:
    sys.modules[name] = None  # as if it were not installed
sys.argv = ["dodo-cio", *{arguments!r}]
from pipeline.__main__ import main
main()
"""


def settings_of(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings in this environment."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_each_extra_of_the_project_is_known() -> None:
    """But for the one for its own developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {extra.name for extra in EXTRAS} == set(project["optional-dependencies"]) - {"dev"}


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
def test_the_doctor_names_what_lacks(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault with the setting and the command, where a setting asks for it and only there."""
    for module in extra.modules:
        monkeypatch.setitem(sys.modules, module, None)
    assert missing(Settings.load()) == []
    found = installation(settings_of(ASKING[extra.name], monkeypatch))
    (fault,) = [one for one in found if one.verdict == "fault"]
    assert fault.subject == f"extra {extra.name}"
    assert fault.text.startswith(f"{extra.variable}: ")
    assert fault.remedy == f"pip install 'dodo-customerio[{extra.name}]'"


@pytest.mark.parametrize("extra", [OTEL, JAVASCRIPT], ids=lambda extra: extra.name)
def test_what_is_there_is_no_fault(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests' own installation has both."""
    assert missing(settings_of(ASKING[extra.name], monkeypatch)) == []


def test_a_part_of_an_extra_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API of OpenTelemetry comes with other libraries, and exports nothing."""
    monkeypatch.setitem(sys.modules, OTEL.modules[1], None)
    assert missing(settings_of(ASKING["otel"], monkeypatch)) == [OTEL]


@pytest.mark.parametrize(
    ("stage", "extra"),
    [("ingest", OTEL), ("transform", OTEL), ("sink", OTEL), ("ingest", MSK), ("sink", MSK), ("transform", JAVASCRIPT)],
    ids=lambda one: one if isinstance(one, str) else one.name,
)  # fmt: skip
def test_a_start_says_the_same(stage: str, extra: Extra, tmp_path: Path) -> None:
    """One line with setting and command, exit code 2, before any broker is asked."""
    environ = {
        "PATH": "/usr/bin:/bin", "PIPELINE_DATA_DIR": str(tmp_path), "PIPELINE_PORT": "0",
        "PIPELINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "PIPELINE_DODO_WEBHOOK_SECRETS": "whsec_" + "c2VjcmV0" * 4,
        "PIPELINE_CUSTOMERIO_SITE_ID": "site", "PIPELINE_CUSTOMERIO_API_KEY": "key", **ASKING[extra.name],
    }  # fmt: skip
    (tmp_path / "payment.js").write_text("function handler(webhook) { return webhook; }")
    if extra is JAVASCRIPT:
        environ[extra.variable] = str(tmp_path)
    program = WITHOUT.format(modules=extra.modules, arguments=[stage])
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "dodo-customerio[" in line]
    assert re.search(rf"{extra.variable}: .*: pip install 'dodo-customerio\[{extra.name}\]'", line)
