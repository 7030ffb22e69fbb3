"""`make install` on machines that are not the developer's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PYTHON = """\
#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*) echo pip >> "$LOG"; exit ${PIP_ENDS:-0} ;;
    *"import pipeline"*) exit 0 ;;
    *hashlib*) exec "$REAL" "$@" ;;
    *'%d.%d'*)
        case "$0" in
            *.venv/bin/python) echo 3.12 ;;
            *.venv-3*) basename "${0%/bin/python}" | cut -c7- ;;
            *) basename "$0" | cut -c7- ;;
        esac ;;
    "-m pytest "*) echo "pytest $0 $NO_CYTHON" >> "$LOG.pytest"; exit ${PYTEST_ENDS:-0} ;;
    -VV) echo Python 3.12 ;;
esac
"""
"""Makes environments at no cost, and notes each call of pip."""

OLD = (".SHELLFLAGS=-c",)
"""make 3.81 does not know the variable, and runs recipes as every make does without it."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout below a name with blanks."""
    root = tmp_path / "my own  projects" / "dodo"
    root.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock"):
        shutil.copy(ROOT / name, root)
    stub = tmp_path / "python3.stub"
    stub.write_text(PYTHON)
    stub.chmod(0o755)
    return root


def install(place: Path, *options: str, cwd: Path | None = None, **variables: str) -> int:
    """`make install` there; the exit code."""
    real = shutil.which("python3", path=os.defpath + ":" + os.environ["PATH"])
    environment = {"PATH": os.environ["PATH"], "REAL": str(real), "LOG": str(place / "log"), **variables}
    command = [
        str(shutil.which("make")),
        "-f",
        str(place / "Makefile"),
        f"PYTHON={place.parents[1] / 'python3.stub'}",
        *options,
        "install",
    ]
    return subprocess.run(command, cwd=cwd or place, env=environment, capture_output=True, check=False).returncode


def calls(place: Path) -> int:
    """How often pip was asked."""
    log = place / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("options", [(), OLD], ids=["make", "make 3.81"])
def test_a_path_with_blanks(place: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """It is installed there and nowhere else, from wherever make is called, and the second time nothing is done."""
    assert install(place, *options) == 0
    assert (place / ".venv" / ".stamp").read_text().strip()
    done = calls(place)
    assert done == 2
    assert install(place, *options, cwd=tmp_path) == 0
    assert calls(place) == done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my own  projects", "python3.stub"]


@pytest.mark.parametrize("options", [(), OLD], ids=["make", "make 3.81"])
def test_a_failed_install_is_no_install(place: Path, options: tuple[str, ...]) -> None:
    """The command fails, no stamp says that all is there, and the next call begins anew."""
    assert install(place, *options, PIP_ENDS="1") != 0
    assert calls(place) == 1
    assert not (place / ".venv" / ".stamp").exists()
    assert install(place, *options) == 0
    assert calls(place) == 3


def test_no_sha256sum(place: Path, tmp_path: Path) -> None:
    """A machine without it tells a changed lock from the one that was installed all the same."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("awk", "bash", "cat", "cp", "dirname", "make", "mkdir", "rm", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    assert install(place, PATH=str(tools)) == 0
    with (place / "requirements-dev.lock").open("a") as lock:
        lock.write("# another\n")
    assert install(place, PATH=str(tools)) == 0
    assert calls(place) == 4


def pythons(place: Path, *names: str, **variables: str) -> tuple[int, list[str], str]:
    """`make pythons` with these interpreters: the exit code, which interpreter ran tests, and what was said."""
    directory = place.parents[1]
    for name in ("java", "mvn", *names):
        shutil.copy(directory / "python3.stub", directory / name)
    real = shutil.which("python3", path=os.defpath + ":" + os.environ["PATH"])
    path = f"{directory}:{os.environ['PATH']}"
    environment = {"PATH": path, "REAL": str(real), "LOG": str(place / "log"), "NO_CYTHON": "", **variables}
    command = ["make", "-s", "-f", str(place / "Makefile"), f"PYTHON={directory / 'python3.stub'}", *OLD, "pythons"]
    command.append("PYTHONS=" + " ".join([*(str(directory / name) for name in names), "python3.99"]))
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    ran = place / "log.pytest"
    lines = [line.partition("/dodo/")[2] for line in ran.read_text().splitlines()] if ran.exists() else []
    ran.unlink(missing_ok=True)
    return run.returncode, lines, run.stdout


def test_other_pythons(place: Path) -> None:
    """Each version that is not .venv's runs both kinds of tests in an environment of its own; one not found is said."""
    code, ran, said = pythons(place, "python3.11", "python3.12", "python3.13")
    assert code == 0
    assert ran == [
        ".venv-3.11/bin/python ", ".venv-3.11/bin/python ", ".venv-3.13/bin/python ", ".venv-3.13/bin/python ",
        ".venv/bin/python 1",
    ]  # fmt: skip
    assert "python3.99: not found, so not tested" in said
    done = calls(place)
    assert done == 2 + 2
    assert pythons(place, "python3.11", "python3.12", "python3.13")[0] == 0
    assert calls(place) == done


def test_a_python_on_which_tests_fail(place: Path) -> None:
    """The target fails there and then, also with make 3.81."""
    code, ran, _ = pythons(place, "python3.11", "python3.13", PYTEST_ENDS="1")
    assert code != 0
    assert ran == [".venv-3.11/bin/python "]
