"""The module that Faust's command line loads."""

from __future__ import annotations

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


def test_the_room_starts_nothing() -> None:
    """Importing the room, or its mapping, neither builds the app nor loads Faust."""
    loaded = run("import sys, pipeline.transform, pipeline.transform.mapping; print(*sys.modules)").split()
    assert "pipeline.transform.mapping" in loaded
    assert not {"pipeline.transform.app", "faust", "aiokafka"} & set(loaded)
