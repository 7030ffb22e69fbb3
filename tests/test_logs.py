"""Nothing private reaches a log line, whoever wrote it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pipeline import logs
from pipeline.logs import FORBIDDEN_KEYS, Redaction


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Logging is global: other tests must find it as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs.QUIET}
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


Lines = Callable[[], str]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was written to stderr since the last call."""
    return lambda: capsys.readouterr().err


def test_json_line(lines: Lines) -> None:
    """A line for a collector is one JSON object with message, level, logger, time and the given fields."""
    logs.configure(log_format="json")
    logs.get("pipeline.sink.lanes").warning("lane held", lane=3, seconds=1.5)
    line = json.loads(lines())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "message": "lane held",
        "level": "warning",
        "logger": "pipeline.sink.lanes",
        "lane": 3,
        "seconds": 1.5,
    }


def test_console_line(lines: Lines) -> None:
    """A line for a person holds the same in words, without colour codes in a file."""
    logs.configure(log_format="console")
    logs.get("pipeline").info("started", stage="sink")
    line = lines()
    assert "started" in line
    assert "stage=sink" in line
    assert "\x1b" not in line


def test_third_party_lines_are_cleaned(lines: Lines) -> None:
    """A library's own message goes through the same redaction."""
    logs.configure(log_format="json", secrets=["hunter2secret"])
    logging.getLogger("aiokafka.conn").error("auth failed for %s with %s", "jane@example.com", "hunter2secret")
    line = json.loads(lines())
    assert line["message"] == "auth failed for [email] with [secret]"
    assert (line["level"], line["logger"]) == ("error", "aiokafka.conn")


def test_tracebacks_are_cleaned(lines: Lines) -> None:
    """An exception's text is cleaned too, in ours and in a library's lines."""
    logs.configure(log_format="json")
    for log in (logs.get("pipeline"), logging.getLogger("faust")):
        try:
            int("jane@example.com")
        except ValueError:
            log.exception("failed")
    written = lines().splitlines()
    assert len(written) == 2
    for line in written:
        assert "ValueError: invalid literal" in json.loads(line)["exception"]
        assert "jane@" not in line


def test_logging_imports_no_rich() -> None:
    """A process that only logs does not pay for Rich; one that draws a table has it all the same."""
    program = (
        "import sys\n"
        "from pipeline import logs\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'rich']\n"
        "logs.configure()\n"
        "try:\n"
        "    int('jane@example.com')\n"
        "except ValueError:\n"
        "    logs.get('pipeline').exception('failed')\n"
        "import rich.table\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "ValueError: invalid literal" in ended.stderr
    assert "jane@" not in ended.stderr


@pytest.mark.parametrize("name", sorted(FORBIDDEN_KEYS))
def test_forbidden_fields(lines: Lines, name: str) -> None:
    """A field that would hold content shows its length at most, at any depth."""
    logs.configure(log_format="json")
    logs.get("pipeline").info("seen", **{name: "Jane Doe", "inside": {name: [b"Jane"]}})
    line = json.loads(lines())
    assert line[name] == "[8 removed]"
    assert line["inside"] == {name: "[removed]"}


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("to jane.doe+tag@mail.example.com, now", "to [email], now"),
        ("<jane@example.com>;joe@example.org", "<[email]>;[email]"),
        ("key whsec_AbC/+=123 used", "key [secret] used"),
        ("Authorization: Basic c2l0ZTprZXk6MTIz", "Authorization: [secret]"),
        ("authorization: bearer abcdefgh.ijkl", "authorization: [secret]"),
        (b"raw bytes", "[9 bytes]"),
        (bytearray(b"raw"), "[3 bytes]"),
        (["jane@example.com", 3, None, True, 1.5], ["[email]", 3, None, True, 1.5]),
        ({"to": ("jane@example.com",)}, {"to": ["[email]"]}),
        (ValueError("jane@example.com"), "[email]"),
        ("mail @ noon, a@b", "mail @ noon, a@b"),
    ],
)
def test_clean(value: Any, cleaned: Any) -> None:
    """Addresses and secrets are masked inside any value; what is none stays readable."""
    assert Redaction().clean(value) == cleaned


