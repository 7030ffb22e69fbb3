"""docs/operating.md is written by hand, but for tables that repeat what the code says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pipeline.cli.exit_codes import as_markdown
from pipeline.deadletters.advice import ADVICE
from pipeline.kafka.cluster.rights import COMMANDS, STAGES, rights_of, united
from pipeline.settings import Settings

PAGE: Final = Path(__file__).parents[2] / "docs" / "operating.md"

BLOCK: Final = re.compile(r"(<!-- made by `make docs`: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def operating_page() -> str:
    """The page as it is, with its tables of today."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", PAGE.read_text(encoding="utf-8"))


def _rights() -> str:
    """What the start checks ask for and `topics render` prints, and nothing else."""
    settings = Settings.model_construct()
    lines = ["| who | may do |", "|---|---|"]
    for who in (*STAGES, *COMMANDS):
        rights = united(rights_of(who, settings))
        words = "; ".join(
            f"{', '.join(operation.word for operation in operations)} on {kind} `{name}`"
            for (kind, name), operations in rights.items()
        )
        lines.append(f"| `dodo-cio {who}` | {words} |")
    return "\n".join(lines) + "\n"


def _dead_letters() -> str:
    """What `dodo-cio dlq` says of each class."""
    lines = ["| class | what it means, and what to do |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{class_}` | {advice} |" for class_, advice in ADVICE.items())]) + "\n"


def _exit_codes() -> str:
    """What `dodo-cio --help` says of them."""
    return as_markdown() + "\n"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "exit-codes": _exit_codes,
    "rights": _rights,
    "dead-letters": _dead_letters,
}
"""By the name that the page gives the table."""
