"""Commands that pages tell people to type: found in code, and held against what the command line knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from typer.main import get_command

from pipeline.cli import build

FENCED: Final = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE: Final = re.compile(r"`((?:\.venv/bin/)?dodo-cio(?: [^`]*)?)`")
COMMAND: Final = re.compile(
    r"^\s*(?:\$ )?(?:[A-Z_]+=\S* )*(?:\.venv/bin/|docker compose exec \w+ )?(dodo-cio(?: .*)?)$"
)
HELP: Final = frozenset({"--help", "-h"})
ENDS: Final = frozenset({"|", ">", "&&", ";", "||"})


def commands(text: str) -> Iterator[str]:
    """Every command line of `dodo-cio` in a page: in a block, continued lines joined, or in a sentence."""
    for block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := COMMAND.match(line):
                yield found[1]
    for line in INLINE.findall(FENCED.sub("", text)):
        yield line.removeprefix(".venv/bin/")


def fault(line: str) -> str | None:
    """What the command line does not know of `line`; None when it knows all."""
    words = _words(line)[1:]
    command = _root()
    path = ["dodo-cio"]
    while (commands := _commands(command)) and words and not words[0].startswith("-"):
        found = commands.get(words[0])
        if found is None:
            return f"{' '.join(path)} has no command {words[0]}"
        path.append(words.pop(0))
        command = found
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= HELP
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option != "-" and option not in known:
            return f"{' '.join(path)} has no option {option}"
    return None


@cache
def _root() -> Any:
    return get_command(build())


def _commands(command: Any) -> dict[str, Any]:
    """Those of a group; typer's own group type is private."""
    return getattr(command, "commands", {})


def _words(line: str) -> list[str]:
    words = shlex.split(line.replace("…", "."), comments=True)
    end = next((index for index, word in enumerate(words) if word in ENDS), len(words))
    return words[:end]
