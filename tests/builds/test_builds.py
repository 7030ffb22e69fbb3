"""The wheel with machine code: what is compiled, that it decides the same, and what a build says that cannot be made.

`make compiled` compiles all of it and runs the other tests on it; here is one small module, where there is a compiler.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from pipeline.version import is_compiled
from tests.builds.__main__ import difference

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()
LIST: list[str] = tomllib.loads(PROJECT)["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["compiled"]
MODULES = sorted(path for pattern in LIST for path in ROOT.glob(pattern) if path.name != "__init__.py")

AMOUNTS = """
from pipeline.transform import money
from pipeline.version import described
print(money.__file__.rpartition(".")[2], described())
for value in (4900, -1, True, 49.0, 49.5, "4900", " 1.50 ", "x", 2**53, -(2**53), 2**70, None):
    print(repr(money.minor_of(value)), repr(money.units_of(value)))
for minor in (0, 5, -5, 4900, 2**53, 10**20):
    for exponent in (None, 0, 2, 3):
        print(repr(money.amount_of(minor, exponent)))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a wheel is built from; `make compiled` runs the tests where there is none."""
    if is_compiled():
        pytest.skip("a wheel is built from a checkout")
    for name in ("pipeline", "topics"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "compile_modules.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def build(tree: Path, *modules: str, asks: str = "1") -> subprocess.CompletedProcess[str]:
    """Build the wheel, with these modules in the list."""
    listed = re.sub(r"^compiled = \[.*?^\]", f"compiled = {list(modules)}", PROJECT, flags=re.MULTILINE | re.DOTALL)
    (tree / "pyproject.toml").write_text(listed)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / "out")]
    environment = {**os.environ, "DODO_CIO_COMPILE": asks}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def amounts(directory: Path) -> list[str]:
    """What a build there makes of amounts; its kind first."""
    run = subprocess.run([sys.executable, "-c", AMOUNTS], cwd=directory, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def unpacked(wheel: Path, directory: Path) -> Path:
    """The wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler of C")
def test_a_compiled_module_is_said_and_does_the_same(tree: Path, tmp_path: Path) -> None:
    """The wheel is this platform's, its module is machine code beside its source, and every amount is the same."""
    run = build(tree, "pipeline/transform/money.py")
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = (tree / "out").glob("*.whl")
    assert "none-any" not in wheel.name
    kind, *found = amounts(unpacked(wheel, tmp_path / "wheel"))
    assert kind.startswith("so ")
    assert ", compiled)" in kind
    assert (tmp_path / "wheel" / "pipeline" / "transform" / "money.py").exists()
    python, *expected = amounts(ROOT)
    assert found == expected, python
    assert not list((tree / "pipeline").rglob("*.so")), "a build leaves nothing in the tree"


def test_without_the_variable_a_wheel_is_python(tree: Path) -> None:
    """No compiler is needed, and the wheel is for every platform."""
    assert build(tree, "pipeline/transform/money.py", asks="0").returncode == 0
    (wheel,) = (tree / "out").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]


def test_a_module_that_has_gone(tree: Path) -> None:
    """A name in the list that nothing has any more fails the build, instead of leaving a hot module to Python."""
    run = build(tree, "pipeline/transform/gone.py")
    assert run.returncode != 0
    assert "nothing to compile is called pipeline/transform/gone.py" in run.stderr


def test_the_list_names_modules() -> None:
    """Every line of the list fits something, nothing twice."""
    assert all(list(ROOT.glob(pattern)) for pattern in LIST)
    assert len(MODULES) == len(set(MODULES))
    assert sorted(LIST) == LIST


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_mypyc_does_otherwise(path: Path) -> None:
    """The compiler passes over the `from` of a raise: where it hides a body's text, machine code would not."""
    raised = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    assert not [f"{path}:{node.lineno}" for node in raised if node.cause is not None]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [("a 1\nb 2\n", None), ("a 1\nb 1.0\n", "line 2: b 2"), ("a 1\n", "line 2"), ("a 1\nb 2\nc\n", "line 3")],
)
def test_a_difference_is_found(tmp_path: Path, theirs: str, said: str | None) -> None:
    """The first line that differs is shown, also one that only one of them has."""
    (tmp_path / "ours").write_text("a 1\nb 2\n")
    (tmp_path / "theirs").write_text(theirs)
    found = difference(tmp_path / "ours", tmp_path / "theirs")
    assert (found is None) == (said is None)
    assert said is None or said in str(found)
