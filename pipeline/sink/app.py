"""The module that `faust -A pipeline.sink.app worker --without-web` loads.

`app` is built from this process's environment when the module is imported; a fault of a setting is one message and
exit code 2, as with `dodo-cio sink`, which builds the same app from `pipeline.sink.worker`.

A signal is a quiet end from here on, so the imports come after; before it Faust imports itself, and is not ours.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline import signals

if TYPE_CHECKING:
    from pipeline.kafka.worker.app import BatchApp


def _from_environment() -> BatchApp:
    is_worker = signals.catch_in_faust()
    from pipeline import logs
    from pipeline.errors import PipelineError
    from pipeline.kafka.worker.process import choose_loop
    from pipeline.settings import Settings
    from pipeline.sink.worker import create_app

    if is_worker:
        choose_loop(sys.argv)
    try:
        return create_app(Settings.load())
    except PipelineError as error:
        logs.fatal(str(error), error.exit_code)
        sys.exit(error.exit_code)


app = _from_environment()
