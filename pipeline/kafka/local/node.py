"""The node of a local Apache Kafka: its properties, its data directory and its command lines."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from pipeline import private
from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.local import class_archive, distribution
from pipeline.kafka.local import config as local_config
from pipeline.kafka.local.config import LocalSecurity
from pipeline.kafka.local.ports import Ports

LOG_LINES = 25
"""The last lines of an output that a message repeats."""


def write_properties(directory: Path, ports: Ports, security: LocalSecurity | None, extra: Mapping[str, str]) -> None:
    """Write the node's `server.properties`; `extra` overrides what it would have."""
    text = local_config.properties(
        data=directory / "data",
        port=ports.clients,
        controller_port=ports.controller,
        security=security,
        extra=extra,
    )
    file = directory / "server.properties"
    private.file(file)  # it holds the super user's password
    file.write_text(text, encoding="ascii")


def java_command(
    directory: Path, jars: Path, heap_mb: int, *, full_jit: bool = False, options: list[str] | None = None
) -> list[str]:
    """The start of a command line that runs one of Kafka's programs for the node in `directory`.

    `options` stand in place of those that use the class archive.
    """
    (directory / "log4j2.properties").write_text(local_config.LOG4J, encoding="ascii")
    return [
        distribution.java(),
        *(class_archive.options(jars) if options is None else options),
        "-XX:+UseSerialGC",
        *([] if full_jit else ["-XX:TieredStopAtLevel=1"]),
        f"-Xms{min(256, heap_mb)}m",
        f"-Xmx{heap_mb}m",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}",
        "-cp",
        f"{jars}/*",
    ]


def server_command(directory: Path, java: list[str]) -> list[str]:
    """The command line of the node in `directory`."""
    return [*java, "kafka.Kafka", str(directory / "server.properties")]


def new_cluster_id() -> str:
    """A fresh id as Kafka writes them: a UUID in 22 letters that does not begin like an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def format_node(directory: Path, java: list[str], cluster_id: str, *arguments: str) -> None:
    """Make the data directory a KRaft node's; what the tool prints holds credentials and is shown to nobody.

    Raises:
        BrokerUnreachableError: the tool refused; the message holds its last lines.
    """
    properties = str(directory / "server.properties")
    tool = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", properties, *arguments]
    run = subprocess.run(  # noqa: S603 - Java by its full path, arguments of our own
        tool, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if run.returncode != 0:
        lines = run.stdout.decode("utf-8", "replace").splitlines()
        told = "\n".join(f"  {line}" for line in lines[-LOG_LINES:] if "SCRAM" not in line.upper())
        raise BrokerUnreachableError(f"{directory / 'data'} could not be formatted for Apache Kafka:\n{told}")
