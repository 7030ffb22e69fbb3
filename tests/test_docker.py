"""The image and the Compose file run the same commands and settings as everything else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import SecretStr
from typer.main import get_command

from pipeline.cli import build
from pipeline.customerio.sandbox.run import ANY
from pipeline.healthcheck import WITHIN_S
from pipeline.kafka.local import config as local_config
from pipeline.kafka.local.distribution import DEFAULT_VERSION
from pipeline.settings import DEFAULT_PORTS, PREFIX, Settings
from tests.platforms.test_platforms import VERSIONS

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]}
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "dodo-customerio"}
STAGES = {name: service for name, service in OURS.items() if service["command"][0] in DEFAULT_PORTS}

GIVEN: dict[str, set[str]] = {
    "topics": set(),
    "ingest": {"webhook-secrets"},
    "transform": set(),
    "sink": {"site-id", "api-key"},
    "sandbox-sink": set(),
    "sandbox": set(),
}
"""The secrets that each of our services is given, and nothing else."""

SECRETS = {
    PREFIX + field.upper()
    for field, info in Settings.model_fields.items()
    if info.annotation is SecretStr or SecretStr in get_args(info.annotation) or field == "customerio_site_id"
} | {PREFIX + "DODO_WEBHOOK_SECRETS", PREFIX + "DODO_TEST_WEBHOOK_SECRETS"}
"""The site id is half of a password, and the two of Dodo are several in one."""


def environment(name: str) -> dict[str, str]:
    """A service's variables, `${NAME:-default}` replaced by its default as where nothing is set."""
    return {
        key: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value))
        for key, value in SERVICES[name].get("environment", {}).items()
    }


