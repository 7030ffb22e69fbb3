"""A local Apache Kafka: the real broker, for developers, the demo and the tests.

One combined broker and controller on loopback, from the project's Maven artifacts (JDK 17+), up in 3 to 4 seconds
with about 340 MB. It ends with the process that started it, unless `detach`ed on purpose.
"""

from __future__ import annotations

import base64
import json
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import BrokerUnreachableError, InputError
from pipeline.kafka import distribution, local_config, local_process
from pipeline.kafka.local_config import LocalSecurity

STARTED = "Kafka Server started"
"""Logged once the broker is registered, unfenced and answers (kafka.server.KafkaRaftServer)."""

START_WITHIN_S = 90
"""It takes 4 s alone on two cores; this is for the same machine under full load."""

STOP_WITHIN_S = 30
"""A controlled shutdown takes about a second; after this it is killed, which its log recovery forgives."""

POLL_S = 0.02
LOG_LINES = 25

PORTS = range(20_000, 32_768)
"""Below Linux's ephemeral ports. Inside them, a client that retries a stopped broker can be given the broker's own
port as its source, connect to itself and hold the port against the restart."""

PORT_ATTEMPTS = 3
"""Another process may take a free port between our look and the broker's bind."""


@dataclass(frozen=True, slots=True)
class _Ports:
    clients: int
    controller: int


class LocalKafka:
    """A running local broker. Leaving the context stops it."""

    def __init__(self, directory: Path, argv: list[str], ports: _Ports, pid: int) -> None:
        self.directory = directory
        self.pid = pid
        self._argv = argv
        self._ports = ports
        self._watchdog: local_process.Watchdog | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        version: str = distribution.DEFAULT_VERSION,
        security: LocalSecurity | None = None,
        heap_mb: int = 512,
        port: int | None = None,
        detach: bool = False,
        full_jit: bool = False,
        properties: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Start a broker whose data lives in `directory` (made or reused); blocks until it answers.

        `port` unset: any free one. `detach`: it outlives this process. `full_jit`: slower start, full speed, for
        benchmarks. `properties` override `server.properties`.

        Raises:
            ToolMissingError: no Java, or no Maven and nothing downloaded yet.
            InputError: the port is taken, or the version is malformed.
            BrokerUnreachableError: the broker did not start; the message holds the last lines of its log.
        """
        jars = distribution.libraries(version, say=say)
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if port is not None and not is_free(port):
            raise InputError(f"port {port} on 127.0.0.1 is in use: choose another one, or 0 for any free port")
        (directory / "log4j2.properties").write_text(local_config.LOG4J, encoding="ascii")
        argv = [
            distribution.java(),
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
        for attempt in range(1, PORT_ATTEMPTS + 1):
            ports = _choose(directory, port)
            _write_properties(directory, ports, security, properties or {})
            if not (directory / "data" / "meta.properties").exists():
                _format(directory, argv, security)
            broker = cls(directory, [*argv, "kafka.Kafka", str(directory / "server.properties")], ports, pid=0)
            try:
                broker._launch(detach=detach)
            except _PortTakenError as taken:
                (directory / "ports.json").unlink(missing_ok=True)
                if attempt == PORT_ATTEMPTS:
                    raise BrokerUnreachableError(str(taken)) from None
                continue
            break
        return broker

    @property
    def bootstrap_servers(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self._ports.clients}"

    @property
    def log(self) -> Path:
        """The broker's log file."""
        return self.directory / "broker.log"

    @property
    def alive(self) -> bool:
        """Whether the process runs (frozen counts as running)."""
        return bool(self.pid) and local_process.exit_status(self.pid, self._mark) is None

    def stop(self) -> None:
        """SIGTERM, and wait for the controlled shutdown; SIGKILL if it takes too long. Stopping twice is no error."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or handed over."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        local_process.send(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        local_process.send(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it runs, then start with the same ports and data; blocks until it answers."""
        self.stop()
        self._launch(detach=False)

    def detach(self) -> None:
        """Let the broker outlive this process."""
        self._call_off()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def _mark(self) -> str:
        return self._argv[-1]

    def _launch(self, *, detach: bool) -> None:
        seen = self.log.stat().st_size if self.log.exists() else 0
        self.pid = local_process.spawn(self._argv, output=self.log)
        self._watchdog = local_process.Watchdog(self.pid)
        try:
            self._await_start(seen)
        except BaseException:
            self.kill()
            raise
        if detach:
            self._call_off()

    def _await_start(self, seen: int) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        with self.log.open("rb") as log:
            log.seek(seen)
            said = b""
            while True:
                code = local_process.exit_status(self.pid, self._mark)
                said += log.read()
                if STARTED.encode() in said:
                    return
                text = said.decode("utf-8", "replace")
                if code is not None:
                    self.pid = 0
                    if "Address already in use" in text:
                        raise _PortTakenError(self._did_not_start("another process took its port", text))
                    raise BrokerUnreachableError(self._did_not_start(f"it ended with exit code {code}", text))
                if time.monotonic() > deadline:
                    raise BrokerUnreachableError(
                        self._did_not_start(f"it did not answer within {START_WITHIN_S} s", text)
                    )
                time.sleep(POLL_S)

    def _did_not_start(self, what: str, text: str) -> str:
        tail = "\n".join(f"  {line}" for line in text.splitlines()[-LOG_LINES:])
        return f"the local Apache Kafka did not start: {what}. The end of {self.log}:\n{tail}"

    def _end(self, number: signal.Signals) -> None:
        if self.alive:
            local_process.send(self.pid, number)
            self.resume()  # a frozen process hears SIGTERM only once it goes on
            if not local_process.wait(self.pid, self._mark, STOP_WITHIN_S):
                local_process.send(self.pid, signal.SIGKILL)
                local_process.wait(self.pid, self._mark, STOP_WITHIN_S)
        self.pid = 0
        self._call_off()

    def _call_off(self) -> None:
        if self._watchdog:
            self._watchdog.close()
            self._watchdog = None


