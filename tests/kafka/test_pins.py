"""The internals of faust, mode and aiokafka that the batch transport leans on still have the shape that it knows.

A failure here means: read the new source, repair `pipeline/kafka`, run the chaos tests, then change the pin.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import Fetcher as KafkaFetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from faust import streams
from faust.app.base import App, BootStrategy
from faust.channels import Channel
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
from mode import Service, Worker
from mode.supervisors import CrashingSupervisor
from mode.threads import QueueServiceThread, ServiceThread
from mode.utils.queues import FlowControlEvent, FlowControlQueue, ThrowableQueue


def test_versions() -> None:
    """Every source line that the transport was read against belongs to these releases."""
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka").startswith("0.14.")
    assert version("mode-streaming").startswith("0.7.")


def test_the_compiled_stream_iterator_is_used() -> None:
    """The pure-Python one acknowledges records of an older generation that it skips (faust/streams.py)."""
    assert vars(streams)["_CStreamIterator"] is not None


SIGNATURES: list[tuple[Any, str]] = [
    # overridden
    (driver.Consumer._new_consumer_thread, "(self)"),
    (faust_consumer.Consumer.getmany, "(self, timeout)"),
    (faust_consumer.Consumer._drain_messages, "(self, fetcher)"),
    (faust_consumer.ThreadDelegateConsumer._getmany, "(self, active_partitions, timeout)"),
    (faust_consumer.Consumer.perform_seek, "(self)"),
    (faust_consumer.Consumer.on_partitions_revoked, "(self, revoked)"),
    (faust_consumer.Consumer.on_task_error, "(self, exc)"),
    (faust_consumer.ThreadDelegateConsumer.seek_to_committed, "(self)"),
    (faust_consumer.ThreadDelegateConsumer._commit, "(self, offsets)"),
    (driver.Consumer.verify_event_path, "(self, now, tp)"),
    (driver.AIOKafkaConsumerThread.on_start, "(self)"),
    (driver.AIOKafkaConsumerThread._create_worker_consumer, "(self, transport)"),
    (PartitionRecords._consumer_record, "(self, tp, record)"),
    (AIOKafkaClient._get_conn, "(self, node_id, *, group=<ConnectionGroup.DEFAULT: 0>, no_hint=False)"),
    (AIOKafkaClient._metadata_update, "(self, cluster_metadata, topics)"),
    (AIOKafkaClient.bootstrap, "(self)"),
    (AIOKafkaClient.send, "(self, node_id, request, *, group=<ConnectionGroup.DEFAULT: 0>)"),
    (AIOKafkaClient.force_metadata_update, "(self)"),
    (AIOKafkaClient.close, "(self)"),
    (CreateTopicsRequest.__init__, "(self, create_topic_requests, timeout, validate_only)"),
    (CreatePartitionsRequest.__init__, "(self, topic_partitions, timeout, validate_only)"),
    (DeleteTopicsRequest.__init__, "(self, topics, timeout)"),
    (DescribeConfigsRequest.__init__, "(self, resources, include_synonyms=False)"),
    (DescribeGroupsRequest.__init__, "(self, groups, include_authorized_operations=False)"),
    (FindCoordinatorRequest.__init__, "(self, coordinator_key, coordinator_type)"),
    (MetadataRequest.__init__, "(self, topics=None, allow_auto_topic_creation=None)"),
    (driver.ConsumerRebalanceListener.on_partitions_revoked, "(self, revoked)"),
    (driver.ConsumerRebalanceListener.on_partitions_assigned, "(self, assigned)"),
    (App._new_transport, "(self)"),
    (App._consumer_wait_empty, "(self, consumer, logger)"),
    (App._on_partitions_revoked, "(self, revoked)"),
    (App._on_rebalance_when_stopped, "(self)"),
    (App._stop_consumer, "(self)"),
    (App._create_directories, "(self)"),
    (App.on_rebalance_start, "(self)"),
    (App.on_init_dependencies, "(self)"),
    (Worker.execute_from_commandline, "(self)"),
    (ServiceThread.crash, "(self, exc)"),
    (ServiceThread._start_thread, "(self)"),
    (ServiceThread._stopped_set, "(self)"),
    (ServiceThread.on_crash, "(self, msg, *fmt, **kwargs)"),
    # called
    (faust_consumer.Consumer._wait_next_records, "(self, timeout)"),
    (driver.Consumer._to_message, "(self, tp, record)"),
    (driver.AIOKafkaConsumerThread.seek_wait, "(self, partitions)"),
    (driver.AIOKafkaConsumerThread.highwater, "(self, tp)"),
    (App.create_event, "(self, key, value, headers, message)"),
    (Service.add_future, "(self, coro)"),
    (Service.crash, "(self, reason)"),
    (Worker.stop_and_shutdown, "(self)"),
    (GroupCoordinator._do_heartbeat, "(self)"),
    (GroupCoordinator._do_commit_offsets, "(self, assignment, offsets)"),
    (GroupCoordinator.fetch_committed_offsets, "(self, partitions)"),
    (AIOKafkaConsumer.beginning_offsets, "(self, partitions)"),
    (AIOKafkaConsumer.highwater, "(self, partition)"),
    (AIOKafkaProducer.create_batch, "(self)"),
    (AIOKafkaProducer.send_batch, "(self, batch, topic, *, partition)"),
    (AIOKafkaProducer.partitions_for, "(self, topic)"),
    (ClusterMetadata.partitions_for_topic, "(self, topic)"),
    (ClusterMetadata.available_partitions_for_topic, "(self, topic)"),
    (ClusterMetadata.broker_metadata, "(self, broker_id)"),
    (ClusterMetadata.add_listener, "(self, listener)"),
    (BatchBuilder.append, "(self, *, timestamp, key, value, headers=[])"),
    (BatchBuilder.size, "(self)"),
    (BatchBuilder.record_count, "(self)"),
    (Sender.close, "(self)"),
]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=[f.__qualname__ for f, _ in SIGNATURES])
def test_signatures(function: Any, expected: str) -> None:
    """What is overridden or called takes what it took."""
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == expected


def test_the_message_of_an_event() -> None:
    """A chunk travels in Faust's consumer message: its place, its generation, and what we leave empty."""
    parameters = list(inspect.signature(ConsumerMessage.__init__).parameters)
    assert parameters[1:10] == [
        *("topic", "partition", "offset", "timestamp", "timestamp_type"),
        *("headers", "key", "value", "checksum"),
    ]
    assert {"tp", "generation_id"} <= set(parameters)


