"""Bento (github.com/warpstreamlabs/bento), where somebody has it: the stream processor that a user would pick instead.

`BENTO=/path/to/bento make bench B='transform throughput chain'` runs it beside ours with `contenders/bento/*.yaml`;
without the variable its figures are missing. Of all webhooks it maps one type, with the vendor's recipe.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.kafka.local.ports import free_port
from pipeline.settings import Settings
from tests.bench import stage

CONFIGURATIONS: Final = Path(__file__).parent / "contenders/bento"
STREAMS: Final = ("ingest", "transform", "sink")


def program() -> Path | None:
    """The binary that `BENTO` names; None: there is none to measure.

    Raises:
        FileNotFoundError: what it names is no file.
    """
    named = os.environ.get("BENTO")
    if not named:
        return None
    found = Path(named).absolute()
    if not found.is_file():
        raise FileNotFoundError(f"BENTO={named}: there is no such file")
    return found


def start(
    settings: Settings, directory: Path, streams: Sequence[str] = STREAMS, *, port: int = 0, status_port: int = 0
) -> stage.Process:
    """One process with these streams, on the settings' topics.

    Args:
        settings: brokers, topics, group, the sink's address and its requests a second.
        directory: for its log.
        streams: of `STREAMS`.
        port: that `ingest` listens on.
        status_port: that answers 200 on `/ready` when all streams are connected; 0: nobody asks.
    """
    given = variables(settings, port=port, status_port=status_port or free_port())
    files = [str(CONFIGURATIONS / f"{name}.yaml") for name in streams]
    service = ("-c", str(CONFIGURATIONS / "service.yaml"), "-r", str(CONFIGURATIONS / "limits.yaml"))
    return stage.Process((str(program()), *service, "streams", *files), {**os.environ, **given}, directory, "bento")


def variables(settings: Settings, *, port: int, status_port: int) -> dict[str, str]:
    """What the configurations read of the environment."""
    return {
        "BENTO_BROKERS": settings.kafka_bootstrap_servers,
        "BENTO_WEBHOOKS": settings.webhooks_topic,
        "BENTO_OPERATIONS": settings.operations_topic,
        "BENTO_TRANSFORM_GROUP": f"{settings.transform_group}.bento",
        "BENTO_SINK_GROUP": f"{settings.sink_group}.bento",
        "BENTO_CUSTOMERIO": settings.customerio_url or "",
        "BENTO_REQUESTS": f"{settings.customerio_requests_per_second:.0f}",
        "BENTO_SECRET": stage.SECRET,
        "BENTO_PORT": str(port),
        "BENTO_STATUS_PORT": str(status_port),
    }
