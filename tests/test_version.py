"""What runs says which commit it is of."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline import __version__
from pipeline.version import BUILT_FROM, commit, described, is_compiled

ROOT = Path(__file__).parents[1]


def git(place: Path, *arguments: str) -> str:
    """Git's answer in `place`, as nobody in particular."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The top of a work tree with one commit, tagged as releases are."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "code.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "pipeline")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    git(tmp_path, "tag", "-a", "-m", "Release", "v1")
    return tmp_path


def test_a_checkout(checkout: Path) -> None:
    """Git's own commit, tag or not, and that something differs from it."""
    head = git(checkout, "rev-parse", "HEAD")[:12]
    assert commit(checkout / "pipeline") == head
    (checkout / "pipeline" / "code.py").write_text("pass")
    assert commit(checkout / "pipeline") == f"{head}+changed"


def test_what_a_build_wrote_wins(checkout: Path) -> None:
    """An installed package says what it was built from, wherever it lies."""
    (checkout / "pipeline" / BUILT_FROM).write_text("0123456789ab\n")
    assert commit(checkout / "pipeline") == "0123456789ab"
    assert described(checkout / "pipeline").startswith(f"dodo-cio {__version__} (commit 0123456789ab), Python 3.")


def test_inside_another_repository(checkout: Path) -> None:
    """A package that lies in somebody else's work tree does not take that commit for its own."""
    package = checkout / "venv" / "pipeline"
    package.mkdir(parents=True)
    assert commit(package) is None
    assert "(commit unknown)" in described(package)


def test_compiled_code_is_said(tmp_path: Path) -> None:
    """A package with a module of machine code says so, and one without does not."""
    assert "compiled" not in described(tmp_path)
    (tmp_path / "fast.cpython-312-x86_64-linux-gnu.so").touch()
    assert "(commit unknown, compiled)" in described(tmp_path)


def test_the_command() -> None:
    """`dodo-cio --version` is that one line."""
    command = [sys.executable, "-m", "pipeline", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(rf"dodo-cio {re.escape(__version__)} \(commit [^\s,]+(, compiled)?\), .*\n", said)
    assert ("compiled" in said) == is_compiled()


@pytest.mark.skipif(is_compiled(), reason="a wheel is built from a checkout")
def test_a_wheel_knows_its_commit(checkout: Path) -> None:
    """The build writes it into the package; what is read there is what the tree said."""
    for name in ("pipeline", "topics"):
        shutil.copytree(ROOT / name, checkout / name, dirs_exist_ok=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    git(checkout, "add", "pipeline")
    git(checkout, "commit", "-q", "-m", "Have code")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(checkout / "out")]
    subprocess.run(build, cwd=checkout, check=True)
    (wheel,) = (checkout / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        told = archive.read(f"pipeline/{BUILT_FROM}").decode().removesuffix("\n")
    assert told == commit(checkout / "pipeline") == git(checkout, "rev-parse", "HEAD")[:12]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("pyproject.toml", lambda text: tomllib.loads(text)["project"]["version"]),
        ("topics/asyncapi.yaml", lambda text: yaml.safe_load(text)["info"]["version"]),
        ("Dockerfile", lambda text: re.findall(r'image\.version="([^"]+)"', text)[0]),
        ("docs/deploy/compose/docker-compose.yml", lambda text: re.findall(r"image: dodo-customerio:(\S+)", text)[0]),
    ],
)
def test_every_place_names_this_version(place: str, says: Callable[[str], str]) -> None:
    """A release raises all of them; the manifests are held by tests/deploy."""
    assert says((ROOT / place).read_text(encoding="utf-8")) == __version__