def source(thing: Any) -> str:
    """The code, white space made one."""
    return " ".join(inspect.getsource(thing).split())


CODE: list[tuple[Any, str, str]] = [
    (
        faust_consumer.Consumer._drain_messages,
        "ait = cast(AsyncIterator, getmany(timeout=1.0))",
        "the drain loop asks `getmany`, where batches are delivered",
    ),
    (
        faust_consumer.Consumer._drain_messages,
        "except asyncio.CancelledError: if self.transport.app.should_stop:",
        "a fetcher that is cancelled at the stop just ends",
    ),
    (
        App._stop_consumer,
        "await self._stop_fetcher() await self._consumer_wait_empty(consumer, self.log) await self.tables.stop()",
        "the stop hands over after the fetcher ended, before anything else stops",
    ),
    (
        App._on_partitions_revoked,
        "we need to wait for them. await T(self._consumer_wait_empty)(consumer, on_timeout) await T(self._producer",
        "a revocation hands over after the queues were cleared",
    ),
    (
        Recovery._resume_streams,
        "await app.on_rebalance_complete.send() assignment = consumer.assignment() if self.app.consumer_generation_id",
        "the restore is awaited before the seek, and its generation compared after it",
    ),
    (
        Recovery._resume_streams,
        "app.flow_control.resume() consumer.resume_flow() # finally make sure the fetcher is running.",
        "the flow resumes at the end",
    ),
    (
        faust_consumer.Consumer.perform_seek,
        "_committed_offsets = await self.seek_to_committed()",
        "the seek is `seek_to_committed`, where positions and watermarks begin anew",
    ),
    (
        GroupCoordinator._heartbeat_routine,
        "success = await self._do_heartbeat()",
        "the heartbeat is looked up on the instance, so that it can be heard",
    ),
    (
        GroupCoordinator._do_commit_offsets,
        "request = OffsetCommitRequest( self.group_id, self.generation, self.member_id,",
        "a commit carries the generation of the moment that it begins",
    ),
    (
        MessageAccumulator.drain_by_nodes,
        "if leader is None or leader == -1: if self._batches[tp][0].expired():",
        "the only way for an idempotent batch to expire is a partition without a leader",
    ),
    (MessageBatch.expired, "return (time.monotonic() - self._ctime) > self._ttl", "an infinite ttl never expires"),
    (MessageAccumulator._append_batch, "MessageBatch(tp, builder, self._batch_ttl, self._linger_time)", "ttl of all"),
    (
        MessageAccumulator.add_batch,
        "batch = self._append_batch(builder, tp) return asyncio.shield(batch.future) raise KafkaTimeoutError()",
        "a time-out means that nothing was enqueued",
    ),
    (
        Sender._sender_routine,
        "# try to update cluster metadata and wait backoff time fut = self.client.force_metadata_update() waiters.add",
        "the sender waits for nothing but metadata while a leader is unknown",
    ),
    (
        AIOKafkaClient._md_synchronizer,
        "ret = await self._metadata_update(self.cluster, topics)",
        "whoever waits for metadata waits for `_metadata_update`, looked up on the instance",
    ),
    (AIOKafkaClient._metadata_update, "conn = await self._get_conn(node_id)", "its connections are `_get_conn`'s"),
    (AIOKafkaClient.ready, "conn = await self._get_conn(node_id, group=group)", "and so are those of every request"),
    (AIOKafkaClient._get_conn, "if not conn.connected(): del self._conns[conn_id]", "connections by node and group"),
    (
        CrashingSupervisor._contribute_to_service,
        "pass",
        "the service keeps no supervisor, so its crash reaches the worker",
    ),
    (PartitionRecords.__next__, "return next(self._records_iterator)", "its iterator is a generator, which we return"),
    (KafkaFetcher.seek_to, "if tp in self._records: del self._records[tp]", "a seek drops what was fetched ahead"),
    (
        FlowControlQueue.put,
        "await self._flow_control.acquire() await super().put(value)",
        "a put waits while the flow is suspended",
    ),
    (ThrowableQueue.clear, "putter.cancel()", "clearing cancels a waiting put"),
    (FlowControlEvent.resume, "self.clear()", "resuming clears what the old generation left"),
    (Channel._clone_args, '"maxsize": self.maxsize', "an agent's queue keeps the bound of its topic"),
    (Conductor._update_tp_index, "for tp in assignmap[subtopic]: tp_index[tp].add(topic)", "channels by partition"),
    (
        Conductor._update_indices,
        "if channel.acks: self._acking_topics.add(topic)",
        "batch topics are not acked by Faust",
    ),
    (QueueServiceThread.call_thread, "self.method_queue.call(", "the thread's own queue"),
    (BootStrategy._should_enable_web, "if self.enable_web is None:", "the boot strategy wins over --with-web"),
    (faust.Settings._init_settings, "self.getenv(param.env_name)", "every variable is read through `getenv`"),
    (App._load_settings, "return self.Settings(appid,", "the settings class is the app's"),
    (Worker.default_on_first_start, "if self.override_logging: self._setup_logging()", "our logging survives"),
]


