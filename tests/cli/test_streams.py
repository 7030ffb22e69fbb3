"""Commands whose standard output is closed, full, no terminal's or of another encoding, as processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import build
from tests import forked
from tests.cli.test_screen import COMMANDS

DODO_CIO = (sys.executable, "-m", "pipeline")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
COMPLAINTS = ("Traceback", "Exception ignored", "Error in")
PRINTING = (
    ["settings"],
    ["settings", "--json"],
    ["explain", "--sample", "payment.succeeded"],
    ["explain", "--sample", "payment.succeeded", "--json"],
    ["topics", "render"],
    ["metrics", "--markdown"],
    ["--help"],
)
"""Each of the ways in which commands write: rich, typer.echo, sys.stdout; less and more than a buffer holds."""


def run(command: Sequence[str], environ: Mapping[str, str] | None = None, *, shell: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error; with `shell`, of the command with that redirection."""
    line = [*DODO_CIO, *command]
    given = ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", *line] if shell else line
    done = subprocess.run(given, capture_output=True, env={**os.environ, **(environ or {})}, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()


@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_a_full_disk(command: Sequence[str]) -> None:
    """What cannot be written is said in one line, exit code 1; never a success, never a traceback."""
    with Path("/dev/full").open("wb") as full:
        done = forked.run([*DODO_CIO, *command], stdout=full.fileno())
    assert (done.returncode, done.stderr) == (
        1,
        "dodo-cio: standard output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize(
    "command", [["explain", "--sample", "license", "--json"], ["settings", "--json"]], ids=" ".join
)
def test_remarks_that_nobody_can_be_told(command: Sequence[str]) -> None:
    """A full disk behind standard error takes a remark away, and nothing of what was asked for."""
    code, out, _ = run(command, {"PIPELINE_NO_SETTING": "1"}, shell="2>/dev/full")
    assert code == 0
    assert json.loads(out)


@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_no_standard_output(command: Sequence[str]) -> None:
    """So it is where standard output is closed from the start."""
    code, _, err = run(command, shell=">&-")
    assert (code, err) == (1, "dodo-cio: standard output cannot be written: Bad file descriptor\n")


@pytest.mark.parametrize("command", [*PRINTING, *([*path, "--help"] for path in COMMANDS if path)], ids=" ".join)
def test_a_reader_that_has_gone(command: Sequence[str]) -> None:
    """`| head` ends every command alike: quietly, with 141."""
    reader, writer = os.pipe()
    os.close(reader)
    done = forked.run([*DODO_CIO, *command], stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_another_encoding(command: Sequence[str], encoding: str) -> None:
    """What an encoding cannot say is escaped, and JSON stays the same document."""
    code, out, err = run(command, {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert code == 0, err
    assert not [sign for sign in COMPLAINTS if sign in err]
    assert out
    if "--json" in command and encoding == "ascii":
        assert json.loads(out) == json.loads(forked.run([*DODO_CIO, *command]).stdout)


def test_nothing_to_read_and_nobody_to_tell() -> None:
    """Closed standard input is an empty one, closed standard error takes nothing but the message."""
    code, _, err = run(["explain", "-"], shell="<&-")
    assert code == 2
    assert "the body is empty" in err
    assert run(["explain", "missing.json"], shell="2>&-")[0] == 2


@pytest.mark.parametrize(
    ("options", "environ", "coloured"),
    [
        ((), {}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (("--color", "always"), {}, True),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color=auto",), {"FORCE_COLOR": "1"}, True),
    ],
)
def test_colours(options: Sequence[str], environ: dict[str, str], coloured: bool) -> None:
    """Colours in a pipe only where they are asked for; NO_COLOR counts, and `--color` wins over the variables."""
    for command in (["explain", "--sample", "payment.succeeded"], ["dlq", "--help"]):
        code, out, _ = run([*options, *command], {"TERM": "xterm-256color", **environ})
        assert code == 0
        assert bool(COLOUR.search(out)) == coloured, command


def test_an_unknown_colour() -> None:
    """Another word is bad usage."""
    assert run(["--color", "sometimes", "events"])[0] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """Each shell's script completes commands: what it asks for is what the tree has."""
    code, script, _ = run(["--show-completion", shell], {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert code == 0
    assert "_DODO_CIO_COMPLETE=complete_" in script
    assert "pipeline" not in script


def test_completion_answers() -> None:
    """Asked as bash asks, it names the commands that begin so."""
    asked = {"_DODO_CIO_COMPLETE": "complete_bash", "COMP_WORDS": "dodo-cio dlq re", "COMP_CWORD": "2"}
    name = Path(sys.executable).parent / "dodo-cio"
    done = subprocess.run([name], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["replay"]
    top = subprocess.run(
        [name], env=os.environ | asked | {"COMP_WORDS": "dodo-cio ", "COMP_CWORD": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    tree = get_command(build())
    assert set(top.stdout.split()) == set(vars(tree)["commands"])
