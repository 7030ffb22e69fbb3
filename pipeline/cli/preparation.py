"""Prepares a command that connects to brokers: its settings and its log."""

from __future__ import annotations

import logging

from pipeline import logs
from pipeline.errors import SettingsError
from pipeline.settings import Settings

OF_CLIENTS = ("aiokafka", "pipeline.kafka.outage")


def prepare() -> Settings:
    """The settings; and log from warnings on, without the clients' lines, whose faults become one message of ours."""
    settings = Settings.load()
    prepare_logs(settings)
    return settings


def prepare_logs(settings: Settings) -> None:
    """Set up the log alone, for a command that connects to brokers only on request."""
    logs.configure(log_format=settings.log_format, level="warning", secrets=settings.secrets)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.name.startswith(OF_CLIENTS))


def prepare_state() -> Settings:
    """The same for a command that needs the customers' state.

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
        SettingsError: the state or commands are off: workers with these settings would give the command up.
    """
    settings = prepare_state()
    if not settings.commands:
        raise SettingsError("PIPELINE_COMMANDS=false: the transform takes no command, and would give this one up")
    return settings
