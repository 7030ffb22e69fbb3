"""The topic specification in the forms that platform teams apply themselves. Pure text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from pipeline.kafka.cluster.topic_specs import TopicSpec

STRIMZI_API = "kafka.strimzi.io/v1"
"""Served since Strimzi 0.49; older operators take the same resource as kafka.strimzi.io/v1beta2."""

MAX_RESOURCE_NAME = 253
"""A Kubernetes object's name is a DNS subdomain (RFC 1123)."""


def strimzi(specs: Sequence[TopicSpec], *, cluster: str) -> str:
    """KafkaTopic resources for the Strimzi cluster called `cluster`, as one YAML stream."""
    documents = [_resource(spec, cluster) for spec in specs]
    text = yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True)
    return f"# KafkaTopic resources; before Strimzi 0.49 the apiVersion is kafka.strimzi.io/v1beta2.\n{text}"


def shell(specs: Sequence[TopicSpec]) -> str:
    """Commands of Kafka's own tools; creates what is missing, sets values, adds no partitions. Safe to run again."""
    lines = [
        "#!/bin/sh",
        "# Needs kafka-topics.sh and kafka-configs.sh of Apache Kafka on the PATH.",
        "# BOOTSTRAP=kafka-1:9092 [COMMAND_CONFIG=client.properties] sh topics.sh",
        "set -eu",
        'set -- --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"}',
    ]
    for spec in specs:
        name = shlex.quote(spec.name)
        create = f'kafka-topics.sh "$@" --create --if-not-exists --topic {name} --partitions {spec.partitions}'
        if spec.replication_factor != -1:
            create += f" --replication-factor {spec.replication_factor}"
        configs = [f"{key}={_bracketed(value)}" for key, value in spec.configs.items()]
        change = f'kafka-configs.sh "$@" --alter --entity-type topics --entity-name {name}'
        lines += ["", create, f"{change} --add-config {shlex.quote(','.join(configs))}" if configs else ""]
    return "\n".join(lines).rstrip() + "\n"


def _resource(spec: TopicSpec, cluster: str) -> dict[str, Any]:
    name = _resource_name(spec.name)
    body: dict[str, Any] = {} if name == spec.name else {"topicName": spec.name}
    body["partitions"] = spec.partitions
    if spec.replication_factor != -1:
        body["replicas"] = spec.replication_factor
    body["config"] = {key: int(value) if value.isdigit() else value for key, value in spec.configs.items()}
    return {
        "apiVersion": STRIMZI_API,
        "kind": "KafkaTopic",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": body,
    }


def _resource_name(topic: str) -> str:
    """The topic's name where Kubernetes allows it, else one like it (`spec.topicName` has the real one)."""
    labels = (re.sub(r"[^a-z0-9]+", "-", label).strip("-") for label in topic.lower().split("."))
    return ".".join(label for label in labels if label)[:MAX_RESOURCE_NAME].rstrip(".-")


def _bracketed(value: str) -> str:
    """`kafka-configs.sh` takes a value with commas in brackets."""
    return f"[{value}]" if "," in value else value
