"""Libraries that run without their compiled parts are told, with what it costs and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from aiokafka.record import default_records
from faust import streams
from structlog.testing import capture_logs

from pipeline.compiled import PARTS, REMEDY, check_compiled, replaced
from pipeline.doctor.installation import installation
from pipeline.ingest.app import create_app
from pipeline.settings import Settings, Stage
from pipeline.sink.worker import SinkProcess
from pipeline.transform.worker import _check
from tests.conftest import ChainSettings

SAID = "Libraries run without their compiled parts"


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two libraries that put Python in the place of their compiled parts have done so."""
    monkeypatch.setattr(default_records, "DefaultRecordBatch", vars(default_records)["_DefaultRecordBatchPy"])
    monkeypatch.setattr(streams, "_CStreamIterator", None)


def test_the_locked_wheels_are_compiled() -> None:
    """With what is installed for these tests nothing is said, at a start or by the doctor."""
    assert replaced() == []
    with capture_logs() as lines:
        check_compiled("transform")
    assert lines == []
    (found,) = installation(Settings.load())
    assert found.verdict == "ok"
    assert all(part.name in found.text for part in PARTS)


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("ingest", ["aiokafka"]),
        ("transform", ["aiokafka", "faust-streaming"]),
        ("sink", ["aiokafka", "faust-streaming"]),
    ],
)
@pytest.mark.usefixtures("interpreted")
def test_a_start_says_it_in_one_line(stage: Stage, parts: list[str]) -> None:
    """Which parts of those that the stage runs, what each costs, and what to do."""
    with capture_logs() as lines:
        check_compiled(stage)
    (line,) = lines
    assert (line["event"], line["log_level"], list(line["parts"])) == (SAID, "warning", parts)
    assert "0.23 ms" in line["parts"]["aiokafka"]
    assert line["remedy"] == REMEDY


@pytest.mark.usefixtures("interpreted")
def test_the_doctor_says_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning for each library; the variable that switches it off is the remedy where it is set."""
    monkeypatch.setenv("NO_CYTHON", "1")
    found = {one.subject: one for one in installation(Settings.load())}
    assert {name: one.verdict for name, one in found.items()} == {"aiokafka": "warning", "faust-streaming": "warning"}
    assert found["aiokafka"].remedy == REMEDY
    assert found["faust-streaming"].remedy == "unset NO_CYTHON"


@pytest.mark.parametrize("name", ["orjson.orjson", "httptools.parser.parser", "uvloop.loop", "lmdb.cpython"])
def test_one_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library whose extension is another file than Python loads extensions from, or none, is told."""
    monkeypatch.setitem(sys.modules, name, type(sys)(name))
    assert [part.name for part in replaced()] == [name.partition(".")[0]]
    assert [one.subject for one in installation(Settings.load())] == [name.partition(".")[0]]


def test_the_real_command() -> None:
    """Switched off as a platform without wheels has it, the doctor's exit code is 1 and both are named."""
    environ = {**os.environ, "NO_CYTHON": "1", "AIOKAFKA_NO_EXTENSIONS": "1"}
    command = [sys.executable, "-m", "pipeline", "doctor", "--only", "installation", "--json"]
    run = subprocess.run(command, env=environ, capture_output=True, check=False)
    document = json.loads(run.stdout)
    assert (run.returncode, document["exit_code"]) == (1, 1), run.stderr
    assert {one["subject"]: one["remedy"] for one in document["findings"]} == {
        "aiokafka": "unset AIOKAFKA_NO_EXTENSIONS",
        "faust-streaming": "unset NO_CYTHON",
    }


@pytest.mark.kafka
@pytest.mark.usefixtures("interpreted")
async def test_every_stage_looks(chain_settings: ChainSettings, tmp_path: Any) -> None:
    """Each of the three says it at its start on a real Kafka, once, and goes on."""
    settings = await chain_settings(
        partitions=1,
        data_dir=tmp_path,
        customerio_site_id="site",
        customerio_api_key="key",
        dodo_webhook_secrets="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    app, sink = create_app(settings), SinkProcess(settings)
    with capture_logs() as lines:
        async with app.router.lifespan_context(app):
            pass
        await _check(settings)
        await sink._check()
    told = [list(line["parts"]) for line in lines if line["event"] == SAID]
    assert told == [["aiokafka"], ["aiokafka", "faust-streaming"], ["aiokafka", "faust-streaming"]]
