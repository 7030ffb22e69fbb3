"""Prints the addresses that an ingest listens on, once."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import logs
from pipeline.http.bind import shown
from pipeline.settings import Settings

log = logs.get(__name__)


def announce(settings: Settings, port: int, admin_port: int | None, say: Callable[[str], None]) -> None:
    """Log the addresses, and print them for a person: with JSON logs the log alone has them.

    Args:
        settings: the host and the paths.
        port: of webhooks.
        admin_port: of probes and metrics, where it is another.
        say: prints a line.
    """
    if admin_port is not None:
        _say(say, settings, "Probes and metrics on", admin_port, "")
    for path in settings.webhook_paths:
        _say(say, settings, "Listening on", port, path)


def _say(say: Callable[[str], None], settings: Settings, what: str, port: int, path: str) -> None:
    address = f"http://{shown(settings.host)}:{port}{path}"
    log.info(what, address=address)
    if settings.log_format != "json":  # a plain line between JSON lines is one that a collector cannot read
        say(f"{what} {address}")
