"""A local Apache Kafka: the real broker, for developers, the demo and the tests.

One combined broker and controller on loopback, from the project's Maven artifacts (JDK 17+), up in 2 to 3 seconds
with about 340 MB. It ends with the process that started it, unless `detach`ed on purpose.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline import private
from pipeline.errors import BrokerUnreachableError, InputError
from pipeline.kafka.local import class_archive, distribution
from pipeline.kafka.local import config as local_config
from pipeline.kafka.local import process as local_process
from pipeline.kafka.local.config import LocalSecurity
from pipeline.kafka.local.node import (
    LOG_LINES,
    format_node,
    java_command,
    new_cluster_id,
    server_command,
    write_properties,
)
from pipeline.kafka.local.ports import PORTS, Ports, choose, free_port, is_free

__all__ = ["PORTS", "LocalKafka", "LocalSecurity", "free_port", "is_free"]

STARTED = "Kafka Server started"
"""Logged once the broker is registered, unfenced and answers (kafka.server.KafkaRaftServer)."""

START_WITHIN_S = 90
"""It takes 4 s alone on two cores; this is for the same machine under full load."""

STOP_WITHIN_S = 30
"""A controlled shutdown takes about a second; after this it is killed, which its log recovery forgives."""

FROZEN_WITHIN_S = 5
"""SIGSTOP reaches a JVM's threads one by one; on a loaded machine the last may answer requests for a while."""

POLL_S = 0.02
STATE = "state.json"

PORT_ATTEMPTS = 3
"""Another process may take a free port between our look and the broker's bind."""


Properties = Mapping[str, str] | Callable[[Ports], Mapping[str, str]]


class LocalKafka:
    """A running local broker. Leaving the context stops it."""

    def __init__(self, directory: Path, version: str, argv: list[str], ports: Ports, pid: int) -> None:
        self.directory = directory
        self.version = version
        self.pid = pid
        self._argv = argv
        self._ports = ports
        self._watchdog: local_process.Watchdog | None = None
        self._detached = False

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
        jvm_options: list[str] | None = None,
        properties: Properties | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Start a broker whose data lives in `directory` (made or reused); blocks until it answers.

        `port` unset or 0: the last run's, or any free one. `detach`: it outlives this process. `full_jit`: slower
        start, full speed, for benchmarks. `jvm_options` stand in place of those that use the class archive, which is
        made first if there is none. `properties` override `server.properties`; a function is given the ports at each
        attempt, since a broker that names its listeners must name those.

        Raises:
            ToolMissingError: no Java, or no Maven and nothing downloaded yet.
            InputError: the port is taken, or the version is malformed.
            BrokerUnreachableError: the broker did not start; the message holds the last lines of its log.
        """
        jars = distribution.libraries(version, say=say)
        directory = directory.resolve()
        private.directory(directory)
        if port and not is_free(port):
            raise InputError(f"port {port} on 127.0.0.1 is in use: choose another one, or 0 for any free port")
        if jvm_options is None:
            class_archive.prepare(jars, partial(cls._run_once, version), say=say)
        argv = java_command(directory, jars, heap_mb, full_jit=full_jit, options=jvm_options)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            ports = choose(directory, port)
            extra = properties(ports) if callable(properties) else properties
            write_properties(directory, ports, security, extra or {})
            if not (directory / "data" / "meta.properties").exists():
                users = local_config.scram_arguments(security) if security else []
                format_node(directory, argv, new_cluster_id(), "--standalone", *users)
            broker = cls(directory, version, server_command(directory, argv), ports, pid=0)
            try:
                broker._launch(detach=detach)
            except PortTakenError as taken:
                (directory / "ports.json").unlink(missing_ok=True)
                if attempt == PORT_ATTEMPTS:
                    raise BrokerUnreachableError(str(taken)) from None
                continue
            break
        return broker

    @classmethod
    def _run_once(cls, version: str, options: list[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="kafka-") as scratch:
            cls.start(Path(scratch), version=version, jvm_options=options).stop()

    @classmethod
    def attach(cls, directory: Path) -> Self | None:
        """The detached broker that runs on `directory`, or None."""
        directory = directory.resolve()
        try:
            state = json.loads((directory / STATE).read_text(encoding="utf-8"))
            ports = Ports(state["clients"], state["controller"])
            broker = cls(directory, state["version"], state["command"], ports, state["pid"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError):
            return None  # written by something else
        broker._detached = True
        return broker if broker.alive else None

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
        """Freeze the process: connections stay open and, once this returns, nothing answers."""
        local_process.send(self.pid, signal.SIGSTOP)
        local_process.wait_frozen(self.pid, FROZEN_WITHIN_S)

    def resume(self) -> None:
        """Let a frozen process go on."""
        local_process.send(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it runs, then start with the same ports and data; blocks until it answers."""
        self.stop()
        self._launch(detach=self._detached)

    def detach(self) -> None:
        """Let the broker outlive this process; `attach` finds it again."""
        state = {
            "pid": self.pid,
            "version": self.version,
            "clients": self._ports.clients,
            "controller": self._ports.controller,
            "command": self._argv,
        }
        fresh = self.directory / f"{STATE}.new"
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.rename(self.directory / STATE)
        self._detached = True
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
            self.detach()

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
                        raise PortTakenError(self._did_not_start("another process took its port", text))
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
        (self.directory / STATE).unlink(missing_ok=True)
        self._call_off()

    def _call_off(self) -> None:
        if self._watchdog:
            self._watchdog.close()
            self._watchdog = None


class PortTakenError(BrokerUnreachableError):
    """The broker lost the race for a port; another one is tried."""
