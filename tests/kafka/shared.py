"""One broker for all processes of a test run, whoever of them asks first.

Under pytest-xdist the processes that run tests come and go, so the one that hands the tests out keeps the broker: it
ends with the run, however that ends, and a run without a test on Kafka starts none.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Final

from pipeline.kafka.local.broker import LocalKafka

_END: Final = ""
"""What is asked for in place of a directory when the run is over."""


@dataclass(frozen=True, slots=True)
class SharedKafka:
    """A running broker that others use too: nobody can stop or freeze it by this."""

    bootstrap_servers: str
    pid: int


class Keeper:
    """Starts the broker when it is asked for the first time and stops it at the end; all else is told of that one."""

    def __init__(self) -> None:
        self._listener = Listener(family="AF_UNIX")
        address = self._listener.address
        assert isinstance(address, str)
        self.address: Final = address
        """Where `shared` asks."""
        self._broker: LocalKafka | None = None
        self._thread = threading.Thread(target=self._answer, name="kafka-keeper", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the broker, if there is one; whoever asks afterwards is refused. Ending twice is no error."""
        with contextlib.suppress(OSError), Client(self.address) as connection:
            connection.send(_END)
        self._thread.join()
        self._listener.close()
        if self._broker:
            self._broker.stop()
            self._broker = None

    def _answer(self) -> None:
        """One question after the other, so that two who ask at once get one broker."""
        while True:
            # A process that was killed while it asked is no reason to leave the others alone.
            with contextlib.suppress(OSError, EOFError), self._listener.accept() as connection:
                directory = connection.recv()
                if directory == _END:
                    return
                connection.send(self._started(Path(directory)))

    def _started(self, directory: Path) -> SharedKafka | Exception:
        try:
            self._broker = self._broker or LocalKafka.start(directory)
        except Exception as error:  # noqa: BLE001 - the test that asked raises it
            return error
        return SharedKafka(self._broker.bootstrap_servers, self._broker.pid)


def shared(address: str, directory: Path) -> SharedKafka:
    """The run's broker; `directory` is where it is to live if this is the first question.

    Raises:
        PipelineError: as `LocalKafka.start`.
    """
    with Client(address) as connection:
        connection.send(str(directory))
        answer: SharedKafka | Exception = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer
