"""`dodo-cio kafka`: runs a local Apache Kafka until it is stopped."""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

import typer

from pipeline import private
from pipeline.cli.preparation import prepare
from pipeline.cli.screen import say
from pipeline.errors import BrokerUnreachableError, InputError
from pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from pipeline.kafka.local.broker import LocalKafka

DEFAULT_PORT = 9092
"""The port of the default setting, so that no variable needs to be set."""

VARIABLE = f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS"

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add `dodo-cio kafka`."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Run a local Apache Kafka for development. A broker that you name in the environment always wins.",
    )
    group.command("up")(up)
    group.command("down")(down)
    group.command("status")(status)
    app.add_typer(group, name="kafka")


def up(
    *,
    port: Annotated[
        Optional[int], typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one. [default: 9092]")
    ] = None,
    version: Annotated[Optional[str], typer.Option(help="Kafka version. [default: 4.4.0]")] = None,
    heap_mb: Annotated[int, typer.Option(min=128, help="The broker's Java heap in MB.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Start a local Apache Kafka in the background, or say which one is used already.

    Needs JDK 17+ and, for the first start of a version, Maven. Data and log live under PIPELINE_DATA_DIR and are kept
    until `down --delete-data`. When PIPELINE_KAFKA_BOOTSTRAP_SERVERS is given, that broker is used and nothing starts.

    Examples: `dodo-cio kafka up`, `dodo-cio kafka up --port 0 --json`, `dodo-cio kafka up --version 4.3.1`
    """
    from pipeline.kafka.local.broker import LocalKafka
    from pipeline.kafka.local.distribution import DEFAULT_VERSION

    settings = prepare()
    if _is_given(settings):
        _print(
            f"{VARIABLE} names {settings.kafka_bootstrap_servers}: that broker is used, nothing was started",
            {"status": "given", "started": False, "bootstrap_servers": settings.kafka_bootstrap_servers},
            as_json=as_json,
        )
        return
    directory = directory_of(settings)
    with _alone(directory):
        broker = LocalKafka.attach(directory)
        started = broker is None
        if broker is None:
            say(f"Starting Apache Kafka {version or DEFAULT_VERSION} ...", err=True)
            broker = LocalKafka.start(
                directory,
                version=version or DEFAULT_VERSION,
                port=DEFAULT_PORT if port is None else port,
                heap_mb=heap_mb,
                detach=True,
                say=lambda text: say(text, indent=2, err=True),
            )
            asyncio.run(_connect(Settings.load(kafka_bootstrap_servers=broker.bootstrap_servers)))
        elif (version and version != broker.version) or (port and broker.bootstrap_servers != f"127.0.0.1:{port}"):
            raise InputError(
                f"Apache Kafka {broker.version} runs already at {broker.bootstrap_servers}: "
                "stop it with `dodo-cio kafka down` first"
            )
    text = f"Apache Kafka {broker.version} {'answers' if started else 'runs already'} at {broker.bootstrap_servers}"
    text += f" (pid {broker.pid}, data in {broker.directory}). Stop it with `dodo-cio kafka down`"
    if broker.bootstrap_servers != f"127.0.0.1:{DEFAULT_PORT}":
        text += f"\nFor the other commands: export {VARIABLE}={broker.bootstrap_servers}"
    _print(text, {"status": "running", "started": started, **_facts(broker)}, as_json=as_json)


def down(
    *,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Delete its topics and records too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the local Apache Kafka that `up` started; no error when none runs.

    Examples: `dodo-cio kafka down`, `dodo-cio kafka down --delete-data`
    """
    from pipeline.kafka.local.broker import LocalKafka

    settings = Settings.load()
    directory = directory_of(settings)
    stopped = deleted = False
    if _looked_at(directory, Path.is_dir):
        with _alone(directory):
            broker = LocalKafka.attach(directory)
            if broker:
                broker.stop()
                stopped = True
            if delete_data:
                deleted = (directory / "data").is_dir()
                for name in ("data", "broker.log", "ports.json", "server.properties", "log4j2.properties"):
                    path = directory / name
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    text = "Stopped the local Apache Kafka" if stopped else "No local Apache Kafka was running"
    if _is_given(settings):
        text += f"; {settings.kafka_bootstrap_servers}, named by {VARIABLE}, is left alone"
    if deleted:
        text += "; its data is deleted"
    _print(text, {"status": "stopped", "was_running": stopped, "data_deleted": deleted}, as_json=as_json)


def status(*, as_json: AsJson = False) -> None:
    """Say which broker is used and whether it answers; exit code 1 when it does not.

    Examples: `dodo-cio kafka status`, `dodo-cio kafka status --json`
    """
    from pipeline.kafka.local.broker import LocalKafka

    settings = prepare()
    broker = None if _is_given(settings) else _looked_at(directory_of(settings), LocalKafka.attach)
    facts: dict[str, Any] = {"bootstrap_servers": settings.kafka_bootstrap_servers}
    if broker:
        facts = _facts(broker)
        settings = Settings.load(kafka_bootstrap_servers=broker.bootstrap_servers)
    elif not _is_given(settings):
        _print("No local Apache Kafka is running: `dodo-cio kafka up`", {"status": "stopped", **facts}, as_json=as_json)
        raise typer.Exit(1)
    what = f"Apache Kafka {broker.version}" if broker else f"The broker named by {VARIABLE}"
    try:
        asyncio.run(_connect(settings))
    except BrokerUnreachableError as error:
        _print(
            f"{what} at {settings.kafka_bootstrap_servers} does not answer: {error}",
            {"status": "unreachable", "reason": str(error), **facts},
            as_json=as_json,
        )
        raise typer.Exit(1) from None
    _print(
        f"{what} answers at {settings.kafka_bootstrap_servers}"
        + (f" (pid {broker.pid}, log {broker.log})" if broker else ""),
        {"status": "running" if broker else "given", **facts},
        as_json=as_json,
    )


def directory_of(settings: Settings) -> Path:
    """The directory of the local broker's data, log and state file."""
    return settings.data_dir / "kafka"


async def _connect(settings: Settings) -> None:
    """Return when topics can be created: a broker reports its start a moment before that."""
    from pipeline.kafka.cluster.admin import open_admin

    async with open_admin(settings) as admin:
        await admin.ready()


def _is_given(settings: Settings) -> bool:
    return "kafka_bootstrap_servers" in settings.model_fields_set


def _facts(broker: LocalKafka) -> dict[str, Any]:
    return {
        "bootstrap_servers": broker.bootstrap_servers,
        "pid": broker.pid,
        "version": broker.version,
        "directory": str(broker.directory),
        "log": str(broker.log),
    }


def _looked_at(directory: Path, look: Callable[[Path], T]) -> T:
    """What `look` sees there."""
    try:
        return look(directory)
    except OSError as error:
        raise InputError(f"{PREFIX}DATA_DIR: {directory} cannot be read ({error.strerror})") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One `up` or `down` at a time on one directory; a second one waits and then finds what the first one did."""
    try:
        private.directory(directory)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise InputError(f"{PREFIX}DATA_DIR: {directory} cannot be written ({error.strerror})") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _print(text: str, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        say(text, indent=2)