@pytest.mark.parametrize(("thing", "code", "reason"), CODE, ids=[reason for *_, reason in CODE])
def test_code(thing: Any, code: str, reason: str) -> None:
    """The lines that a rule relies on are still there."""
    assert code in source(thing), f"{thing.__qualname__} changed: {reason}"


ATTRIBUTES: list[tuple[Any, str]] = [
    (AIOKafkaConsumer, "self._fetch_max_wait_ms"),
    (AIOKafkaConsumer, "self._coordinator"),
    (AIOKafkaConsumer, "self._client"),
    (GroupCoordinator, "self._commit_lock"),
    (GroupCoordinator, "self.generation"),
    (GroupCoordinator, "self._pending_exception"),
    (GroupCoordinator, "self._coordination_task"),
    (AIOKafkaProducer, "self._message_accumulator"),
    (AIOKafkaProducer, "self._sender"),
    (AIOKafkaProducer, "self.client"),
    (AIOKafkaClient, "self._conns"),
    (AIOKafkaClient, "self._topics"),
    (AIOKafkaProducer, "self._closed"),
    (MessageAccumulator, "self._batch_ttl"),
    (SubscriptionState, "self._subscription"),
    (ClusterMetadata, "self.unauthorized_topics"),
    (ClusterMetadata, "self.controller"),
    (Conductor, "self._tp_index"),
    (faust_consumer.Consumer, "self.suspend_flow"),
    (faust_consumer.Consumer, "self.flow_active"),
    (App, "self.rebalancing_count"),
    (ServiceThread, "self.thread_loop"),
    (ServiceThread, "self._thread_running"),
    (Worker, "self._starting_fut"),
]


@pytest.mark.parametrize(("owner", "attribute"), ATTRIBUTES, ids=[f"{o.__name__}.{a}" for o, a in ATTRIBUTES])
def test_attributes(owner: Any, attribute: str) -> None:
    """What is read or set is still there."""
    assert attribute in inspect.getsource(owner)


def test_the_worker_class_is_a_setting() -> None:
    """`faust -A … worker` takes the worker class of the app's settings."""
    assert faust.Settings.Worker is not None