class _PortTakenError(BrokerUnreachableError):
    """The broker lost the race for a port; another one is tried."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now, outside the ephemeral range."""
    for _ in range(200):
        port = random.choice(PORTS)  # noqa: S311 - no secret
        if is_free(port):
            return port
    raise BrokerUnreachableError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """Whether `port` on loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _choose(directory: Path, port: int | None) -> _Ports:
    """The ports of the last run, as far as they are free (the controller's is part of the quorum's stored state)."""
    file = directory / "ports.json"
    last = json.loads(file.read_text(encoding="ascii")) if file.exists() else {}
    clients = port or last.get("clients") or free_port()
    if port is None and not is_free(clients):
        clients = free_port()
    controller = last.get("controller") or free_port()
    while controller == clients:
        controller = free_port()
    file.write_text(json.dumps({"clients": clients, "controller": controller}), encoding="ascii")
    return _Ports(clients, controller)


def _write_properties(directory: Path, ports: _Ports, security: LocalSecurity | None, extra: Mapping[str, str]) -> None:
    text = local_config.properties(
        data=directory / "data",
        port=ports.clients,
        controller_port=ports.controller,
        security=security,
        extra=extra,
    )
    file = directory / "server.properties"
    file.touch(mode=0o600)  # it holds the super user's password
    file.write_text(text, encoding="ascii")


def _format(directory: Path, argv: list[str], security: LocalSecurity | None) -> None:
    """Make the data directory a KRaft node's; what the tool prints holds credentials and is shown to nobody."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
    run = subprocess.run(  # noqa: S603 - Java by its full path, arguments of our own
        [
            *argv,
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "--cluster-id",
            cluster,
            "--config",
            str(directory / "server.properties"),
            *(local_config.scram_arguments(security) if security else []),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if run.returncode != 0:
        lines = run.stdout.decode("utf-8", "replace").splitlines()
        told = "\n".join(f"  {line}" for line in lines[-LOG_LINES:] if "SCRAM" not in line.upper())
        raise BrokerUnreachableError(f"{directory / 'data'} could not be formatted for Apache Kafka:\n{told}")
