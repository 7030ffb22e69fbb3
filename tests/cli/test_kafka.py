"""`dodo-cio kafka` runs one broker, finds it again, and keeps out of the way of a named one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.errors import InputError
from pipeline.kafka.local.broker import LocalKafka, free_port
from tests.kafka.shared import SharedKafka

VARIABLE = "PIPELINE_KAFKA_BOOTSTRAP_SERVERS"


def run(*arguments: str, **environ: str) -> tuple[int, dict[str, Any], BaseException | None]:
    """Exit code, JSON and exception of `dodo-cio kafka … --json`."""
    result = CliRunner().invoke(build(), ["kafka", *arguments, "--json"], env=environ)
    return result.exit_code, json.loads(result.stdout or "{}"), result.exception


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory whose broker ends with the test."""
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path))
    yield tmp_path
    broker = LocalKafka.attach(tmp_path / "kafka")
    if broker:
        broker.stop()


@pytest.mark.parametrize("arguments", [["up"], ["down"], ["status"]])
def test_a_directory_that_cannot_be(tmp_path: Path, arguments: list[str]) -> None:
    """The setting is named, exit code 2."""
    exception = run(*arguments, PIPELINE_DATA_DIR=str(tmp_path / ("x" * 300)))[2]
    assert isinstance(exception, InputError)
    assert str(exception).startswith("PIPELINE_DATA_DIR: ")


def test_nothing_runs_below_a_file(tmp_path: Path) -> None:
    """A data directory that is a file has no broker."""
    (tmp_path / "file").touch()
    environ = {"PIPELINE_DATA_DIR": str(tmp_path / "file")}
    assert run("status", **environ)[:2] == (1, {"status": "stopped", "bootstrap_servers": "localhost:9092"})
    assert run("down", **environ)[0] == 0


@pytest.mark.kafka
def test_up_status_down(data_dir: Path) -> None:
    """Up starts a broker once, status finds it, a differing wish is refused, down stops it and up finds its data."""
    assert run("status")[:2] == (1, {"status": "stopped", "bootstrap_servers": "localhost:9092"})
    code, first, _ = run("up", "--port", "0", "--heap-mb", "256")
    assert (code, first["status"], first["started"]) == (0, "running", True)
    assert Path(first["log"]).parent.parent == data_dir

    code, again, _ = run("up", "--port", "0")
    assert (code, again["started"], again["pid"]) == (0, False, first["pid"])
    assert run("status")[:2] == (0, {"status": "running", **{k: v for k, v in again.items() if k not in KNOWN_BY_UP}})
    for wish in (["--version", "4.3.1"], ["--port", str(free_port())]):
        assert isinstance(run("up", *wish)[2], InputError)

    # Two at once: the second one waits and finds the broker of the first.
    assert run("down")[1] == {"status": "stopped", "was_running": True, "data_deleted": False}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline", "kafka", "up", "--port", "0", "--heap-mb", "256", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    seen = [json.loads(process.communicate()[0]) for process in both]
    assert sorted(facts["started"] for facts in seen) == [False, True]
    assert {facts["bootstrap_servers"] for facts in seen} == {first["bootstrap_servers"]}

    assert run("down", "--delete-data")[1] == {"status": "stopped", "was_running": True, "data_deleted": True}
    assert not (data_dir / "kafka" / "data").exists()
    assert run("down")[:2] == (0, {"status": "stopped", "was_running": False, "data_deleted": False})


KNOWN_BY_UP = {"status", "started"}


def test_a_named_broker_wins(data_dir: Path) -> None:
    """When the environment names a broker, up says so and starts nothing, down leaves it alone."""
    named = f"127.0.0.1:{free_port()}"
    code, said, _ = run("up", **{VARIABLE: named})
    assert (code, said) == (0, {"status": "given", "started": False, "bootstrap_servers": named})
    assert run("down", **{VARIABLE: named})[1]["was_running"] is False
    assert not (data_dir / "kafka").exists()


@pytest.mark.kafka
def test_status_of_a_named_broker(kafka: SharedKafka) -> None:
    """Status asks the named broker itself: 0 when it answers, 1 with the reason when it does not."""
    code, said, _ = run("status", **{VARIABLE: kafka.bootstrap_servers})
    assert (code, said["status"]) == (0, "given")
    code, said, _ = run("status", **{VARIABLE: f"127.0.0.1:{free_port()}"})
    assert (code, said["status"]) == (1, "unreachable")
    assert "nothing listens there" in said["reason"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": 1, "version": "4.2.1"}'])
def test_a_damaged_state_file_names_no_broker(data_dir: Path, text: str) -> None:
    """A state file that is not whole, or whose process is another program by now, is no running broker."""
    directory = data_dir / "kafka"
    directory.mkdir()
    (directory / "state.json").write_text(text)
    assert run("down")[1]["was_running"] is False


def test_a_reused_pid_is_not_killed(data_dir: Path) -> None:
    """After a reboot the recorded pid may be anything; only a process that runs this broker is stopped."""
    directory = data_dir / "kafka"
    directory.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        state = {
            "pid": other.pid,
            "version": "4.2.1",
            "clients": 1,
            "controller": 2,
            "command": ["java", "s.properties"],
        }
        (directory / "state.json").write_text(json.dumps(state))
        assert run("down")[1]["was_running"] is False
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0
