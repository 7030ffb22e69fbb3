"""Where an ingest listens, said once to whoever started it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import logs
from pipeline.http.bind import shown
from pipeline.settings import Settings

log = logs.get(__name__)


def announce(settings: Settings, port: int, admin_port: int | None, say: Callable[[str], None]) -> None:
    """Say and log the addresses.

    Args:
        settings: the host and the paths.
        port: of webhooks.
        admin_port: of probes and metrics, where it is another.
        say: told each line.
    """
    if admin_port is not None:
        _say(say, "Probes and metrics on", settings.host, admin_port, "")
    for path in settings.webhook_paths:
        _say(say, "Listening on", settings.host, port, path)


def _say(say: Callable[[str], None], what: str, host: str, port: int, path: str) -> None:
    address = f"http://{shown(host)}:{port}{path}"
    log.info("listening", address=address)
    say(f"{what} {address}")
