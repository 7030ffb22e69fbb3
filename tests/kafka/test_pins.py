"""The internals of libraries that this project leans on still have the shape that it knows.

Those of httpx and httpcore that bound a whole exchange (`pipeline.deadline`) are here as well.

A failure here means: read the new source, repair the place that docs/internals.md names, run the chaos tests, then
change the pin. `test_internals.py` finds places of ours that have no pin.
"""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import version
from typing import Any

import faust
import faust.worker
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, create_conn
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import Fetcher as KafkaFetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import BaseCoordinator, CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from faust import streams
from faust.app.base import App, BootStrategy
from faust.channels import Channel
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
from httpcore import _synchronization as httpcore_synchronization
from httpcore._async import connection, connection_pool, http11
from httpcore._async.http11 import AsyncHTTP11Connection
from httpx import Response
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
    """Its other form acknowledges what it skips (faust/streams.py), in vain where a topic has no acks."""
    assert vars(streams)["_CStreamIterator"] is not None


SIGNATURE_OF_TOPIC = (
    "(self, *topics, pattern=None, schema=None, key_type=None, value_type=None, key_serializer=None, "
    "value_serializer=None, partitions=None, retention=None, compacting=None, deleting=None, replicas=None, acks=True, "
    "internal=False, config=None, maxsize=None, allow_empty=False, has_prefix=False, loop=None)"
)


def name_of(thing: Any) -> str:
    """A class's or a function's name, or the last part of a module's."""
    return str(getattr(thing, "__qualname__", thing.__name__.rpartition(".")[2]))


