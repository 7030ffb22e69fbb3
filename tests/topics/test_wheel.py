"""An installed wheel knows the topics as a checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """\
import json
from pipeline.kafka.cluster.topics import load_specs
from pipeline.kafka.cluster.topic_specs import topics_directory
from pipeline.settings import Settings
print(json.dumps([str(topics_directory()), sorted(spec.name for spec in load_specs(Settings.load()))]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel, built as a release builds it."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def test_topic_files_are_found(installed: Path, tmp_path: Path) -> None:
    """Away from the checkout, the installed package finds its own copy of the topic files."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
    )
    directory, names = json.loads(run.stdout)
    assert Path(directory) == installed / "pipeline" / "_topics"
    assert names == ["customerio.operations", "dodo-customerio.dead-letters", "dodo.customers", "dodo.webhooks"]


def test_the_whole_contract_is_carried(installed: Path) -> None:
    """Schemas and the AsyncAPI document are in the wheel, byte for byte."""
    for file in sorted((ROOT / "topics").rglob("*")):
        if file.is_file():
            assert (
                installed / "pipeline" / "_topics" / file.relative_to(ROOT / "topics")
            ).read_bytes() == file.read_bytes()


def test_types_are_shipped(installed: Path) -> None:
    """Who imports the package has its types checked (PEP 561)."""
    assert (installed / "pipeline" / "py.typed").is_file()
