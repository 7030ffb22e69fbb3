"""What is logged while a command runs never lies between the lines that a script reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import logs
from pipeline.cli import build
from pipeline.transform import explain


def test_a_log_line_of_any_command_goes_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that prepares no logs of its own has stdout for itself as well; what is logged is masked."""
    really = explain.explain

    def logging_too(*given: Any, **more: Any) -> Any:
        logs.get("pipeline.somewhere").warning("Odd", who="ann@example.com")
        return really(*given, **more)

    monkeypatch.setattr(explain, "explain", logging_too)
    result = CliRunner().invoke(build(), ["explain", "--sample", "payment.succeeded", "--json"])
    assert json.loads(result.stdout)["verdict"]
    assert "Odd" in result.stderr
    assert "ann@example.com" not in result.stderr
