"""A command that is copied out of a page works: it exists, with every option that stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.commands import commands, fault
from tests.docs.pages import ROOT, pages

FOUND = [(page, line) for page in pages() for line in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_their_options(page: Path) -> None:
    """The help of each command knows the options that the page gives it."""
    found = {line: why for line in commands(page.read_text(encoding="utf-8")) if (why := fault(line)) is not None}
    assert found == {}


def test_commands_are_found() -> None:
    """The search has not gone blind."""
    assert len({line for _, line in FOUND}) > 40


@pytest.mark.parametrize(
    "line", ["dodo-cio lags", "dodo-cio dlq liszt", "dodo-cio lag --wacth", "dodo-cio forget cus_1 -z"]
)
def test_what_is_not_there_is_found(line: str) -> None:
    """A command, a subcommand, an option in either form."""
    assert fault(line) is not None


@pytest.mark.parametrize(
    "line", ["dodo-cio lag --watch  # again and again", "dodo-cio demo --json | jq .ok", "dodo-cio --help"]
)
def test_what_follows_a_command_is_none_of_its_options(line: str) -> None:
    """Remarks and pipes."""
    assert fault(line) is None


def test_both_places_of_commands_are_read() -> None:
    """Blocks with continued lines, and sentences."""
    text = "`dodo-cio lag`\n```bash\nA=b dodo-cio forget \\\n  cus_1\ndocker compose exec transform dodo-cio lag\n```\n"
    assert list(commands(text)) == ["dodo-cio forget    cus_1", "dodo-cio lag", "dodo-cio lag"]
