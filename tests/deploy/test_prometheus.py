"""Alert rules, scrape configuration and dashboard name only what exists, and each alert fires when it should."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.main import get_command

from pipeline.cli import build
from pipeline.cli.metrics import Shown, every_series, metrics_of
from pipeline.doctor.findings import CHECKS
from pipeline.kafka.certificates import WARN_BEFORE
from pipeline.settings import DEFAULT_PORTS, PREFIX, Settings, Stage
from tests.deploy.monitoring import FILES, STANDARD, alerts, labels_of, panels, queries, rules, selectors
from tests.kafka.conftest import Authority

ASSIGNED = ("dodo_cio_partition_", "dodo_cio_records_lost_total", "dodo_cio_mirror_")
"""Series that come with a partition's assignment, at 0."""

EVERY = "15s"
"""Between two evaluations of the rules in alerts_test.yml."""

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing (Debian: apt-get install prometheus)"
)


@functools.cache
def all_cases() -> list[dict[str, Any]]:
    """The cases of alerts_test.yml."""
    document = yaml.safe_load((FILES / "alerts_test.yml").read_text(encoding="utf-8"))
    assert document["evaluation_interval"] == EVERY
    cases: list[dict[str, Any]] = document["tests"]
    return cases


@functools.cache
def series() -> dict[str, Shown]:
    """Every series that a stage shows, by its name."""
    return {one.name: one for one in every_series()}


@functools.cache
def commands() -> frozenset[str]:
    """The commands of the tree."""
    tree = get_command(build())
    return frozenset(getattr(tree, "commands"))  # noqa: B009 - typer's own group type is private


def told_by_promtool(*arguments: str, cwd: Path = FILES) -> str:
    """What it prints, having found no fault."""
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@promtool
def test_prometheus_takes_the_files() -> None:
    """Configuration and rules are what Prometheus itself understands."""
    told_by_promtool("check", "config", "prometheus.yml")
    told_by_promtool("check", "rules", "alerts.yml")


@promtool
@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_fires_when_it_should(rule: dict[str, Any], tmp_path: Path) -> None:
    """Every case of alerts_test.yml comes out as it says, and some do not once the expression is never true.

    promtool evaluates each rule every 15 s of every case, so it is given the alert alone with the recording rules: no
    expression reads another alert.
    """
    assert not any("ALERTS" in one["expr"] for one in rules())
    cases = {"rule_files": ["alerts.yml"], "evaluation_interval": EVERY}
    own = [case for case in all_cases() if case["name"].startswith(f"{rule['alert']}: ")]
    (tmp_path / "cases.yml").write_text(yaml.safe_dump({**cases, "tests": own}), encoding="utf-8")

    def comes_out(alert: dict[str, Any]) -> bool:
        group = {"name": "all", "rules": [*(one for one in rules() if "record" in one), alert]}
        (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
        words = ["promtool", "test", "rules", "cases.yml"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert comes_out(rule)
    assert not comes_out({**rule, "expr": "vector(0) > 1"})


@promtool
def test_the_dashboards_queries_are_understood(tmp_path: Path) -> None:
    """Each is an expression that Prometheus parses."""
    recorded = [{"record": f"query{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in told_by_promtool("check", "rules", "rules.yml", cwd=tmp_path)


def test_every_alert_has_both_cases() -> None:
    """One in which it fires, one in which it does not."""
    fires: dict[str, set[bool]] = {}
    for case in all_cases():
        (proof,) = case["promql_expr_test"]
        name = case["name"].partition(": ")[0]
        assert f'alertname="{name}",alertstate="firing"' in proof["expr"]
        fires.setdefault(name, set()).add(bool(proof["exp_samples"]))
    assert fires == {rule["alert"]: {True, False} for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, a summary of one line, and a description whose commands, checks and settings exist."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert "\n" not in summary
    for named in re.findall(r"`dodo-cio ([a-z-]+)", description):
        assert named in commands()
    assert set(re.findall(r"--only (\w+)", description)) <= set(CHECKS)
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", description)) <= known


def test_a_certificate_is_old_to_the_alert_and_to_the_doctor_alike() -> None:
    """Both warn by the same number of days."""
    (rule,) = (one for one in alerts() if one["alert"] == "DodoCioCertificateOld")
    assert f"< {WARN_BEFORE.days} * 86400" in rule["expr"]


def _read() -> list[tuple[str, str]]:
    rule_expressions = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    return [*rule_expressions, *(("dashboard", query) for query in queries())]


@pytest.mark.parametrize(("where", "expression"), _read())
def test_what_is_read_exists(where: str, expression: str) -> None:
    """Every series and label in an alert, a recording rule or a panel is one that a stage shows."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = {"job", "instance", "le", "alertname", "alertstate"}
    names = [name for name, _ in selectors(expression)]
    assert names, where
    for name in names:
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        if name in STANDARD or name in recorded:
            known.add("topic")
            continue
        shown = series()
        assert name in shown or shown.get(base, shown["dodo_cio_live"]).kind == "histogram", name
        known |= set(shown.get(name, shown.get(base)).labels)  # type: ignore[union-attr] # asserted above
    assert labels_of(expression) <= known


@pytest.fixture(scope="module")
def certfile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client certificate: a stage with mutual TLS shows all that any other does."""
    return Authority(tmp_path_factory.mktemp("authority")).issue("worker").pem


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
async def test_what_an_alert_looks_at_is_there_from_the_start(
    rule: dict[str, Any], certfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has just started already shows the series: the first event of a kind is an increase."""
    monkeypatch.setenv("PIPELINE_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("PIPELINE_KAFKA_SSL_CERTFILE", str(certfile))
    shown = {
        (sample.name, *sample.labels.items())
        for stage in get_args(Stage)
        for family in metrics_of(stage).registry.collect()
        for sample in family.samples
    }
    for name, matchers in selectors(rule["expr"]):
        if name in STANDARD or ":" in name or name.startswith(ASSIGNED):
            continue
        assert any(one[0] == name and set(matchers.items()) <= set(one[1:]) for one in shown), (name, matchers)


def test_each_stage_is_scraped_at_its_port() -> None:
    """One job a stage, of the names by which alerts and dashboard go."""
    jobs = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in jobs}
    # Ingest's own port is for webhooks alone: the Compose file gives it another for this.
    expected = {f"dodo-cio-{stage}": DEFAULT_PORTS[stage] for stage in get_args(Stage)}
    assert ports == expected | {"dodo-cio-ingest": 9080}


def test_panels_explain_themselves() -> None:
    """Each has a title of its own and a text, and none lies over another."""
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles)) > 25
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_page_names_every_alert() -> None:
    """And none that there is not."""
    page = (FILES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"DodoCio\w+", page)) == {rule["alert"] for rule in alerts()}
