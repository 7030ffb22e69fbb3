"""What a signal does in each phase of a process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from pipeline import __main__, cli, signals

HEAVY = {"asyncio", "typing", "typer", "pydantic", "faust", "aiokafka", "pathlib"}

LOOK = """
import signal, sys
import {module} as entry
class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "{watched}":
            print(signal.getsignal(signal.SIGTERM) is entry.signals._handler)
            raise SystemExit
sys.meta_path.insert(0, Look())
"""
"""Says whether the signals are caught when something is imported, and ends."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter with this program."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_the_entry_point_is_light() -> None:
    """Before it can catch a signal the command imports nothing that takes time."""
    loaded = run("import sys, pipeline.__main__; print(*sys.modules)").stdout.split()
    assert "pipeline.signals" in loaded
    assert not HEAVY.intersection(loaded)


@pytest.mark.parametrize(("command", "caught"), [("transform", True), ("sandbox", True), ("lag", False)])
def test_a_stage_catches_before_the_command_line_is_imported(command: str, caught: bool) -> None:
    """A stage does; any other command keeps Python's handlers, with which it ends as every program does."""
    code = LOOK.format(module="pipeline.__main__", watched="pipeline.cli")
    assert run(f"{code}\nsys.argv = ['dodo-cio', '{command}']; entry.main()").stdout.strip() == str(caught)


@pytest.mark.parametrize(
    ("argv", "caught"),
    [
        (["/bin/faust", "-A", "pipeline.sink.app", "worker"], True),
        (["/lib/faust/__main__.py", "-A", "pipeline.sink.app", "worker"], True),
        (["/bin/faust", "-A", "pipeline.sink.app", "agents"], False),
        (["/bin/pytest", "-k", "worker"], False),
    ],
)
def test_faust_catches_before_the_stage_is_imported(argv: list[str], caught: bool) -> None:
    """Faust's worker does as soon as it loads our app; its other commands, and whoever imports the app, do not."""
    code = LOOK.format(module="pipeline.signals", watched="pipeline.settings").replace("entry.signals.", "entry.")
    assert run(f"{code}\nsys.argv = {argv}; import pipeline.sink.app").stdout.strip() == str(caught)


def test_ctrl_c_in_the_first_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short command that is interrupted while it is imported ends with 130, as it does later."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    monkeypatch.setattr(sys, "argv", ["dodo-cio", "lag"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_while_nothing_has_begun(number: signal.Signals) -> None:
    """The process ends at once, with 0 and without a word."""
    ended = run(f"import signal; from pipeline import signals; signals.catch(); signal.raise_signal({number:d}); 1 / 0")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


async def test_while_a_loop_runs() -> None:
    """The loop is told which signal it was, as often as one comes; behind the block the handlers are the old ones."""
    before = [signal.getsignal(number) for number in signals.NUMBERS]
    heard: asyncio.Queue[int] = asyncio.Queue()
    with signals.listening(asyncio.get_running_loop().call_soon_threadsafe, heard.put_nowait):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert heard.empty()
        assert [await heard.get() for _ in range(3)] == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    assert [signal.getsignal(number) for number in signals.NUMBERS] == before


def test_at_the_end() -> None:
    """A signal changes no exit code any more: not when the loop is closed, nor behind it, nor as Python ends."""
    ended = run("""
import asyncio, os, signal, sys
from pipeline import signals

signals.catch()
loop = asyncio.new_event_loop()
with signals.listening(loop.call_soon_threadsafe, print):
    loop.close()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGTERM)


class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 15)


sys.modules["last"] = Last()  # goes when the interpreter has put its handlers back
sys.exit(3)
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")
