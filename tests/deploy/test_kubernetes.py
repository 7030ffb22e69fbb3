"""The manifests are what Kubernetes takes, run what the image has, and give each stage what it needs and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from pipeline import __version__
from pipeline.cli import build
from pipeline.ingest.server import GRACE_S
from pipeline.kafka.cluster.rights_render import strimzi_users
from pipeline.kafka.cluster.topic_render import strimzi
from pipeline.kafka.cluster.topics import load_specs
from pipeline.settings import DEFAULT_PORTS, PREFIX, Settings, Stage

HERE: Final = Path(__file__).parents[2] / "docs" / "deploy" / "kubernetes"
VERSIONS: Final = ("1.30", "1.33", "1.37")
"""A year and a half of releases: the oldest that clouds still run, one in between, and the newest that is known."""

FOREIGN: Final = frozenset({"kafka.strimzi.io", "keda.sh", "kustomize.config.k8s.io"})
"""Resources of others' operators, of which Kubernetes itself knows no schema."""

STAGES: Final = get_args(Stage)


def documents(pattern: str = "**/*.yaml") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every document with its file and kind."""
    for path in sorted(HERE.glob(pattern)):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(HERE)}: {document['kind']}", document


NATIVE: Final = [(name, one) for name, one in documents() if one["apiVersion"].partition("/")[0] not in FOREIGN]
PODS: Final = [(name, one) for name, one in NATIVE if "template" in one.get("spec", {})]
WORKLOADS: Final = {one["spec"]["template"]["spec"]["containers"][0]["name"]: one for _, one in PODS}
IDS: Final = [name for name, _ in PODS]


def pod_of(workload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workload's pod and its only container."""
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def environment(container: dict[str, Any]) -> dict[str, str]:
    """A container's variables, those of the settings among them."""
    shared: dict[str, str]
    (shared,) = [one["data"] for _, one in NATIVE if one["kind"] == "ConfigMap"]
    return shared | {one["name"]: one["value"] for one in container["env"] if "value" in one}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "document"), NATIVE, ids=[name for name, _ in NATIVE])
def test_kubernetes_takes_it(name: str, document: dict[str, Any], version: str) -> None:
    """By the schema of the version, in which no field is unknown."""
    kubernetes_validate.validate(document, version, strict=True)
    assert name


@pytest.mark.parametrize(("name", "workload"), PODS, ids=IDS)
def test_what_runs_is_a_command_with_settings_that_it_takes(
    name: str, workload: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments are a command of ours, the variables are settings, and their values are ones that settings take."""
    _, container = pod_of(workload)
    command, arguments = get_command(build()), list(container["args"])
    while arguments and hasattr(command, "commands") and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    assert command.name in container["args"], name
    options = {option for parameter in command.params for option in parameter.opts}
    assert {part for part in arguments if part.startswith("--")} <= options
    assert ("--yes" in options) == ("--yes" in arguments), "nobody can be asked in a pod"
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    for variable, value in environment(container).items():
        assert variable.removesuffix("_FILE") in known
        if variable.endswith("_FILE"):
            file = tmp_path / Path(value).name
            file.write_text("whsec_nobodyEverSignsAWebhookWithThisSecret00")
            monkeypatch.setenv(variable, str(file))
        else:
            monkeypatch.setenv(variable, value.replace("$(POD_NAME)", "pod-0"))
    settings = Settings.load()
    assert settings.log_format == "json"
    assert str(settings.data_dir) == "/data"


@pytest.mark.parametrize(("name", "workload"), [(name, one) for name, one in PODS if one["kind"] == "Job"])
def test_a_job_can_be_made_again(name: str, workload: dict[str, Any]) -> None:
    """Each has a name of its own, since a pod's template cannot change; and room for what its command keeps."""
    assert workload["metadata"]["generateName"].endswith("-"), name
    pod, container = pod_of(workload)
    (data,) = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "data"]
    assert data == ("64Mi" if container["args"][0] == "forget" else "2Gi")


