"""The module that `faust -A pipeline.sink.app worker --without-web` loads.

`app` is built from this process's environment when the module is imported; a fault of a setting is one message and
exit code 2, as with `dodo-cio sink`, which builds the same app from `pipeline.sink.worker`.
"""

from __future__ import annotations

import sys

from pipeline.errors import PipelineError
from pipeline.kafka.app import BatchApp
from pipeline.settings import Settings
from pipeline.sink.worker import create_app


def _from_environment() -> BatchApp:
    try:
        return create_app(Settings.load())
    except PipelineError as error:
        sys.stderr.write(f"dodo-cio: {error}\n")
        sys.exit(error.exit_code)


app = _from_environment()