def with_files(variables: dict[str, str], directory: Path) -> dict[str, str]:
    """The same with each mounted secret in a file of `directory`; what it holds is its own name."""
    found = dict(variables)
    for variable, value in variables.items():
        if variable.endswith("_FILE"):
            assert value.startswith("/run/secrets/")
            file = directory / Path(value).name
            file.write_text(f"{file.name}\n")
            found[variable] = str(file)
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def every(name: str) -> list[str]:
    """The arguments of each `name` instruction."""
    return [rest for instruction, rest in instructions() if instruction == name]


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="Docker Compose is not installed",
)
def test_compose_reads_it(tmp_path: Path) -> None:
    """Docker Compose itself accepts the file, with each profile and with both."""
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    for profiles in (["live"], ["sandbox"], ["live", "sandbox"], ["live", "monitoring"], []):
        flags = [flag for profile in profiles for flag in ("--profile", profile)]
        subprocess.run(["docker", "compose", *flags, "config", "--quiet"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable of a service is a real setting, and its value is one that the settings take."""
    variables = with_files(environment(name), tmp_path)
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert {variable.removesuffix("_FILE") for variable in variables} <= known
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load()
    given = {variable.removesuffix("_FILE") for variable, value in variables.items() if value}
    assert settings.model_fields_set == {variable.removeprefix(PREFIX).lower() for variable in given}


def test_every_secret_is_meant() -> None:
    """What the tests below call a secret is what the settings keep as one, and the site id."""
    assert len(SECRETS) >= 7
    assert PREFIX + "KAFKA_SASL_PASSWORD" in SECRETS


@pytest.mark.parametrize("name", OURS)
def test_each_has_its_own_secrets(name: str) -> None:
    """A service is given what its settings name, and that is what it has use for and nothing else."""
    named = {Path(value).name for variable, value in environment(name).items() if variable.endswith("_FILE")}
    assert set(SERVICES[name].get("secrets", ())) == named == GIVEN[name]
    for secret in named:
        assert COMPOSE["secrets"][secret] == {"file": f"./secrets/{secret}"}


@pytest.mark.parametrize("name", OURS)
def test_a_secret_in_the_environment_file_reaches_nobody(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every secret in .env, which all of them read, a service still knows its own alone, from its file."""
    assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]
    read = dict.fromkeys(SECRETS, "from-the-environment-file")
    for variable, value in {**read, **with_files(environment(name), tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load()
    known = {value for value in (*settings.secrets, settings.customerio_site_id) if value is not None}
    stand_in = {ANY} if name == "sandbox-sink" else set()
    assert known == GIVEN[name] | stand_in


def test_no_secret_is_declared_for_nobody() -> None:
    """Nor is one in the repository, nor does it reach a build."""
    assert set(COMPOSE["secrets"]) == {secret for names in GIVEN.values() for secret in names}
    assert {"/secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name: str) -> None:
    """What a service runs is a command of ours with options that it has."""
    command = get_command(build())
    parts = list(SERVICES[name]["command"])
    while parts and hasattr(command, "commands") and parts[0] in command.commands:
        command = command.commands[parts.pop(0)]
    assert command.name in SERVICES[name]["command"]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {part for part in parts if part.startswith("-")} <= options


def test_nothing_starts_before_its_topics() -> None:
    """Kafka is healthy, then the topics are made, then the stages start."""
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["topics"]["restart"] == "no"
    for service in STAGES.values():
        assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    assert SERVICES["sandbox-sink"]["depends_on"]["sandbox"] == {"condition": "service_healthy"}


def test_stages_are_probed_where_they_listen() -> None:
    """Each stage has its own port, asks its own /live, and gets the time that a hand-over takes."""
    assert {service["command"][0] for service in STAGES.values()} == set(DEFAULT_PORTS)
    for name, service in STAGES.items():
        assert environment(name)["PIPELINE_PORT"] == str(DEFAULT_PORTS[service["command"][0]])
        assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "pipeline.healthcheck"]
        assert int(service["stop_grace_period"].removesuffix("s")) >= 30
        assert service["init"] is True


def test_the_sandbox_profile_reaches_no_customer() -> None:
    """With the sandbox profile the only sink talks to the sandbox, and takes nothing from a live sink's group."""
    sinks = {name for name, service in STAGES.items() if service["command"] == ["sink"]}
    assert {name: SERVICES[name]["profiles"] for name in sinks} == {"sink": ["live"], "sandbox-sink": ["sandbox"]}
    host, _, port = environment("sandbox-sink")["PIPELINE_CUSTOMERIO_URL"].removeprefix("http://").partition(":")
    assert SERVICES[host]["profiles"] == ["sandbox"]
    assert SERVICES[host]["command"][-2:] == ["--port", port]
    groups = [environment(name).get("PIPELINE_SINK_GROUP", Settings.load().sink_group) for name in sorted(sinks)]
    assert len(set(groups)) == 2


def test_only_ingest_is_published() -> None:
    """Ingest is for the world; broker, sandbox, status page and what watches are for this machine; nothing else."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("ingest") == ["8080:8080"]
    assert environment("ingest")["PIPELINE_ADMIN_PORT"] not in "8080:8080"
    assert set(published) == {"kafka", "transform", "sandbox", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_status_pages_find_the_other_stages() -> None:
    """Each name of the list is a service, or all of those that go by it, at its port for probes."""
    named: dict[str, set[str]] = {}
    for name in STAGES:
        for alias in (name, *SERVICES[name].get("networks", {}).get("default", {}).get("aliases", ())):
            named.setdefault(alias, set()).add(name)
    for stage in STAGES:
        peers = Settings.load(peers=environment(stage)["PIPELINE_PEERS"]).peers
        assert set().union(*(named[peer.host] for peer in peers)) == set(STAGES)
        for peer in peers:
            for one in map(environment, named[peer.host]):
                assert one.get("PIPELINE_ADMIN_PORT", one["PIPELINE_PORT"]) == str(peer.port)


def test_kafka_is_a_broker_of_the_tests() -> None:
    """A proven version, with the properties of the tests' own; data in the volume, and no topic that creates itself."""
    kafka = SERVICES["kafka"]
    image, _, version = kafka["image"].partition(":")
    assert image == "apache/kafka"
    assert version in {DEFAULT_VERSION, *VERSIONS}
    properties = {
        key.removeprefix("KAFKA_").replace("_", ".").lower(): value for key, value in environment("kafka").items()
    }
    text = local_config.properties(data=Path("/d"), port=1, controller_port=2, security=None, extra={})
    own = dict(line.split("=", 1) for line in text.splitlines())
    assert set(properties) - {"controller.quorum.voters"} <= set(own)
    for name in set(own) & set(properties):
        if name.endswith((".factor", ".isr", ".ms", ".enable")):
            assert properties[name] == own[name]
    assert kafka["volumes"] == [f"kafka:{properties['log.dirs']}"]
    assert environment("topics")["PIPELINE_KAFKA_BOOTSTRAP_SERVERS"] in properties["advertised.listeners"]


def test_the_image_is_built_from_checked_wheels() -> None:
    """Two stages of one base; every dependency is a wheel whose hash is checked; of others nothing is built."""
    first, last = every("FROM")
    assert first == f"{last} AS build"
    *others, ours = [run for run in every("RUN") if "pip install" in run]
    assert len(others) == 2
    for install in others:
        for flag in ("--require-hashes", "--only-binary=:all:", "--no-deps", "requirements.lock"):
            assert flag in install
    assert "--no-deps --no-index /wheel/*.whl" in ours


def test_what_compiles_stays_behind() -> None:
    """The compiler and what it needs lie outside of what the last stage takes from the first."""
    names = instructions()
    last = max(i for i, (name, _) in enumerate(names) if name == "FROM")
    assert [copy for name, copy in names[last:] if name == "COPY"] == ["--from=build /opt /opt"]
    assert not any(word in text for _, text in names[last:] for word in ("apt-get", "gcc", "COMPILE"))
    for run in every("RUN"):
        assert "compile.lock" not in run or "/build/bin/pip" in run


def test_the_image_runs_as_nobody() -> None:
    """The stage is the container's own process (it gets SIGTERM), is not root, and may write to /data only."""
    assert json.loads(every("ENTRYPOINT")[0]) == ["dodo-cio"]
    assert int(every("USER")[0]) > 0
    assert every("VOLUME") == ["/data"]
    assert "PIPELINE_DATA_DIR=/data" in every("ENV")[0].split()
    admin = int(environment("ingest")["PIPELINE_ADMIN_PORT"])
    assert [int(port) for port in every("EXPOSE")[0].split()] == [*sorted(DEFAULT_PORTS.values()), admin]
    for service in OURS.values():
        assert service["read_only"] is True


def test_the_image_knows_whether_it_lives() -> None:
    """Where nobody says how to probe it, it asks its stage, without a program that the image would need for that."""
    (check,) = every("HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert json.loads(command) == STAGES["ingest"]["healthcheck"]["test"][1:]
    compose = STAGES["ingest"]["healthcheck"]
    assert options.split() == [
        f"--{name.replace('_', '-')}={compose[name]}" for name in ("interval", "timeout", "start_period")
    ]
    assert float(compose["timeout"].removesuffix("s")) > WITHIN_S


def test_the_image_says_what_it_is() -> None:
    """Its labels are those of the project, with the commit that it was built from."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(every("LABEL"))))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["title"] == project["name"]
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert project["description"].startswith(labels["description"].partition(",")[0])
    assert labels["revision"] == "$COMMIT"
    after_last_from = instructions()[max(i for i, (name, _) in enumerate(instructions()) if name == "FROM") :]
    assert ("ARG", "COMMIT=") in after_last_from


def test_a_release_can_pin_its_base() -> None:
    """Both stages are built on an argument, so that a digest can take the place of the tag."""
    assert set(every("FROM")) == {"${BASE} AS build", "${BASE}"}
    assert "BASE=python:3.12-slim" in every("ARG")
    assert "@sha256:" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_and_take_no_more_than_it_needs(name: str) -> None:
    """No capability, no way to gain one, bounds of memory and processes, none of the processor."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] >= 256
    assert "cpus" not in service


@pytest.mark.parametrize("stage", DEFAULT_PORTS)
def test_memory_is_that_of_the_manifests(stage: str) -> None:
    """What was measured for Kubernetes is the bound here."""
    manifests = yaml.safe_load_all((ROOT / "docs" / "deploy" / "kubernetes" / f"{stage}.yaml").read_text())
    pods = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] in {"Deployment", "StatefulSet"}]
    (limit,) = (container["resources"]["limits"]["memory"] for pod in pods for container in pod["containers"])
    assert SERVICES[stage]["mem_limit"] == limit.lower().removesuffix("i")


def test_what_is_copied_reaches_the_build() -> None:
    """Each source of a COPY exists and is let through by .dockerignore, which lets nothing else through."""
    sources = [source for copy in every("COPY") if not copy.startswith("--from") for source in copy.split()[:-1]]
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert all((ROOT / source).exists() for source in sources)
    assert ignore[0] == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == set(sources)


def test_monitoring_is_apart() -> None:
    """Its services run with their profile alone, are reached from this machine only, and find their files."""
    assert set(MONITORING) == {"prometheus", "grafana"}
    declared = set(COMPOSE["volumes"])
    for service in MONITORING.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        for source, target, *mode in (volume.split(":") for volume in service["volumes"]):
            assert target.startswith("/")
            if source.startswith("./"):
                assert (ROOT / source).is_file()
                assert mode == ["ro"]
            else:
                assert source in declared


def test_prometheus_finds_the_services() -> None:
    """The names and ports that are scraped are those of the stages, the sandbox's sink among them."""
    jobs = yaml.safe_load((ROOT / "docs" / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {(name, str(found["port"])) for job in jobs for found in job["dns_sd_configs"] for name in found["names"]}
    ports = {name: environment(name) for name in STAGES}
    assert scraped == {(name, one.get("PIPELINE_ADMIN_PORT", one["PIPELINE_PORT"])) for name, one in ports.items()}


def test_the_dashboard_lies_where_grafana_looks() -> None:
    """The provider's directory, the start page and the source of numbers are what the Compose file mounts and runs."""
    grafana = ROOT / "docs" / "deploy" / "prometheus" / "grafana"
    (provider,) = yaml.safe_load((grafana / "dashboards.yml").read_text())["providers"]
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert home in mounted
    assert str(Path(home).parent) == provider["options"]["path"]
    (source,) = yaml.safe_load((grafana / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_what_the_image_has_is_enough(tmp_path: Path) -> None:
    """The image has the package and its libraries, and no metadata of the project: whatever talks to others starts."""
    site = tmp_path / "site"
    site.mkdir()
    ours = ("dodo_customerio", "_editable_impl_", "__editable__", "pipeline")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(ours):
            (site / path.name).symlink_to(path)
    for source in ("pipeline", "topics"):
        (site / source).symlink_to(ROOT / source)
    program = """
import importlib.metadata
from pydantic import SecretStr
from pipeline.customerio.client import TrackClient
from pipeline.dodo.api import DodoApi
try:
    raise SystemExit(importlib.metadata.version("dodo-customerio"))
except importlib.metadata.PackageNotFoundError:
    TrackClient("https://track.customer.io", "site", "key", lanes=1)
    DodoApi("https://live.dodopayments.com", SecretStr("key"))
"""
    command = [sys.executable, "-S", "-c", program]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
