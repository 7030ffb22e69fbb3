"""Every command on a terminal of 80 and of 120 columns: no word is broken, and nothing from outside sets the width."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.main import get_command

from pipeline.cli import build, screen, send_test, topics
from pipeline.cli.dlq import listing as listing_module
from pipeline.customerio.sandbox.run import shortened
from pipeline.dodo import samples
from pipeline.kafka.cluster.topics import AddPartitions, CreateTopic, Plan
from tests.cli.screens import STYLES, WIDE, broken, shown

OFFLINE = (
    ["settings"],
    ["events"],
    ["events", "profile"],
    ["events", "payment_completed"],
    ["metrics"],
    ["explain", "--sample"],
    ["explain", "--sample", "payment.succeeded"],
    ["explain", "--state", "--sample", "subscription.renewed"],
    ["topics", "render"],
)
"""Commands that print much and need nothing."""

FRAME = re.compile("[╭╮╰╯─│]")


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the tree, groups too."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*path, name))


COMMANDS = tuple(leaves(get_command(build())))


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", OFFLINE, ids=" ".join)
def test_no_word_is_broken(command: Sequence[str], columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line fits, and each word is one that stands there where nothing has to be wrapped."""
    whole = shown(monkeypatch, command, WIDE)
    if command == ["settings"]:
        whole += shown(monkeypatch, ["settings", "--env"], WIDE)  # with few columns a value stands beside its name
    text = shown(monkeypatch, command, columns)
    assert broken(text, whole, columns) == set()
    if command[0] != "topics":  # a file: its lines are whole
        assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_word_of_a_help_is_broken(command: Sequence[str], columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is with `--help`, where options and defaults stand in columns."""
    texts = [FRAME.sub(" ", shown(monkeypatch, [*command, "--help"], width)) for width in (WIDE, columns)]
    assert broken(texts[1], texts[0], columns) == set()


@given(st.text(alphabet="ab \n", max_size=300), st.integers(20, 100), st.integers(0, 40))
def test_a_wrapped_line_has_the_same_words(text: str, columns: int, indent: int) -> None:
    """Whatever is wrapped, the words stay, in their order, none is cut that fits into a line."""
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None, highlight=False)
    screen.line(console, text, indent=indent)
    if all(len(word) <= columns for word in text.split()):
        assert out.getvalue().split() == text.split()
    assert all(len(one) <= columns for one in out.getvalue().splitlines() if one.strip())


@pytest.mark.parametrize("text", ["x" * 200_000, "a\x1b[2Jb\nc" * 1_000])
def test_a_value_from_outside_has_a_width(text: str) -> None:
    """However long a value is that somebody sent, its cell is not; and nothing in it moves the cursor."""
    shown_ = screen.cell(text)
    assert len(shown_) == screen.LONGEST
    assert shown_.endswith("…")
    assert "\x1b" not in shown_
    assert "\n" not in shown_


@pytest.mark.parametrize("columns", [80, 120, screen.UNBOUNDED])
def test_a_long_type_widens_no_list(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dlq list` with a letter whose type has 200 kB: the others' lines are as long as without it."""
    row: dict[str, Any] = dict.fromkeys(("name", "email", "field", "status", "source", "attempts", "customer"))
    row |= {"at": "2026-11-29T10:00:00.000Z", "partition": 0, "letter": "0/1", "stage": "transform", "replays": 0}
    row |= {"class": "unknown-type", "reason": "no such type", "put_back": 0}
    listing = listing_module._Listing(10)
    listing.add(1, row | {"offset": 1, "type": "payment.succeeded"})
    listing.add(2, row | {"offset": 2, "type": "x" * 200_000})
    out = io.StringIO()
    terminal = columns < screen.UNBOUNDED
    monkeypatch.setattr(listing_module, "output", lambda: Console(file=out, width=columns, force_terminal=terminal))
    listing_module._print_table(listing, reveal=False)
    assert max(map(len, STYLES.sub("", out.getvalue()).splitlines())) <= min(columns, 3 * screen.LONGEST)


def test_a_short_value_is_whole() -> None:
    """Up to the limit nothing is taken away."""
    text = "y" * screen.LONGEST
    assert screen.cell(text) == text


def test_the_sandbox_line_fits() -> None:
    """Its line of what goes on never wraps: what a refresh cannot clear it would leave as a copy."""
    text = "12 requests · 1,000 operations accepted · 3 refused"
    assert shortened(text, 80) == text
    assert shortened(text, 45) == "12 requests · 1,000 operations accepted"
    assert shortened(text, 12) == "12 requests"
    assert shortened(text, 5) == ""


MODULES = sorted(Path(screen.__file__).parent.rglob("*.py"))
WHOLE = {"settings": ("as_json(found)", "as_env(found)"), "topics": ("text",)}
"""Documents that are printed as they are: JSON, an environment file, manifests and scripts."""


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_sentences_are_wrapped_between_words(module: Path) -> None:
    """What commands say goes by the screen; `typer.echo`, which a terminal breaks anywhere, prints documents alone."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    echoed = [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) in {"typer.echo", "print"}]
    assert [one for one in echoed if not one.startswith("json.dumps(") and one not in WHOLE.get(module.stem, ())] == []


FIRST = CreateTopic("shop.dodo.webhooks", 12, -1, {"retention.ms": "2592000000", "max.message.bytes": "1048588"})
PLANNED = Plan(
    (FIRST, AddPartitions("shop.customerio.operations", 6, 12, moves_keys=True, held=True)),
    ("topic shop.orders is in no topic file and is left alone, whoever made it and whatever it holds",),
)
ANSWERS = [
    {"webhook_id": "msg_" + "a" * 27, "type": "subscription.payment_method_updated", "status": 200, "seconds": 0.0421,
     "answer": "{}", "ok": True, "advice": None, "exit_code": 0, "body": samples.load("payment.succeeded")},
]  # fmt: skip
FAILING = """\
rules:
- match: {event: payment_completed}
  rename: A rather long name of an event that somebody likes to read in full
"""
CASES = """\
cases:
- name: a payment that succeeds has the name which the marketing team agreed upon with everybody
  sample: payment.succeeded
  operations: []
"""


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("rules", "check", "RULES"), 0),
        (("rules", "test", "RULES"), 1),
        (("kafka", "status"), 1),
        (("kafka", "down"), 0),
        (("topics", "plan"), 0),
        (("send-test", "--sample", "payment.succeeded"), 0),
        (("--version",), 0),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value),
)
def test_no_word_of_an_answer_is_broken(
    command: Sequence[str], code: int, columns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor of what these say of what they found and did: each line fits, each word is whole."""
    folder = tmp_path / "rules of the marketing team"
    folder.mkdir()
    (folder / "rules.yaml").write_text(FAILING)
    (folder / "rules.tests.yaml").write_text(CASES)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PIPELINE_DODO_WEBHOOK_SECRETS", "whsec_" + "c2VjcmV0" * 4)
    monkeypatch.setattr(topics, "_plan", lambda *_, **__: PLANNED)
    monkeypatch.setattr(send_test, "_post", lambda *_, **__: iter([dict(one) for one in ANSWERS]))
    arguments = ["rules.yaml" if one == "RULES" else one for one in command]
    whole, text = (shown(monkeypatch, arguments, width, code) for width in (WIDE, columns))
    assert broken(text, whole, columns) == set()
    assert max(map(len, text.splitlines())) <= columns


def test_a_sentence_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of it is longer than the terminal, and each of its words is whole."""
    text = "12,345 facts were written to a.topic.with-quite-a-long-name.dodo.customers: transforms can start again now"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", out := Terminal())
    screen.say(text)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).split() == text.split()
