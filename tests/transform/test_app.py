"""The module that Faust's command line loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.transform.agent import NAME
from pipeline.transform.worker import create_app


def test_the_app() -> None:
    """The app reads the webhooks as the transform's group, with one agent and no other."""
    settings = Settings.load(webhooks_topic="hooks", transform_group="group")
    app = create_app(settings)
    assert (app.conf.id, app.stage, app.batch_topics, list(app.agents)) == (
        "group",
        "transform",
        frozenset({"hooks"}),
        [NAME],
    )


def test_two_apps_share_nothing() -> None:
    """Building an app again (tests, the demo) collides with nothing of the first one."""
    first, second = create_app(Settings.load()), create_app(Settings.load())
    assert first.agents is not second.agents
    assert len(second.agents) == 1


def test_unusable_file() -> None:
    """A file that a setting names and that cannot be used is found before anything starts."""
    with pytest.raises(SettingsError, match="PIPELINE_PRODUCT_NAMES"):
        create_app(Settings.load(product_names="/no/names.yaml"))


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


LOOP = """
import asyncio, sys
sys.argv = ["/usr/bin/faust", *sys.argv[1:]]
import pipeline.{stage}.app
print(type(asyncio.new_event_loop()).__module__)
"""


@pytest.mark.parametrize("stage", ["transform", "sink"])
@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (("worker", "--without-web"), "uvloop"),
        (("--loop", "aio", "worker"), "asyncio.unix_events"),
        (("--loop=aio", "worker"), "asyncio.unix_events"),
        (("tables",), "asyncio.unix_events"),
    ],
    ids=["worker", "told", "told in one word", "another command"],
)
def test_a_worker_of_faust_s_command_has_our_loop(stage: str, arguments: tuple[str, ...], module: str) -> None:
    """It starts the same thing as `dodo-cio`; a loop that was asked for, and Faust's other commands, keep their own."""
    environ = os.environ | {"PIPELINE_CUSTOMERIO_SITE_ID": "site", "PIPELINE_CUSTOMERIO_API_KEY": "key"}
    command = [sys.executable, "-c", LOOP.format(stage=stage), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.split() == [module]


def test_the_room_starts_nothing() -> None:
    """Importing the room, or its mapping, neither builds the app nor loads Faust."""
    loaded = run("import sys, pipeline.transform, pipeline.transform.mapping; print(*sys.modules)").split()
    assert "pipeline.transform.mapping" in loaded
    assert not {"pipeline.transform.app", "faust", "aiokafka"} & set(loaded)