SIGNATURES: list[tuple[Any, str]] = [
    # overridden
    (driver.Consumer._new_consumer_thread, "(self)"),
    (faust_consumer.Consumer.getmany, "(self, timeout)"),
    (faust_consumer.Consumer._drain_messages, "(self, fetcher)"),
    (faust_consumer.ThreadDelegateConsumer._getmany, "(self, active_partitions, timeout)"),
    (driver.AIOKafkaConsumerThread.getmany, "(self, active_partitions, timeout)"),
    (
        driver.AIOKafkaConsumerThread._fetch_records,
        "(self, consumer, active_partitions, timeout=None, max_records=None)",
    ),
    (Service.sleep, "(self, n)"),
    (faust_consumer.Consumer.perform_seek, "(self)"),
    (faust_consumer.Consumer.on_partitions_revoked, "(self, revoked)"),
    (faust_consumer.Consumer.on_task_error, "(self, exc)"),
    (faust_consumer.ThreadDelegateConsumer.seek_to_committed, "(self)"),
    (faust_consumer.ThreadDelegateConsumer._commit, "(self, offsets)"),
    (driver.Consumer.verify_event_path, "(self, now, tp)"),
    (driver.AIOKafkaConsumerThread.on_start, "(self)"),
    (driver.AIOKafkaConsumerThread._create_worker_consumer, "(self, transport)"),
    (PartitionRecords._unpack_records, "(self)"),
    (AIOKafkaClient._get_conn, "(self, node_id, *, group=<ConnectionGroup.DEFAULT: 0>, no_hint=False)"),
    (AIOKafkaClient._metadata_update, "(self, cluster_metadata, topics)"),
    (AIOKafkaClient.bootstrap, "(self)"),
    (AIOKafkaClient.send, "(self, node_id, request, *, group=<ConnectionGroup.DEFAULT: 0>)"),
    (AIOKafkaClient.force_metadata_update, "(self)"),
    (AIOKafkaClient.close, "(self)"),
    (CreateTopicsRequest.__init__, "(self, create_topic_requests, timeout, validate_only)"),
    (CreatePartitionsRequest.__init__, "(self, topic_partitions, timeout, validate_only)"),
    (DeleteRecordsRequest.__init__, "(self, topics, timeout_ms, tags=None)"),
    (DeleteTopicsRequest.__init__, "(self, topics, timeout)"),
    (DescribeConfigsRequest.__init__, "(self, resources, include_synonyms=False)"),
    (DescribeGroupsRequest.__init__, "(self, groups, include_authorized_operations=False)"),
    (FindCoordinatorRequest.__init__, "(self, coordinator_key, coordinator_type)"),
    (MetadataRequest.__init__, "(self, topics=None, allow_auto_topic_creation=None)"),
    (driver.ConsumerRebalanceListener.on_partitions_revoked, "(self, revoked)"),
    (driver.ConsumerRebalanceListener.on_partitions_assigned, "(self, assigned)"),
    (AIOKafkaConnection.send, "(self, request, expect_response=True)"),
    (AIOKafkaConnection.close, "(self, reason=None, exc=None)"),
    (AIOKafkaConnection.connect, "(self)"),
    (AIOKafkaConnection.authenticator_oauth, "(self)"),
    (AIOKafkaConnection._do_sasl_handshake, "(self)"),
    (OAuthAuthenticator.step, "(self, payload)"),
    (AbstractTokenProvider.token, "(self)"),
    (AIOKafkaConnection._send_sasl_token, "(self, payload, expect_response=True)"),
    (App._new_transport, "(self)"),
    (App._consumer_wait_empty, "(self, consumer, logger)"),
    (App._on_partitions_revoked, "(self, revoked)"),
    (App._on_rebalance_when_stopped, "(self)"),
    (App._stop_consumer, "(self)"),
    (App._create_directories, "(self)"),
    (App.on_rebalance_start, "(self)"),
    (App.on_init_dependencies, "(self)"),
    (App.topic, SIGNATURE_OF_TOPIC),
    (faust.Settings.getenv, "(self, env_name)"),
    (Worker.execute_from_commandline, "(self)"),
    (Worker.install_signal_handlers, "(self)"),
    (faust.worker.Worker._setproctitle, "(self, info, *, ident='[Faust:Worker]')"),
    (Service.stop, "(self)"),
    (ServiceThread.crash, "(self, exc)"),
    (ServiceThread._start_thread, "(self)"),
    (ServiceThread._stopped_set, "(self)"),
    (ServiceThread.on_crash, "(self, msg, *fmt, **kwargs)"),
    (GroupCoordinator._send_req, "(self, request)"),
    # called
    (driver.AIOKafkaConsumerThread._ensure_consumer, "(self)"),
    (faust.worker.Worker._on_sigint, "(self)"),
    (faust.worker.Worker._on_sigterm, "(self)"),
    (Worker._on_sigusr1, "(self)"),
    (Worker._on_sigusr2, "(self)"),
    (BaseCoordinator._get_metadata_snapshot, "(self)"),
    (faust_consumer.Consumer._wait_next_records, "(self, timeout)"),
    (driver.Consumer._to_message, "(self, tp, record)"),
    (driver.AIOKafkaConsumerThread.seek_wait, "(self, partitions)"),
    (driver.AIOKafkaConsumerThread.highwater, "(self, tp)"),
    (PartitionRecords._consume_aborted_up_to, "(self, batch_offset)"),
    (FetchResult.check_assignment, "(self, tp)"),
    (FetchResult.has_more, "(self)"),
    (FetchResult._update_position, "(self)"),
    (KafkaFetcher.end_offsets, "(self, partitions, timeout_ms)"),
    (Assignment.state_value, "(self, tp)"),
    (App.create_event, "(self, key, value, headers, message)"),
    (Service.add_future, "(self, coro)"),
    (Service.crash, "(self, reason)"),
    (Worker.stop_and_shutdown, "(self)"),
    (GroupCoordinator._do_heartbeat, "(self)"),
    (GroupCoordinator._do_commit_offsets, "(self, assignment, offsets)"),
    (GroupCoordinator.fetch_committed_offsets, "(self, partitions)"),
    (GroupCoordinator._do_fetch_commit_offsets, "(self, partitions)"),
    (GroupCoordinator.coordinator_dead, "(self)"),
    (AIOKafkaConsumer.beginning_offsets, "(self, partitions)"),
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
        sys.modules[connection_pool.AsyncConnectionPool.create_connection.__module__],
        "network_backend=self._network_backend,",
        "the pool's network is read for each new connection, so it can be replaced",
    ),
    (
        http11.AsyncHTTP11Connection._receive_event,
        "data = await self._network_stream.read( self.READ_NUM_BYTES, timeout=timeout )",
        "headers and body are read through the stream, one bounded read after the other",
    ),
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
        GroupCoordinator._do_commit_offsets,
        "(tp.partition, offset.offset, offset.metadata),",
        "a note is stored beside its offset",
    ),
    (
        GroupCoordinator._do_fetch_commit_offsets,
        "offsets[tp] = OffsetAndMetadata(offset, metadata)",
        "the notes of all partitions are read with their offsets, assigned or not",
    ),
    (
        MessageAccumulator.drain_by_nodes,
        "if leader is None or leader == -1: if self._batches[tp][0].expired():",
        "the only way for an idempotent batch to expire is a partition without a leader",
    ),
    (MessageAccumulator.add_message, "batch = pending_batches[-1]", "a record goes into the last batch, or a new one"),
    (
        MessageAccumulator._pop_batch,
        "self._txn_manager.increment_sequence_number(batch.tp, batch.record_count)",
        "a batch that was taken gets nothing more: its records are counted",
    ),
    (MessageBatch.drain_ready, "self._drain_waiter.set_result(None)", "whoever waits for room hears that a batch left"),
    (MessageBatch.failure, "self._drain_waiter.set_exception(exception)", "or that it never will"),
    (MessageAccumulator.reenqueue, "appendleft(batch)", "a batch that is sent again stays in front"),
    (BatchBuilder._build, "self.close()", "a batch that was written once is closed"),
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
        SendProduceReqHandler.do,
        "response = await self._client.send(node_id, request)",
        "records leave through the client's `send`, looked up on the instance",
    ),
    (
        AIOKafkaClient.send,
        "if not (await self.ready(node_id, group=group)): raise NodeNotReadyError(",
        "with a connection there is nothing to wait for between the call and the bytes",
    ),
    (
        AIOKafkaClient._md_synchronizer,
        "ret = await self._metadata_update(self.cluster, topics)",
        "whoever waits for metadata waits for `_metadata_update`, looked up on the instance",
    ),
    (
        AIOKafkaClient.bootstrap,
        "metadata = await bootstrap_conn.send(MetadataRequest([]))",
        "its first connection is in a local variable alone",
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
    (
        PartitionRecords.__init__,
        "self._records_iterator = self._unpack_records()",
        "the generator is the overridden one",
    ),
    (
        KafkaFetcher._proc_fetch_request,
        "records = MemoryRecords(part_data[-1]) if records.has_next():",
        "the bytes are kept beside what aiokafka makes of them",
    ),
    (
        KafkaFetcher._proc_fetch_request,
        "partition_records = PartitionRecords( tp, records, aborted_transactions, fetch_offset,",
        "unpacking begins where the fetch does, and knows what was aborted",
    ),
    (
        KafkaFetcher.fetched_records,
        "records = res_or_error.getall(max_records) if not res_or_error.has_more():",
        "a poll's records are what `getall` gives, with the offsets that they answer for",
    ),
    (
        inspect.getmodule(KafkaFetcher),  # the method itself may be ours by now
        "def getall(self, max_records=None): tp = self._topic_partition if not self.check_assignment(tp) or not",
        "what it gives is ours to give",
    ),
    (
        FetchResult._update_position,
        "state.consumed_to(self._partition_records.next_fetch_offset)",
        "the next fetch begins where unpacking ended",
    ),
    (
        driver.AIOKafkaConsumerThread._fetch_records,
        "return await fetcher.fetched_records(",
        "the lists come through Faust as they are",
    ),
    (
        KafkaFetcher.__init__,
        "self._records = collections.OrderedDict()",
        "what was fetched and not given out, by partition",
    ),
    (KafkaFetcher._proc_fetch_request, "tp_state.highwater = highwater tp_state.lso = lso", "both ends are told"),
    (
        KafkaFetcher._proc_offset_request,
        "OffsetRequest(-1, self._isolation_level, list(topic_data.items()))",
        "a copy with another isolation level asks for the end of the log",
    ),
    (AIOKafkaConsumer.start, "isolation_level=self._isolation_level", "it is read at the start, after we set it"),
    (AIOKafkaConsumer.start, "client_rack=self._client_rack", "so is the rack"),
    (AIOKafkaClient._get_conn, "ssl_context=self._ssl_context", "each new connection asks for the context"),
    (KafkaFetcher._proc_fetch_request, "response = await self._client.send(node_id, request)", "fetches pass by"),
    (create_conn, "conn = AIOKafkaConnection(", "a client's connections are of the class that the module names"),
    (
        AIOKafkaConnection.send,
        "self._writer.write(size + message) except OSError as err:",
        "a request that cannot be written leaves nothing behind",
    ),
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
    (
        driver.AIOKafkaConsumerThread.on_thread_stop,
        "if self._consumer is not None: await self._consumer.stop()",
        "the thread's end is that of its queue, then that of the consumer",
    ),
    (QueueServiceThread.call_thread, "self.method_queue.call(", "the thread's own queue"),
    (
        driver.AIOKafkaConsumerThread.getmany,
        "timeout=timeout, max_records=_consumer._max_poll_records,",
        "a poll is `_fetch_records` in the thread",
    ),
    (faust_consumer.Consumer._drain_messages, "await self.sleep(0)", "the drain loop lets others run before each poll"),
    (BootStrategy._should_enable_web, "if self.enable_web is None:", "the boot strategy wins over --with-web"),
    (faust.Settings._init_settings, "self.getenv(param.env_name)", "every variable is read through `getenv`"),
    (App._load_settings, "return self.Settings(appid,", "the settings class is the app's"),
    (Worker.default_on_first_start, "if self.override_logging: self._setup_logging()", "our logging survives"),
    (Worker.default_on_first_start, "self.install_signal_handlers()", "the worker asks for its handlers in one place"),
    (
        driver.AIOKafkaConsumerThread._create_worker_consumer,
        "group_instance_id=conf.consumer_group_instance_id",
        "the name of a static member reaches aiokafka",
    ),
    (
        CoordinatorGroupRebalance.perform_group_join,
        "self._coordinator.member_id, self._coordinator._group_instance_id,",
        "a join carries the name",
    ),
    (CoordinatorGroupRebalance._on_join_follower, "self._coordinator._group_instance_id,", "so does a follower's sync"),
    (CoordinatorGroupRebalance._on_join_leader, "self._coordinator._group_instance_id,", "and a leader's"),
    (
        GroupCoordinator._maybe_leave_group,
        "if self.generation > 0 and self._group_instance_id is None:",
        "a static member does not leave its group when it stops",
    ),
    (
        BaseCoordinator._handle_metadata_update,
        "and self._group_subscription is not None ): metadata_snapshot = self._get_metadata_snapshot()",
        "who has a group subscription sees that partitions were added",
    ),
    (
        httpx.AsyncClient._transport_for_url,
        "return self._transport if transport is None else transport",
        "the transport of an address is its proxy's, where the environment names one",
    ),
    (
        AsyncHTTP11Connection.handle_async_request,
        'Trace( "send_request_headers", logger, request, kwargs )',
        "the trace of a request begins before its first byte",
    ),
    (
        httpcore_synchronization.current_async_library,
        'try: import sniffio except ImportError: # pragma: nocover environment = "asyncio"',
        "without sniffio httpcore takes asyncio",
    ),
]


