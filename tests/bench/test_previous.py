"""The project at another commit: its own files, or git's word that there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench.previous import REPOSITORY, export

pytestmark = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="no clone, so there are no other commits")


def test_the_tree_is_that_of_the_commit(tmp_path: Path) -> None:
    """What a contender imports is there, as the commit has it; asked for again nothing is written."""
    tree = export("HEAD", tmp_path)
    shown = subprocess.check_output(("git", "-C", str(REPOSITORY), "show", "HEAD:pipeline/errors.py"))
    assert (tree / "pipeline/errors.py").read_bytes() == shown
    assert (tree / "tests/bench/contenders/ours.py").is_file()
    (tree / "pipeline/errors.py").write_bytes(b"")
    assert export("HEAD", tmp_path) == tree
    assert (tree / "pipeline/errors.py").read_bytes() == b""


def test_a_commit_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With git's own message."""
    with pytest.raises(FileNotFoundError, match="no-such-commit"):
        export("no-such-commit", tmp_path)
