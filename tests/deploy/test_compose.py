"""The Compose file for a Kafka of one's own gives each stage its own secrets and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.main import get_command

from pipeline.cli import build
from pipeline.settings import DEFAULT_PORTS, PREFIX, Settings

FILE: Final = Path(__file__).parents[2] / "docs" / "deploy" / "compose" / "docker-compose.yml"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def environment(name: str) -> dict[str, str]:
    """A service's variables, with the defaults where nothing is set."""
    found = SERVICES[name]["environment"]
    return {key: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value)) for key, value in found.items()}


@pytest.mark.parametrize("name", SERVICES)
def test_settings_take_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is a setting whose value is one, over TLS, and the command is one of ours."""
    assert SERVICES[name]["command"][0] in getattr(get_command(build()), "commands")  # noqa: B009 - a private type
    for variable, value in environment(name).items():
        if variable.endswith("_FILE"):
            assert value.startswith("/run/secrets/")
            file = tmp_path / Path(value).name
            file.write_text("whsec_nobodyEverSignsAWebhookWithThisSecret00")
            monkeypatch.setenv(variable, str(file))
        else:
            monkeypatch.setenv(variable, value)
        assert variable.removeprefix(PREFIX).removesuffix("_FILE").lower() in Settings.model_fields
    assert Settings.load().kafka_security_protocol == "SASL_SSL"


@pytest.mark.parametrize("name", SERVICES)
def test_it_has_its_own_secrets_and_no_others(name: str) -> None:
    """What it is given is what its settings name, each declared as a file that is not in the repository."""
    named = {Path(value).name for value in environment(name).values() if value.startswith("/run/secrets/")}
    assert set(SERVICES[name]["secrets"]) == named
    for secret in named:
        assert COMPOSE["secrets"][secret]["file"] == f"./secrets/{secret}"
    assert "docs/deploy/compose/secrets/" in (FILE.parents[3] / ".gitignore").read_text().splitlines()


def test_no_secret_is_declared_for_nobody() -> None:
    """And no broker is brought along."""
    assert set(COMPOSE["secrets"]) == {secret for service in SERVICES.values() for secret in service["secrets"]}
    assert set(SERVICES) == {"topics", *DEFAULT_PORTS}
    assert (FILE.parent / SERVICES["ingest"]["build"] / "Dockerfile").is_file()


@pytest.mark.parametrize(
    ("file", "stage", "setting"),
    [
        ("dodo-api-key.yml", "transform", "PIPELINE_DODO_API_KEY"),
        ("test-mode.yml", "ingest", "PIPELINE_DODO_TEST_WEBHOOK_SECRETS"),
    ],
)
def test_one_secret_more(file: str, stage: str, setting: str) -> None:
    """What not everybody has is a file beside it, that gives one secret to one service, of either Compose file."""
    more = yaml.safe_load((FILE.parent / file).read_text(encoding="utf-8"))
    ((secret, source),) = more["secrets"].items()
    assert source == {"file": f"./secrets/{secret}"}
    assert secret not in COMPOSE["secrets"]
    assert more["services"] == {
        stage: {"environment": {f"{setting}_FILE": f"/run/secrets/{secret}"}, "secrets": [secret]}
    }
    assert setting.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("name", SERVICES)
def test_bounds(name: str) -> None:
    """Of memory and processes, as in the Compose file with a broker; of the processor none."""
    with_broker = yaml.safe_load((FILE.parents[3] / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]
    for bound in ("mem_limit", "pids_limit", "read_only", "cap_drop", "security_opt"):
        assert SERVICES[name][bound] == with_broker[bound]
    assert "cpus" not in SERVICES[name]


def test_only_webhooks_are_published() -> None:
    """Of ingest alone, with a port for each of its containers."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"ingest": ["8080-8089:8080"]}
    assert environment("ingest")["PIPELINE_ADMIN_PORT"] == "9080"
    for stage, port in DEFAULT_PORTS.items():
        assert environment(stage)["PIPELINE_PORT"] == str(port)


def test_status_pages_find_the_other_stages() -> None:
    """Each name of the list is a service, at its port for probes; all stages have the same list."""
    lists = {environment(stage)["PIPELINE_PEERS"] for stage in DEFAULT_PORTS}
    (peers,) = [Settings.load(peers=one).peers for one in lists]
    ports = {stage: environment(stage) for stage in DEFAULT_PORTS}
    expected = {(stage, stage, one.get("PIPELINE_ADMIN_PORT", one["PIPELINE_PORT"])) for stage, one in ports.items()}
    assert {(peer.stage, peer.host, str(peer.port)) for peer in peers} == expected