@pytest.mark.parametrize(("thing", "code", "reason"), CODE, ids=[reason for *_, reason in CODE])
def test_code(thing: Any, code: str, reason: str) -> None:
    """The lines that a rule relies on are still there."""
    assert code in source(thing), f"{getattr(thing, '__qualname__', thing)} changed: {reason}"


ATTRIBUTES: list[tuple[Any, str]] = [
    (httpx.AsyncClient.__init__, "self._transport"),
    (httpx.AsyncClient.__init__, "self._mounts"),
    (httpx.AsyncHTTPTransport.__init__, "self._pool"),
    (connection_pool.AsyncConnectionPool.__init__, "self._network_backend"),
    (connection.AsyncHTTPConnection.__init__, "self._network_backend"),
    (AIOKafkaConsumer, "self._fetch_max_wait_ms"),
    (AIOKafkaConsumer, "self._fetcher"),
    (AIOKafkaConsumer, "self._max_poll_records"),
    (AIOKafkaConsumer, "self._request_timeout_ms"),
    (AIOKafkaConsumer, "self._subscription"),
    (FetchResult, "self._partition_records"),
    (FetchResult, "self._topic_partition"),
    (FetchResult, "self._assignment"),
    (AIOKafkaConsumer, "self._coordinator"),
    (AIOKafkaConsumer, "self._client"),
    (GroupCoordinator, "self._commit_lock"),
    (GroupCoordinator, "self.generation"),
    (GroupCoordinator, "self._pending_exception"),
    (GroupCoordinator, "self._coordination_task"),
    (GroupCoordinator, "self._rejoin_needed_fut"),
    (AIOKafkaProducer, "self._message_accumulator"),
    (AIOKafkaProducer, "self._sender"),
    (AIOKafkaProducer, "self.client"),
    (AIOKafkaClient, "self._conns"),
    (AIOKafkaClient, "self._topics"),
    (AIOKafkaProducer, "self._closed"),
    (AIOKafkaClient, "self._sync_task"),
    (AIOKafkaClient, "self._md_update_fut"),
    (KafkaFetcher, "self._fetch_task"),
    (Sender, "self._sender_task"),
    (MessageAccumulator, "self._batch_ttl"),
    (MessageAccumulator, "self._batches"),
    (MessageAccumulator, "self._closed"),
    (MessageAccumulator, "self._exception"),
    (MessageBatch, "self._builder"),
    (MessageBatch, "self._drain_waiter"),
    (AIOKafkaProducer, "self._max_request_size"),
    (ClusterMetadata, "self.unauthorized_topics"),
    (ClusterMetadata, "self.controller"),
    (Conductor, "self._tp_index"),
    (faust_consumer.Consumer, "self.suspend_flow"),
    (faust_consumer.Consumer, "self.flow_active"),
    (App, "self.rebalancing_count"),
    (ServiceThread, "self.thread_loop"),
    (ServiceThread, "self._thread_running"),
    (Service, "self._stopped"),
    (Worker, "self._starting_fut"),
    (Worker, "self._signal_stop_time"),
    (faust_consumer.ThreadDelegateConsumer, "self._thread"),
    (driver.ConsumerRebalanceListener, "self._thread"),
    (driver.AIOKafkaConsumerThread, "self._consumer"),
    (driver.Consumer, "RebalanceListener"),
    (driver.Transport, "Consumer"),
    (App, "BootStrategy"),
    (App, "Settings"),
    (BootStrategy, "enable_web"),
    (BootStrategy, "enable_kafka_producer"),
    (fetcher, "PartitionRecords"),
    (fetcher, "MemoryRecords"),
    (conn, "AIOKafkaConnection"),
    (PartitionRecords, "self._aborted_producers"),
    (PartitionRecords, "self._aborted_transactions"),
    (PartitionRecords, "self._check_crcs"),
    (PartitionRecords, "self._records"),
    (PartitionRecords, "self._tp"),
    (AIOKafkaClient, "self._sasl_plain_password"),
    (AIOKafkaClient, "self._ssl_context"),
    (AIOKafkaClient, "self._client_id"),
    (AIOKafkaConsumer, "self._client_rack"),
    (AIOKafkaConnection, "self._loop"),
    (AIOKafkaConnection, "self._sasl_oauth_token_provider"),
    (OAuthAuthenticator, "self._token_sent"),
    (OAuthAuthenticator, "self._sasl_oauth_token_provider"),
    (AIOKafkaConnection, "self._host"),
    (AIOKafkaConnection, "self._port"),
    (AIOKafkaConnection, "self._writer"),
    (AIOKafkaConsumer, "self._isolation_level"),
    (KafkaFetcher, "self._isolation_level"),
    (PartitionRecords, "self._records_iterator"),
    (BaseCoordinator, "self._group_subscription"),
    (BaseCoordinator, "self._metadata_snapshot"),
    (HeartbeatRequest, "self._group"),
    (HeartbeatRequest, "self._generation_id"),
    (HeartbeatRequest, "self._member_id"),
    (OffsetCommitRequest, "self._consumer_group"),
    (OffsetCommitRequest, "self._consumer_group_generation_id"),
    (OffsetCommitRequest, "self._consumer_id"),
    (OffsetCommitRequest, "self._topics"),
    (Response, "self.stream"),
]


@pytest.mark.parametrize(("owner", "attribute"), ATTRIBUTES, ids=[f"{name_of(o)}.{a}" for o, a in ATTRIBUTES])
def test_attributes(owner: Any, attribute: str) -> None:
    """What is read or set is still there."""
    text = inspect.getsource(owner if owner is not Response else sys.modules[Response.__init__.__module__])
    assert attribute in text, (
        f"httpx and others may name another module than the one with the source: {owner.__module__}"
    )


def pinned() -> set[str]:
    """Every internal of this file, as `Class.name` or `module.name`."""
    called = {function.__qualname__ for function, _ in SIGNATURES}
    held = {f"{name_of(owner).removesuffix('.__init__')}.{name.removeprefix('self.')}" for owner, name in ATTRIBUTES}
    read = {name_of(thing) for thing, _, _ in CODE}
    return called | held | read


def test_the_worker_class_is_a_setting() -> None:
    """`faust -A … worker` takes the worker class of the app's settings."""
    assert faust.Settings.Worker is not None
