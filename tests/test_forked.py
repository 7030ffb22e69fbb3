"""Forked processes: as real as those that start in full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import PREFIX
from tests import forked


@pytest.mark.parametrize("command", [["settings", "--json"], ["topics", "--help"], ["no-such-word"]], ids=" ".join)
def test_alike(command: list[str]) -> None:
    """The same exit code, output and messages as of a process that started in full."""
    words = [*forked.PROGRAM, *command]
    environ = {**os.environ, f"{PREFIX}LANES": "7"}
    full = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    done = forked.run(words, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (full.returncode, full.stdout, full.stderr)


SHOWING = """\
import json, os, random, sys
print(json.dumps([os.getpid(), os.getppid(), sys.argv, sys.path[0], os.getcwd(), os.getsid(0), random.random(),
                  sorted(os.listdir("/proc/self/fd")), "pipeline.transform.worker" in sys.modules]), flush=True)
sys.stdin.read()
sys.exit(7)
"""


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """Its pid, arguments, directory, path, session, descriptors and chance are its own; its imports are there."""
    script = tmp_path / "script.py"
    script.write_text(SHOWING, encoding="utf-8")
    pipe = subprocess.PIPE
    words = [sys.executable, str(script), "a", "b"]
    told = []
    for _ in range(2):
        with forked.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd="/", start_new_session=True) as process:
            assert process.stdout is not None
            told.append(json.loads(process.stdout.readline()))
            assert process.poll() is None
        assert process.returncode == 7
        pid, parent, argv, path, directory, session, _, descriptors, is_warm = told[-1]
        assert (pid, session) == (process.pid, process.pid)
        assert parent != os.getpid()
        assert (argv, path, directory) == ([str(script), "a", "b"], str(tmp_path), "/")
        assert len(descriptors) == 4  # and the one that lists them
        assert is_warm
    assert told[0][6] != told[1][6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """A signal ends it as another, and its status is that."""
    script = tmp_path / "script.py"
    script.write_text("print(1, flush=True)\nimport time\ntime.sleep(600)\n", encoding="utf-8")
    with forked.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == -number


def test_another_environment(tmp_path: Path) -> None:
    """A variable that a module may read when it is imported means a start in full, and settings do not."""
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('pipeline.transform.worker' in sys.modules)\n", encoding="utf-8")
    words = [sys.executable, str(script)]
    assert forked.run(words, env={**os.environ, f"{PREFIX}LANES": "7"}).stdout == "True\n"
    assert forked.run(words, env={**os.environ, "NO_CYTHON": "1"}).stdout == "False\n"