@pytest.mark.parametrize("secret", ["pa:ss@word.with;rest", "jane@example.com=tail", "a whsec_abc@d.ef of one's own"])
def test_a_secret_that_looks_like_an_address(secret: str) -> None:
    """A known secret is masked whole, whatever a part of it looks like."""
    assert Redaction([secret]).clean(f"with {secret}, now") == "with [secret], now"


def test_a_value_makes_no_line_of_its_own(lines: Lines) -> None:
    """For a person too, one record is one line and what is indented under it: nobody's text can pose as another."""
    forged = "x\n2026-01-01T00:00:00Z [info     ] forged\r\x1b[2J\x85y\u2028z"
    logs.configure(log_format="console")
    logs.get("pipeline").warning("odd", what=forged, many=[forged])
    assert len(lines().splitlines()) == 1
    logging.getLogger("faust").warning("odd %s", forged)
    logs.get("pipeline").error("failed", exc_info=ValueError(forged))
    written = lines()
    assert not [line for line in written.split("\n") if "forged" in line and not line.startswith("    ")]
    assert "    ValueError: x" in written
    assert written.splitlines() == written.split("\n")[:-1]
    assert "\x1b" not in written


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_nobody_logs_is_cleaned(log_format: str) -> None:
    """Errors that end the process or a thread, or that nobody can catch, and warnings pass the log's redaction."""
    program = (
        "import sys, threading, warnings\n"
        "from pipeline import logs\n"
        f"logs.configure(log_format={log_format!r}, secrets=['hunter2secret'])\n"
        "class Odd:\n"
        "    def __del__(self):\n"
        "        raise ValueError('unraisable jane@example.com')\n"
        "def fails():\n"
        "    raise ValueError('thread jane@example.com')\n"
        "Odd()\n"
        "warnings.warn('warned jane@example.com')\n"
        "thread = threading.Thread(target=fails)\n"
        "thread.start()\n"
        "thread.join()\n"
        "thread = threading.Thread(target=sys.exit)\n"
        "thread.start()\n"
        "thread.join()\n"
        "raise ValueError('main hunter2secret jane@example.com')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert not [private for private in ("jane@", "hunter2secret") if private in ended.stderr]
    for told in ("unraisable", "warned", "thread", "main"):
        assert f"{told} [" in ended.stderr
    assert "SystemExit" not in ended.stderr
    if log_format == "json":
        levels = [json.loads(line)["level"] for line in ended.stderr.splitlines()]
        assert levels == ["error", "warning", "critical", "critical"]


def test_a_hook_of_somebody_else_stays() -> None:
    """Who has set a hook, as a reporter of errors does, keeps it."""

    def theirs(*_: object) -> None:
        """Nothing."""

    before, sys.excepthook = sys.excepthook, theirs
    try:
        logs.configure()
        assert sys.excepthook is theirs
    finally:
        sys.excepthook = before


def test_longest_secret_first() -> None:
    """Where one secret begins with another, no rest of the longer one stays."""
    assert Redaction(["abc", "abcdef", ""]).clean("x abcdef y abc z") == "x [secret] y [secret] z"


@given(
    st.text(max_size=60),
    st.from_regex(r"[A-Za-z0-9._%+-]{1,24}@[A-Za-z0-9-]{1,24}(\.[A-Za-z]{2,6}){1,2}", fullmatch=True),
    st.text(max_size=60),
)
def test_no_address_survives(before: str, address: str, after: str) -> None:
    """No address survives in any surrounding text."""
    assert address not in Redaction().clean(f"{before} {address} {after}")


def test_long_words_cost_no_square() -> None:
    """Megabytes without a space (a body in a library's message) are searched in linear time, or this never ends."""
    for text in ("a" * 3_000_000, "a@" * 1_000_000, "." * 3_000_000):
        assert len(Redaction().clean(text)) == len(text)


def test_libraries_stay_quiet_at_debug(lines: Lines) -> None:
    """At debug the clients' own debug lines stay away: they cost more than the work."""
    logs.configure(level="debug", log_format="json")
    for name in logs.QUIET:
        logging.getLogger(name).debug("noise")
    logs.get("pipeline").debug("signal")
    assert [json.loads(line)["message"] for line in lines().splitlines()] == ["signal"]


def test_level_holds_for_everyone(lines: Lines) -> None:
    """At error a library's warning stays away."""
    logs.configure(level="error", log_format="json")
    logging.getLogger("aiokafka").warning("noise")
    logs.get("pipeline").warning("noise")
    assert lines() == ""
