"""The rights of every stage and command in the forms that platform teams apply themselves. Pure text."""

from __future__ import annotations

import shlex
from typing import Any, Final

import yaml

from pipeline.kafka.cluster.rights import COMMANDS, STAGES, Kind, Operation, rights_of, united
from pipeline.settings import Settings

STRIMZI_API: Final = "kafka.strimzi.io/v1"
OPERATOR: Final = "operator"
"""The user of all commands: a person's, or a job's."""


def acls(settings: Settings, *, users: str) -> str:
    """`kafka-acls.sh` commands for one user each stage, and one for the commands; safe to run again.

    `users` is what the users' names begin with.
    """
    lines = [
        "#!/bin/sh",
        "# Needs kafka-acls.sh of Apache Kafka on the PATH.",
        "# BOOTSTRAP=kafka-1:9092 [COMMAND_CONFIG=client.properties] sh acls.sh",
        "set -eu",
        'set -- --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"}',
    ]
    for stage in STAGES:
        lines += ["", f"# dodo-cio {stage}", *_commands(f"{users}{stage}", united(rights_of(stage, settings)))]
    for command in COMMANDS:
        rights = united(rights_of(command, settings))
        lines += ["", f"# dodo-cio {command}", *_commands(f"{users}{OPERATOR}", rights)]
    return "\n".join(lines) + "\n"


def strimzi_users(settings: Settings, *, cluster: str, users: str) -> str:
    """KafkaUser resources for the Strimzi cluster called `cluster`, as one YAML stream."""
    every = [right for command in COMMANDS for right in rights_of(command, settings)]
    named = [(stage, rights_of(stage, settings)) for stage in STAGES]
    documents = [_user(f"{users}{name}", united(rights), cluster) for name, rights in [*named, (OPERATOR, every)]]
    text = yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True)
    return f"# KafkaUser resources; before Strimzi 0.49 the apiVersion is kafka.strimzi.io/v1beta2.\n{text}"


def _commands(user: str, rights: dict[tuple[Kind, str], list[Operation]]) -> list[str]:
    lines = []
    for (kind, name), operations in rights.items():
        allowed = " ".join(f"--operation {operation.word}" for operation in operations)
        principal = shlex.quote(f"User:{user}")
        lines.append(f'kafka-acls.sh "$@" --add --allow-principal {principal} {allowed} --{kind} {shlex.quote(name)}')
    return lines


def _user(name: str, rights: dict[tuple[Kind, str], list[Operation]], cluster: str) -> dict[str, Any]:
    return {
        "apiVersion": STRIMZI_API,
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {
                "type": "simple",
                "acls": [
                    {
                        "resource": {"type": kind, "name": resource, "patternType": "literal"},
                        "operations": [operation.word for operation in operations],
                    }
                    for (kind, resource), operations in rights.items()
                ],
            },
        },
    }
