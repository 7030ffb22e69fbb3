"""Extras of the installation: what a setting needs that `pip install dodo-customerio` alone does not bring."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.errors import SettingsError
from pipeline.settings import PREFIX, Settings


@dataclass(frozen=True, slots=True)
class Extra:
    """Libraries that are installed by one name.

    Attributes:
        name: as pip takes it.
        variable: the setting that needs it.
        needs: what for, in words.
        modules: one of each library.
        is_wanted: whether the settings ask for it.
    """

    name: str
    variable: str
    needs: str
    modules: tuple[str, ...]
    is_wanted: Callable[[Settings], bool]

    @property
    def is_installed(self) -> bool:
        """Whether all of it can be found; nothing is imported but packages above it."""
        return all(map(_is_there, self.modules))

    @property
    def remedy(self) -> str:
        """The command."""
        return f"pip install 'dodo-customerio[{self.name}]'"

    def lacking(self) -> SettingsError:
        """What a stage ends with that cannot start without it."""
        return SettingsError(f"{self.variable}: {self.needs}: {self.remedy}, or change the setting")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package above it is not there
        return False


OTEL: Final = Extra(
    "otel", f"{PREFIX}OTLP_ENDPOINT", "traces need OpenTelemetry's SDK",
    ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    lambda settings: settings.otlp_endpoint is not None,
)  # fmt: skip
MSK: Final = Extra(
    "msk", f"{PREFIX}KAFKA_SASL_MECHANISM", "AWS_MSK_IAM needs the vendor's signer",
    ("aws_msk_iam_sasl_signer",),
    lambda settings: (
        settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_mechanism == "AWS_MSK_IAM"
    ),
)  # fmt: skip
JAVASCRIPT: Final = Extra(
    "javascript", f"{PREFIX}JAVASCRIPT", "recipes need the JavaScript engine",
    ("quickjs",),
    lambda settings: settings.javascript is not None,
)  # fmt: skip

EXTRAS: Final = (OTEL, MSK, JAVASCRIPT)
"""Each extra of `pyproject.toml` that runs in production."""


def missing(settings: Settings) -> list[Extra]:
    """Those that these settings ask for and that are not installed."""
    return [extra for extra in EXTRAS if extra.is_wanted(settings) and not extra.is_installed]
