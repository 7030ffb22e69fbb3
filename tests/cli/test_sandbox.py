"""`dodo-cio sandbox` says where it is, takes what a sink sends, and ends with 0."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.customerio.batch import join
from pipeline.customerio.client import TrackClient
from pipeline.customerio.operations import identify
from pipeline.customerio.workspace import credentials, resolve
from pipeline.errors import InputError, SettingsError
from pipeline.settings import Settings
from tests import forked
from tests.asking import local_client

Starting = Callable[..., subprocess.Popen[str]]

BODY = join([identify("cus_1", {"email": "jane@example.com"}, timestamp_s=1_795_600_000)])


@pytest.fixture
def starting() -> Iterator[Starting]:
    """Builder: arguments in, the running command out."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", "sandbox", *arguments]
        process = forked.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    """The line that says that it listens."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_zero(starting: Starting, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C are the normal end, without a word on stderr."""
    process = starting()
    assert first_line(process).startswith("Customer.io sandbox at http://127.0.0.1:")
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert err == ""
    assert out.splitlines()[-1].startswith("0 requests")


async def test_its_settings_lead_to_it(starting: Starting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that it prints are all that a sink needs to send to it."""
    process = starting("--json")
    told = json.loads(first_line(process))
    for name, value in told["environment"].items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(data_dir=tmp_path)
    base_url = await resolve(settings)
    assert base_url == told["url"]
    site_id, api_key = credentials(settings)
    async with TrackClient(base_url, site_id, api_key) as client, local_client(base_url) as looking:
        assert (await client.send_batch(BODY)).status == 200
        assert (await looking.get("/__sandbox/people/cus_1")).json()["email"] == "jane@example.com"
    process.terminate()
    out, _ = process.communicate(timeout=300)
    assert out == ""


async def test_options_reach_it(starting: Starting, tmp_path: Path) -> None:
    """Credentials, region and fault script of the command line are in force."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {status: 503, retry_after: 2}\n")
    process = starting("--region", "eu", "--site-id", "s", "--api-key", "k-secret", "--faults", str(faults), "--json")
    told = json.loads(first_line(process))
    assert told["region"] == "eu"
    async with TrackClient(told["url"], "s", SecretStr("k-secret")) as client:
        assert [(await client.send_batch(BODY)).status for _ in range(2)] == [503, 200]
    async with TrackClient(told["url"], "s", "other") as stranger:
        assert (await stranger.send_batch(BODY)).status == 401


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--oversize-status", "500"], "must be 400 or 413"), (["--all-refused-status", "200"], "must be 207 or 400")],
)
def test_wrong_options_are_told(arguments: list[str], told: str) -> None:
    """A value that no answer can have is refused with code 2."""
    result = CliRunner().invoke(build(), ["sandbox", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 2
    assert told in result.stderr


def test_an_address_that_is_no_text_is_told() -> None:
    """A name that no resolver can be asked for is a wrong option."""
    error = CliRunner().invoke(build(), ["sandbox", "--host", "caf\udce9"]).exception
    assert isinstance(error, SettingsError)
    assert "cannot listen on" in str(error)


def test_a_wrong_fault_script_is_told(tmp_path: Path) -> None:
    """A script with a mistake stops the start and names file, step and key."""
    faults = tmp_path / "faults.json"
    faults.write_text('[{"drp": "after"}]')
    result = CliRunner().invoke(build(), ["sandbox", "--faults", str(faults)])
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert "faults.json: step 1: drp" in str(result.exception)


def test_help_has_examples() -> None:
    """The help shows how to use it."""
    result = CliRunner().invoke(build(), ["sandbox", "--help"])
    assert result.exit_code == 0
    assert "dodo-cio sandbox --port" in result.stdout
