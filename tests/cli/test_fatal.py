"""The last words of a stage are in the form of its log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from pipeline.ingest.workers.addresses import announce
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings

STAGES = (["ingest"], ["transform"], ["sink"])
FAUST = (["faust", "-A", "pipeline.sink.app"], ["faust", "-A", "pipeline.transform.app"])


def run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, list[str]]:
    """Exit code and lines of standard error."""
    module = command if command[0] == "faust" else ["pipeline", *command]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    words = [sys.executable, "-m", *module, *(["worker", "--without-web"] if command[0] == "faust" else [])]
    done = subprocess.run(words, env={**bare, **environ}, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("command", [*STAGES, *FAUST], ids=" ".join)
def test_a_setting_at_fault(command: Sequence[str]) -> None:
    """With JSON logs the only line is JSON, with the code; without, the first line has the variable."""
    wrong = {"PIPELINE_LANES": "many"}
    code, lines = run(command, wrong | {"PIPELINE_LOG_FORMAT": "json"})
    (told,) = map(json.loads, lines)
    assert (code, told["exit_code"], told["level"]) == (2, 2, "critical")
    assert told["message"].startswith("PIPELINE_LANES: ")
    code, lines = run(command, wrong)
    assert code == 2
    assert lines[0].startswith("dodo-cio: PIPELINE_LANES: ")


def test_no_broker_in_json() -> None:
    """A start that fails later says why in one last line, and no list of services that stop stands before it."""
    code, lines = run(
        ["transform", "--port", "0"],
        {"PIPELINE_LOG_FORMAT": "json", "PIPELINE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"},
    )
    told = [json.loads(line) for line in lines]
    assert code == 1
    assert told[-1]["message"].startswith("no Kafka broker could be used")
    assert [line["level"] for line in told].count("error") == 1
    assert not [line for line in told if "Stopping" in line["message"]]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_listening(log_format: str) -> None:
    """The address is in the log either way; plain text is for people alone."""
    said: list[str] = []
    settings = Settings.load(host="127.0.0.1", log_format=log_format)
    with capture_logs() as logged:
        announce(settings, 8080, 9080, said.append)
    assert [(line["event"], line["address"]) for line in logged] == [
        ("Probes and metrics on", "http://127.0.0.1:9080"),
        ("Listening on", "http://127.0.0.1:8080/webhooks/dodo"),
    ]
    assert said == ([] if log_format == "json" else [f"{one['event']} {one['address']}" for one in logged])
