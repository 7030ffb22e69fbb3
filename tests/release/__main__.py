"""`make dist`: sdist, wheel and list of parts in dist/, then the demo out of an environment that has nothing else.

The wheel is built from the unpacked sdist, so both are whole; what is installed is what requirements.lock pins.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.version import commit
from tests.release.parts import faults

ROOT = Path(__file__).parents[2]


def run(arguments: Sequence[str | Path], cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a step; its output is handed back, its failure ends all."""
    found = subprocess.run(
        [str(one) for one in arguments], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode:
        sys.exit(f"{found.stdout}\nmake dist: exit code {found.returncode} of {' '.join(map(str, arguments))}")
    return found.stdout


def say(text: str) -> None:
    """Show it at once: the next step takes a while."""
    sys.stdout.write(text)
    sys.stdout.flush()


def built(scratch: Path) -> tuple[Path, Path]:
    """The sdist of this tree, and the wheel of that sdist."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", scratch / "out"], ROOT)
    (sdist,) = (scratch / "out").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "source", filter="data")
    (source,) = (scratch / "source").iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch / "out"], source)
    (wheel,) = (scratch / "out").glob("*.whl")
    return sdist, wheel


def installed(wheel: Path, place: Path) -> Path:
    """A new environment with the locked parts and the wheel; its Python."""
    run([sys.executable, "-m", "venv", place], place.parent)
    python = place / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--require-hashes", "--only-binary=:all:", "-r", ROOT / "requirements.lock"], place.parent)
    run([*pip, wheel], place.parent)
    run([python, "-m", "pip", "check"], place.parent)
    return python


def main() -> None:
    """Build, install, list, demo; only what passed all of it is put into dist/."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__)
    parser.add_argument("cyclonedx", type=Path, help="the program cyclonedx-py")
    parser.add_argument("--webhooks", default="500", help="of the demo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dodo-customerio-dist-") as name:
        scratch = Path(name)
        source = commit()  # by now: all that follows takes minutes, in which somebody may go on writing
        sdist, wheel = built(scratch)
        python = installed(wheel, scratch / "environment")
        parts = scratch / f"{wheel.name.split('-py3')[0]}.cdx.json"
        run([options.cyclonedx, "environment", "--pyproject", ROOT / "pyproject.toml", "--output-reproducible",
             "--output-file", parts, python], scratch)  # fmt: skip
        if wrong := faults(json.loads(parts.read_text()), (ROOT / "requirements.lock").read_text()):
            sys.exit("make dist: the list of parts is not what is locked:\n" + "\n".join(wrong))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "PYTHON"))}
        command = python.parent / "dodo-cio"
        version = run([command, "--version"], scratch, clean)
        if f"(commit {source}" not in version:
            sys.exit(f"make dist: built from commit {source}, and the wheel says {version}")
        say(version)
        say(run([command, "demo", "--webhooks", options.webhooks], scratch, clean))
        (ROOT / "dist").mkdir(exist_ok=True)
        for file in (sdist, wheel, parts):
            say(f"{shutil.copy(file, ROOT / 'dist')}\n")


if __name__ == "__main__":
    main()
