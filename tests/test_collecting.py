"""One process compiles the tests, the others wait."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.collecting import FirstCollector, is_compiled, wait_for_the_first


def test_the_others_wait() -> None:
    """They go on once the first one has collected, and whoever comes later does not wait."""
    first = FirstCollector(needed=True)
    lock = first.lock
    assert lock is not None
    waiting = threading.Thread(target=wait_for_the_first, args=(lock,), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    first.end()
    waiting.join(60)
    assert not waiting.is_alive()
    wait_for_the_first(lock)
    first.end()
    assert first.lock is None


def test_nobody_waits_for_what_is_there() -> None:
    """Where the tests are compiled there is nothing to wait for."""
    assert FirstCollector(needed=False).lock is None


def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled is where most files are, or where nothing is ever written."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for name in ("a", "b", "c"):
        (tmp_path / f"test_{name}.py").touch()
    (tmp_path / "test_a.cpython-311-pytest.pyc").touch()
    assert not is_compiled(tmp_path)
    (tmp_path / "test_b.cpython-311-pytest.pyc").touch()
    assert is_compiled(tmp_path)
    (tmp_path / "test_b.cpython-311-pytest.pyc").unlink()
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert is_compiled(tmp_path)
