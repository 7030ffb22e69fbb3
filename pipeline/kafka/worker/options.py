"""The Faust settings without which it loses, repeats or hangs, each with the failure that it guards."""

from __future__ import annotations

from typing import Any, Final

import faust
from faust.app.base import BootStrategy

from pipeline.kafka.security import faust_broker
from pipeline.settings import Settings

HEARTBEAT_S: Final = 1.0
"""A peer learns of a rebalance at its next heartbeat; with Kafka's 3 s a hand-over took 5 s."""

REQUEST_S: Final = 40.0
"""For an answer of a broker; a join is answered after `REBALANCE_S` at the latest."""

REBALANCE_S: Final = 20.0
"""How long the group waits for a member to give its partitions away; above grace and commit together."""

FETCH_BYTES: Final = 512 * 1024
"""A partition and fetch. Memory is about three times that (driver, poll, queue) for each partition."""

QUEUED_CHUNKS: Final = 8
"""Chunks that wait before the agent, over all partitions; the drain loop waits for room."""


class Boot(BootStrategy):
    """Faust's services without its web server, which its command line would start, and without its own producer.

    Faust's producer is not idempotent, and its flush at every rebalance waits for a broker that is away.
    """

    enable_web = False
    enable_kafka_producer = False


class FaustSettings(faust.Settings):
    """Faust's settings, from `faust_options` alone.

    Faust lets plain environment variables win over the app's own options: a platform's own `APP_VERSION` would give the
    consumer group another name, and it would read everything again.
    """

    def getenv(self, env_name: str) -> None:
        """Nothing; our settings have names of their own."""


def faust_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for `faust.App`.

    Raises:
        SettingsError: the Kafka settings are unusable.
    """
    broker, credentials = faust_broker(settings)
    return {
        "broker": broker,
        "broker_credentials": credentials,
        "broker_client_id": settings.kafka_client_id,
        # An outage of Customer.io blocks fetching for as long as it lasts. After this time aiokafka would leave the
        # group and never join again (its issues 720 and 1187); our own liveness watches progress instead.
        "broker_max_poll_interval": 1e7,
        # After a SIGKILL the group stands still for this long; Faust's default of 60 s stood for 50 s in a run.
        "broker_session_timeout": settings.session_timeout_seconds,
        "broker_heartbeat_interval": HEARTBEAT_S,
        "broker_rebalance_timeout": REBALANCE_S,
        "broker_request_timeout": max(REQUEST_S, settings.session_timeout_seconds),  # Faust refuses less
        "producer_request_timeout": 30.0,
        "consumer_max_fetch_size": FETCH_BYTES,
        "consumer_group_instance_id": settings.group_instance_id,
        "consumer_auto_offset_reset": "earliest",  # "latest" would skip what came before a group's first start
        "stream_wait_empty": False,  # it waits without a limit of time, at stop and in every rebalance
        "stream_processing_timeout": 1e7,  # reports of livelocks that are none
        "broker_commit_livelock_soft_timeout": 1e7,
        "table_standby_replicas": 0,  # else another group protocol
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "agent_supervisor": "mode.supervisors.CrashingSupervisor",  # all others skip what the agent failed on
        "processing_guarantee": "at_least_once",
        "worker_redirect_stdouts": False,
        "web_enabled": False,
        "autodiscover": False,
        "datadir": settings.data_dir / "faust",
        "Worker": "pipeline.kafka.worker.process:BatchWorker",
    }