@pytest.mark.parametrize(("name", "workload"), PODS, ids=IDS)
def test_a_pod_may_do_little(name: str, workload: dict[str, Any]) -> None:
    """Nobody's user, a file system that is read, no capability, no token; and nothing that Kubernetes would inject."""
    pod, container = pod_of(workload)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, f"{name}: PIPELINE_PORT=tcp://…"
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert container["image"] == f"dodo-customerio:{__version__}"
    assert "memory" in container["resources"]["limits"]
    assert "cpu" not in container["resources"]["limits"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/data", "/tmp"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_probed_where_it_listens(stage: Stage) -> None:
    """Start and liveness ask /live, readiness /ready, at the port that the stage is told; the stop has its time."""
    pod, container = pod_of(WORKLOADS[stage])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    variables = environment(container)
    assert str(ports["health"]) == variables.get("PIPELINE_ADMIN_PORT", variables["PIPELINE_PORT"])
    assert variables["PIPELINE_PORT"] == str(DEFAULT_PORTS[stage])
    for probe, path in (("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    settings = Settings.load()
    longest_s = settings.drain_seconds + GRACE_S + 3 if stage == "ingest" else 30
    assert pod["terminationGracePeriodSeconds"] >= longest_s + 10
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 120


def test_each_secret_has_what_its_pods_read() -> None:
    """The keys of the example are the files that a stage is told of, and no other stage's."""
    example = {one["metadata"]["name"]: set(one["stringData"]) for _, one in documents("secrets.example.yaml")}
    read: dict[str, set[str]] = {}
    for _, workload in PODS:
        pod, container = pod_of(workload)
        (secret,) = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        files = {value for value in environment(container).values() if value.startswith("/secrets/")}
        read.setdefault(secret, set()).update(file.removeprefix("/secrets/") for file in files)
    assert read == example


def test_a_worker_has_a_name_that_is_its_pods() -> None:
    """A restart moves no partitions, and the session outlasts it."""
    for stage in ("transform", "sink"):
        workload = WORKLOADS[stage]
        _, container = pod_of(workload)
        assert workload["kind"] == "StatefulSet"
        named = {one["name"]: one.get("valueFrom") for one in container["env"]}
        assert named["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        variables = environment(container)
        assert variables["PIPELINE_GROUP_INSTANCE_ID"] == "$(POD_NAME)"
        assert float(variables["PIPELINE_SESSION_TIMEOUT_SECONDS"]) >= 60
    assert WORKLOADS["transform"]["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "data"


def test_only_webhooks_are_public() -> None:
    """The ingress leads to one path of one port; what else may be reached is for the monitoring, and for each other."""
    (ingress,) = [one for _, one in NATIVE if one["kind"] == "Ingress"]
    ((path,),) = [rule["http"]["paths"] for rule in ingress["spec"]["rules"]]
    assert (path["path"], path["pathType"]) == (Settings.load().webhook_paths[0], "Exact")
    services = {one["metadata"]["name"]: one for _, one in NATIVE if one["kind"] == "Service"}
    backend = path["backend"]["service"]
    (port,) = services[backend["name"]]["spec"]["ports"]
    assert port["name"] == backend["port"]["name"] == port["targetPort"] == "webhooks"
    opened = {
        (who(rule["from"]), port["port"])
        for _, one in NATIVE
        if one["kind"] == "NetworkPolicy"
        for rule in one["spec"].get("ingress", ())
        for port in rule["ports"]
    }
    assert opened == {("monitoring", "health"), ("ingress-nginx", "webhooks"), ("ingest, transform, sink", "health")}


def who(allowed: list[dict[str, Any]]) -> str:
    """The namespace that a policy lets in, or the components of ours."""
    (one,) = allowed
    if "namespaceSelector" in one:
        return str(one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
    (components,) = one["podSelector"]["matchExpressions"]
    return ", ".join(components["values"])


def test_status_pages_find_the_other_stages() -> None:
    """Each name is a Service that hands out its pods' own addresses, at their port for probes, and the way is open."""
    peers = Settings.load(peers=environment(pod_of(WORKLOADS["sink"])[1])["PIPELINE_PEERS"]).peers
    assert [peer.stage for peer in peers] == list(STAGES)
    services = {one["metadata"]["name"]: one["spec"] for _, one in NATIVE if one["kind"] == "Service"}
    (policy,) = [one["spec"] for _, one in NATIVE if one["metadata"].get("name") == "dodo-customerio-peers"]
    (way,) = policy["egress"]
    for peer in peers:
        service = services[peer.host]
        assert service["clusterIP"] == "None"
        assert service["ports"] == [{"name": "health", "port": peer.port, "targetPort": "health"}]
        assert service["selector"]["app.kubernetes.io/component"] == peer.stage
        _, container = pod_of(WORKLOADS[peer.stage])
        assert {"name": "health", "containerPort": peer.port} in container["ports"]
        (components,) = way["to"][0]["podSelector"]["matchExpressions"]
        assert peer.stage in components["values"]
    assert way["ports"] == [{"port": "health"}]


def test_what_selects_finds_its_pods() -> None:
    """Services, budgets and policies select labels that pods have; one pod of a stage may be taken away at a time."""
    labels = [one["spec"]["template"]["metadata"]["labels"].items() for _, one in PODS]
    for name, one in NATIVE:
        spec = one.get("spec", {})
        found = spec.get("selector") or spec.get("podSelector")
        if not isinstance(found, dict) or one["kind"] == "Job":
            continue
        wanted = found.get("matchLabels", found)
        assert any(wanted.items() <= pod for pod in labels), name
    budgets = [one["spec"] for _, one in NATIVE if one["kind"] == "PodDisruptionBudget"]
    assert [one["maxUnavailable"] for one in budgets] == [1] * len(STAGES)


def test_the_kustomization_has_every_stage() -> None:
    """Its files are there, and the image's name is the one that the pods have."""
    kustomization = yaml.safe_load((HERE / "kustomization.yaml").read_text(encoding="utf-8"))
    assert all((HERE / name).is_file() for name in kustomization["resources"])
    assert {f"{stage}.yaml" for stage in STAGES} <= set(kustomization["resources"])
    assert "secrets.example.yaml" not in kustomization["resources"]
    (image,) = kustomization["images"]
    assert (image["name"], str(image["newTag"])) == ("dodo-customerio", __version__)


def test_the_scaler_goes_by_the_transforms_lag() -> None:
    """It scales what is there, by the group and the topic that it reads, never beyond its partitions."""
    scaled, authentication = [one for _, one in documents("keda/*.yaml")]
    target = scaled["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", WORKLOADS["transform"]["metadata"]["name"])
    (trigger,) = scaled["spec"]["triggers"]
    settings = Settings.load()
    assert trigger["metadata"]["consumerGroup"] == settings.transform_group
    assert trigger["metadata"]["topic"] == settings.webhooks_topic
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] == WORKLOADS["transform"]["spec"]["replicas"]
    partitions = {spec.name: spec.partitions for spec in load_specs(settings)}
    assert scaled["spec"]["maxReplicaCount"] <= partitions[settings.webhooks_topic]


def test_strimzis_resources_are_of_today() -> None:
    """As `dodo-cio topics render` prints them."""
    settings = Settings.load()
    topics = (HERE / "strimzi" / "topics.yaml").read_text(encoding="utf-8")
    assert topics == strimzi(load_specs(settings), cluster="kafka")
    users = (HERE / "strimzi" / "users.yaml").read_text(encoding="utf-8")
    assert users == strimzi_users(settings, cluster="kafka", users="dodo-cio-")
    names = {one["metadata"]["name"] for one in yaml.safe_load_all(users)}
    used = {environment(pod_of(one)[1])["PIPELINE_KAFKA_SASL_USERNAME"] for _, one in PODS}
    assert used == names


def test_figures_of_the_page_are_the_manifests() -> None:
    """Memory, volumes and seconds that the page explains are those that are set."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    for stage in STAGES:
        _, container = pod_of(WORKLOADS[stage])
        asked = container["resources"]
        row = re.search(rf"^\| {stage} \| (\S+) \| (\S+) \| (\S+) \|", page, re.MULTILINE)
        assert row is not None, stage
        expected = (asked["requests"]["cpu"], asked["requests"]["memory"], asked["limits"]["memory"])
        assert row.groups() == expected
