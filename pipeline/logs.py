"""Structured logs that can hold no secret, no address and no body.

Ours (structlog), the libraries' (aiokafka, faust, mode, httpx through stdlib `logging`), and what Python itself would
write (errors that nobody catches, warnings) end in one handler with one redaction step, so a third-party message is
cleaned like our own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

from pipeline import uncaught
from pipeline.log_lines import indented
from pipeline.plain_structlog import structlog
from pipeline.settings import PREFIX, LogFormat

_WORD = r"[^\s@<>\"'=,;:(){}\[\]]"
EMAIL = re.compile(rf"(?<!{_WORD}){_WORD}+@{_WORD}+\.{_WORD}+")
"""Deliberately broad: a masked word too many is better than one address too many.

The look-behind lets a match begin only where a word begins; without it a long word costs its length squared.
"""

SECRET_SHAPES = re.compile(r"whsec_[A-Za-z0-9+/=]+|(?i:basic|bearer)\s+[A-Za-z0-9+/=._-]{8,}")

FORBIDDEN_KEYS = frozenset(
    {
        "body",
        "value",
        "payload",
        "data",
        "email",
        "name",
        "password",
        "secret",
        "secrets",
        "api_key",
        "authorization",
        "key",
    }
)
"""Fields whose content never reaches a log line, whoever adds them; their length does."""

FORMAT_VARIABLE = f"{PREFIX}LOG_FORMAT"

QUIET = ("aiokafka", "faust", "mode", "httpx", "httpcore", "asyncio")
"""At DEBUG these build records at rates that cost 8 % of a worker; access logs repeat every webhook."""


class Redaction:
    """A structlog processor: masks addresses, secrets by shape and the secrets that this process knows."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted((s for s in secrets if s), key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(s) for s in known)) if known else None

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event with everything private masked."""
        for key, value in event.items():
            event[key] = self._forbid(value) if key in FORBIDDEN_KEYS else self.clean(value)
        return event

    def clean(self, value: Any) -> Any:
        """`value` with private parts masked; containers are walked, unknown objects become cleaned text."""
        match value:
            case str():
                # Secrets first: one of which a part looks like an address would else be no longer known.
                text = self._known.sub("[secret]", value) if self._known else value
                return EMAIL.sub("[email]", SECRET_SHAPES.sub("[secret]", text))
            case bool() | int() | float() | None:
                return value
            case bytes() | bytearray() | memoryview():
                return f"[{len(value)} bytes]"
            case Mapping():
                return {
                    str(k): self._forbid(v) if str(k) in FORBIDDEN_KEYS else self.clean(v) for k, v in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self.clean(item) for item in value]
            case _:
                return self.clean(str(value))

    @staticmethod
    def _forbid(value: Any) -> str:
        return f"[{len(value)} removed]" if isinstance(value, str | bytes) else "[removed]"


def configure(
    *,
    log_format: LogFormat = "console",
    level: Literal["debug", "info", "warning", "error"] = "info",
    secrets: Iterable[str] = (),
) -> None:
    """Send every log line of this process to stderr, redacted: a JSON line, or one for people and what is under it."""
    redaction = Redaction(secrets)
    shared: list[Any] = [
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.processors.format_exc_info,
        redaction,
        structlog.processors.EventRenamer("message"),
    ]
    if log_format == "json":
        last.append(structlog.processors.JSONRenderer())
    else:
        console = structlog.dev.ConsoleRenderer(
            event_key="message", colors=_coloured(), exception_formatter=structlog.dev.plain_traceback
        )
        last += [indented, console]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Lines are rare, so nothing is gained by it; a module's logger would keep what was configured first.
        cache_logger_on_first_use=False,
    )
    handler = _Stderr(log_format)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(
            max(logging.INFO, root.level) if name in {"aiokafka", "faust", "mode"} else logging.WARNING
        )
    uncaught.log_them()


def _coloured() -> bool:
    """As the command line's own output decides: https://no-color.org, https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is by then, not to what it was: that one may be closed."""

    def __init__(self, log_format: LogFormat) -> None:
        logging.Handler.__init__(self)
        self.log_format = log_format

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where lines go now."""
        return sys.stderr


def get(name: str) -> Any:
    """A structlog logger for module `name`."""
    return structlog.stdlib.get_logger(name)


def fatal(text: str, exit_code: int) -> None:
    """The last words of a stage, in the form of its log, so that what collects JSON can read this line too.

    Also where no log was configured since the settings themselves are at fault: then the variable decides.
    """
    forms = [handler.log_format for handler in logging.getLogger().handlers if isinstance(handler, _Stderr)]
    wanted = os.environ.get(FORMAT_VARIABLE, "").strip().lower()
    if "json" not in forms and wanted != "json":
        sys.stderr.write(f"dodo-cio: {text}\n")
        return
    if "json" not in forms:
        configure(log_format="json")
    get("pipeline").critical(text, exit_code=exit_code)
