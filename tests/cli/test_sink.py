"""`dodo-cio sink`."""

from __future__ import annotations

import subprocess
import sys


def test_help_shows_examples() -> None:
    """The help says what the command does, how it ends, and how to point it to a sandbox."""
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "sink", "--help"], capture_output=True, text=True, check=True
    )
    for part in ("Examples", "SIGTERM", "--port", "PIPELINE_CUSTOMERIO_SITE_ID"):
        assert part in run.stdout
