"""The list of parts is held to the lock file."""

from __future__ import annotations

from typing import Any

import pytest

from tests.release.parts import faults

LOCK = """\
aiokafka==0.14.0 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:00
typing-extensions==4.16.0 \\
    --hash=sha256:00
"""


def document(**versions: str) -> dict[str, Any]:
    """A list of these parts, ours the whole that they make."""
    parts = [{"name": name, "version": version} for name, version in versions.items()]
    whole = {"component": {"name": "dodo-customerio"}}
    return {"bomFormat": "CycloneDX", "metadata": whole, "components": parts}


def test_a_right_list() -> None:
    """Parts for other machines, spelling of names and what a new environment brings are no faults."""
    assert faults(document(aiokafka="0.14.0", typing_extensions="4.16.0", pip="25.0"), LOCK) == []


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"typing_extensions": "4.16.0"}, "aiokafka 0.14.0 is missing"),
        ({"aiokafka": "0.13.0", "typing_extensions": "4.16.0"}, "aiokafka is 0.13.0 instead of 0.14.0"),
        ({"aiokafka": "0.14.0", "typing_extensions": "4.16.0", "left": "1"}, "left is not locked"),
    ],
)
def test_a_wrong_list(parts: dict[str, str], fault: str) -> None:
    """Each kind of difference is named."""
    assert faults(document(**parts), LOCK) == [fault]


def test_no_list() -> None:
    """Anything else is told as that, and a list without the project itself is not ours."""
    assert faults({}, LOCK) == ["it is no CycloneDX document"]
    assert "dodo-customerio itself is missing" in faults({"bomFormat": "CycloneDX"}, LOCK)
