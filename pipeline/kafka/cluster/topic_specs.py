"""The topic files: what each topic must be, as this project asks the platform for it.

In a checkout they are `topics/*.yaml` at the root; a wheel carries them as `pipeline/_topics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline import yaml_text
from pipeline.errors import InputError
from pipeline.settings import Settings

MAX_PARTITIONS = 1000
"""More is a typing error: each partition costs every worker and broker memory."""

FIELDS = {"topic", "setting", "partitions", "partitions_like", "configs"}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One wanted topic.

    `replication_factor` -1 means the cluster's default; `partitions_like` names a topic whose count this one follows.
    """

    name: str
    partitions: int
    configs: Mapping[str, str]
    replication_factor: int = -1
    partitions_like: str | None = None


def topics_directory() -> Path:
    """Where the topic files and schemas are, in a checkout or in an installed wheel."""
    package = Path(pipeline.__file__).parent
    installed = package / "_topics"
    return installed if installed.is_dir() else package.parent / "topics"


def load_specs(
    settings: Settings,
    *,
    directory: Path | None = None,
    replication_factor: int = -1,
    at_most_partitions: int | None = None,
) -> list[TopicSpec]:
    """The specification under the names of `settings`, topics that follow another one last.

    `at_most_partitions` lowers the counts, for development brokers.

    Raises:
        InputError: a file is missing or malformed; the message names it and the field.
    """
    where = directory or topics_directory()
    try:
        files = sorted(where.glob("*.yaml"))
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}") from None
    entries = {}
    for file in files:
        if file.name == "asyncapi.yaml":
            continue
        entry = _read(file)
        entries[entry["topic"]] = (file, entry)
    if not entries:
        raise InputError(f"{where} holds no topic files (*.yaml)")
    names = {topic: getattr(settings, entry["setting"]) for topic, (_, entry) in entries.items()}
    specs = []
    for topic, (file, entry) in entries.items():
        like = entry.get("partitions_like")
        if like is not None and (like not in entries or "partitions" not in entries[like][1]):
            raise InputError(f"{file}: partitions_like must name a topic that has partitions of its own")
        partitions = entries[like][1]["partitions"] if like else entry["partitions"]
        specs.append(
            TopicSpec(
                name=names[topic],
                partitions=min(partitions, at_most_partitions or partitions),
                configs={name: _text(value) for name, value in entry["configs"].items()},
                replication_factor=replication_factor,
                partitions_like=names[like] if like else None,
            )
        )
    duplicates = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if duplicates:
        raise InputError(f"{where}: two files specify topic {duplicates[0]}")
    return sorted(specs, key=lambda spec: spec.partitions_like is not None)


def _read(file: Path) -> dict[str, Any]:
    try:
        entry = yaml_text.load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if not isinstance(entry, dict):
        raise InputError(f"{file} must hold a mapping of {', '.join(sorted(FIELDS))}")
    unknown = sorted(set(map(str, entry)) - FIELDS)
    if unknown:
        raise InputError(f"{file}: unknown field {unknown[0]}; known are {', '.join(sorted(FIELDS))}")
    for name in ("topic", "setting"):
        if not isinstance(entry.get(name), str):
            raise InputError(f"{file}: {name} must be text")
    if not entry["setting"].endswith("_topic") or entry["setting"] not in Settings.model_fields:
        raise InputError(f"{file}: setting must be the name of a topic setting such as webhooks_topic")
    if ("partitions" in entry) == ("partitions_like" in entry):
        raise InputError(f"{file}: give one of partitions and partitions_like")
    partitions = entry.get("partitions", 1)
    if type(partitions) is not int or not 1 <= partitions <= MAX_PARTITIONS:
        raise InputError(f"{file}: partitions must be a number from 1 to {MAX_PARTITIONS}")
    configs = entry.get("configs")
    if not isinstance(configs, dict) or not all(isinstance(key, str) for key in configs):
        raise InputError(f"{file}: configs must be a mapping of Kafka topic settings")
    for name, value in configs.items():
        if not isinstance(value, str | int | float):
            raise InputError(f"{file}: configs: {name} must be a single value")
    return entry


def _text(value: object) -> str:
    """As Kafka spells it: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
