"""A container asks its own stage whether it lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.healthcheck import DEFAULT_PORTS, address_of, main, stage_of
from pipeline.settings import DEFAULT_PORTS as OF_SETTINGS


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("/opt/venv/bin/python /opt/venv/bin/dodo-cio ingest", "ingest"),
        ("/sbin/docker-init -- dodo-cio sink --port 9000", "sink"),
        ("dodo-cio --color always transform", "transform"),
        ("dodo-cio --color=always transform --accept-state-loss", "transform"),
        ("faust -A pipeline.transform.app worker --without-web", "transform"),
        ("faust --loglevel info -A pipeline.sink.app worker", "sink"),
        ("dodo-cio topics apply --yes", None),
        ("dodo-cio dlq list --stage sink", None),
        ("dodo-cio --help", None),
        ("sleep ingest", None),
        ("dodo-cio", None),
        ("", None),
    ],
)
def test_which_stage_it_is(command: str, stage: str | None) -> None:
    """It is read from the container's own command, whatever stands before and behind; other commands are no stage."""
    assert stage_of(command.split(" ")) == stage


@pytest.mark.parametrize(
    ("command", "environ", "expected"),
    [
        ("dodo-cio ingest", {}, ("127.0.0.1", 8080)),
        ("dodo-cio transform", {}, ("127.0.0.1", 8081)),
        ("dodo-cio sink", {"PIPELINE_PORT": "", "PIPELINE_HOST": "0.0.0.0"}, ("127.0.0.1", 8082)),
        ("dodo-cio ingest", {"PIPELINE_PORT": "8080", "PIPELINE_ADMIN_PORT": "9080"}, ("127.0.0.1", 9080)),
        ("dodo-cio sink", {"PIPELINE_PORT": "7000", "PIPELINE_ADMIN_PORT": "9080"}, ("127.0.0.1", 7000)),
        ("dodo-cio ingest --admin-port 1 --port 2", {"PIPELINE_ADMIN_PORT": "9080"}, ("127.0.0.1", 1)),
        ("dodo-cio sink --port=3 --host 10.0.0.7", {"PIPELINE_PORT": "7000"}, ("10.0.0.7", 3)),
        ("dodo-cio sink", {"PIPELINE_HOST": "::"}, ("127.0.0.1", 8082)),
    ],
)
def test_where_it_answers(command: str, environ: dict[str, str], expected: tuple[str, int]) -> None:
    """Flags win over settings, settings over the stage's own port; ingest's probes may have a port of their own."""
    words = command.split(" ")
    stage = stage_of(words)
    assert stage is not None
    assert address_of(stage, words, environ) == expected


def test_settings_in_files(tmp_path: Path) -> None:
    """A setting may lie in a file, as a mounted secret does; a flag wins over it."""
    for name, text in (("host", "10.0.0.7\n"), ("port", "7000\r\n"), ("admin", "9080\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    environ = {
        "PIPELINE_HOST_FILE": str(tmp_path / "host"),
        "PIPELINE_PORT_FILE": str(tmp_path / "port"),
        "PIPELINE_ADMIN_PORT_FILE": str(tmp_path / "admin"),
    }
    assert address_of("sink", ["dodo-cio", "sink"], environ) == ("10.0.0.7", 7000)
    assert address_of("ingest", ["dodo-cio", "ingest"], environ) == ("10.0.0.7", 9080)
    assert address_of("sink", ["dodo-cio", "sink", "--port", "3"], environ) == ("10.0.0.7", 3)


def test_a_setting_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is none, or a file that is gone, is one line and no health."""
    for name, value in (("PIPELINE_PORT", "http"), ("PIPELINE_PORT_FILE", "/nowhere/port")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert main(["dodo-cio", "sink"]) == 1
        assert capsys.readouterr().out.count("\n") == 1


def test_ports_are_those_of_the_settings() -> None:
    """The settings are not imported for it, and say the same."""
    assert dict(DEFAULT_PORTS) == dict(OF_SETTINGS)


@pytest.fixture
def stage() -> Iterator[HTTPServer]:
    """Something that answers /live with its attribute `verdict`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = getattr(self.server, "verdict") if self.path == "/live" else (404, "")  # noqa: B009 - ours
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"live": status == 200, "reason": text}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_alive_and_not(stage: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """0 while it says that it lives; 1 with its reason when it does not, with the address when nobody answers."""
    monkeypatch.setenv("PIPELINE_PORT", str(stage.server_port))
    setattr(stage, "verdict", (200, "records flow"))  # noqa: B010 - ours
    assert main(["dodo-cio", "sink"]) == 0
    assert capsys.readouterr().out == ""
    setattr(stage, "verdict", (503, "nothing moves for 90 s"))  # noqa: B010 - ours
    assert main(["dodo-cio", "sink"]) == 1
    assert "503: nothing moves for 90 s" in capsys.readouterr().out
    stage.server_close()
    assert main(["dodo-cio", "sink"]) == 1
    assert f"nobody answers at 127.0.0.1:{stage.server_port}" in capsys.readouterr().out
    assert main(["dodo-cio", "topics", "apply"]) == 0


def test_it_is_a_program_and_a_small_one(stage: HTTPServer) -> None:
    """`python -m pipeline.healthcheck` ends with the code, and imports neither settings nor any library."""
    setattr(stage, "verdict", (503, "no"))  # noqa: B010 - ours
    environ = {**os.environ, "PIPELINE_PORT": str(stage.server_port)}
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.healthcheck", "dodo-cio", "transform"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "http.client" in imported
    assert not imported & {"pydantic", "typer", "pipeline.settings", "pipeline.cli", "structlog"}
