"""What a command that talks to brokers needs before it begins."""

from __future__ import annotations

import logging

from pipeline import logs
from pipeline.errors import SettingsError
from pipeline.settings import Settings

OF_CLIENTS = ("aiokafka", "pipeline.kafka.outage")


def prepare() -> Settings:
    """The settings; log lines of ours from warnings on, none of a client's: its faults become one message of ours."""
    settings = Settings.load()
    prepare_logs(settings)
    return settings


def prepare_logs(settings: Settings) -> None:
    """The log lines alone, for a command that connects to brokers only on request."""
    logs.configure(log_format=settings.log_format, level="warning", secrets=settings.secrets)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.name.startswith(OF_CLIENTS))


def prepare_state() -> Settings:
    """The same for whatever concerns the customers' state.

    Raises:
        SettingsError: the state is off.
    """
    settings = prepare()
    if not settings.state:
        raise SettingsError("PIPELINE_STATE=false: without the customers' state nobody carries this command out")
    return settings


def prepare_command() -> Settings:
    """The same for a command record about a customer's state.

    Raises:
        SettingsError: the state or commands are off, and workers with these settings would give the command up.
    """
    settings = prepare_state()
    if not settings.commands:
        raise SettingsError("PIPELINE_COMMANDS=false: the transform takes no command, and would give this one up")
    return settings
