"""Running a `BatchApp` as a process: our logging, no traceback for an operator's mistake, exit codes, an end.

`faust -A … worker` and `run_worker` use the same worker class, so they behave alike.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import faust
import mode.loop
from mode.utils.futures import maybe_cancel

from pipeline import logs, signals
from pipeline.errors import PipelineError
from pipeline.kafka.connection import use_our_connections
from pipeline.kafka.noise import quieten
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.handover import COMMIT_S, GRACE_S
from pipeline.kafka.worker.options import REBALANCE_S
from pipeline.settings import Settings

STOP_WITHIN_S: Final = GRACE_S + COMMIT_S + REBALANCE_S + 8.0
"""A stop takes a second or two; waiting for a peer in a rebalance adds `REBALANCE_S`. One that takes longer than all of
that is stuck, and a process that neither works nor ends is worse than a repeat."""

log = logs.get(__name__)


class BatchWorker(faust.Worker):
    """Faust's worker with our logging and exit codes: 0 after a signal, a `PipelineError`'s own, 1 for any crash."""

    def __init__(self, app: BatchApp, *services: Any, **options: Any) -> None:
        options["override_logging"] = False  # mode would clear our handler, and with it the redaction
        options["redirect_stdouts"] = False
        super().__init__(app, *services, **options)
        logs.configure(log_format=app.settings.log_format, secrets=app.settings.secrets)
        quieten()
        use_our_connections()
        self.spinner = None

    def execute_from_commandline(self) -> NoReturn:
        """Run until a signal or a crash, then exit the process."""
        sys.exit(self.run())

    def run(self) -> int:
        """Run until a signal or a crash; the exit code."""
        with signals.listening(self.loop.call_soon_threadsafe, self._asked_to_stop):
            return self._run()

    def _run(self) -> int:
        code: int | None = None
        self._starting_fut = asyncio.ensure_future(self.start(), loop=self.loop)
        try:
            self.loop.run_until_complete(self._starting_fut)
        except asyncio.CancelledError:
            pass
        except (Exception, SystemExit) as error:  # noqa: BLE001 - every end becomes an exit code
            # Logged at once: what stops has nothing to add. What a start met that was broken off is no fault.
            code = 0 if self._signal_stop_time else exit_code(error)
        maybe_cancel(self._starting_fut)
        self.on_worker_shutdown()
        try:
            self.stop_and_shutdown()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - mode raises what crashed the worker once more
            code = code or exit_code(error)
        return code or 0

    def install_signal_handlers(self) -> None:
        """Those for a look inside; SIGTERM and SIGINT have been heard for longer than there is a loop."""
        self.loop.add_signal_handler(signal.SIGUSR1, self._on_sigusr1)
        self.loop.add_signal_handler(signal.SIGUSR2, self._on_sigusr2)

    def _asked_to_stop(self, number: int) -> None:
        if number == signal.SIGINT:
            self._on_sigint()
        else:
            self._on_sigterm()

    async def stop(self) -> None:
        """Stop, within a limit."""
        if not self._stopped.is_set():
            _end_within(STOP_WITHIN_S)
        await super().stop()

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave the command line as it was typed."""


def choose_loop(arguments: Sequence[str] = ()) -> None:
    """Have the loop that is made next be uvloop's, unless `arguments` of `faust` name one (`--loop`)."""
    if not any(argument.partition("=")[0] == "--loop" for argument in arguments):
        mode.loop.use("uvloop")


def run_worker(app: BatchApp, settings: Settings) -> int:
    """Run `app` in this process until SIGTERM or SIGINT; the exit code for `sys.exit`.

    0 after a signal; 2 when the operator must change something (one message, no traceback); 1 after a crash, which
    Kafka answers by redelivering.
    """
    choose_loop()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    worker = BatchWorker(app, loop=loop)
    log.info("Starting", stage=app.stage, group=app.conf.id, brokers=settings.kafka_bootstrap_servers)
    return worker.run()


def exit_code(failure: BaseException | None) -> int:
    """The process's exit code for what ended it; one message about it."""
    match failure:
        case None:
            return 0
        case PipelineError():
            log.error(str(failure))
            return failure.exit_code
        case SystemExit():
            return failure.code if isinstance(failure.code, int) else 1
        case _:
            log.error("The worker crashed; Kafka redelivers what was not acknowledged", exc_info=failure)
            return 1


def _end_within(seconds: float) -> None:
    """End the process when it still lives after `seconds`, with the stacks of all threads on stderr."""

    def end() -> None:
        log.error("The worker did not stop in time and is ended; Kafka redelivers", seconds=seconds)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
