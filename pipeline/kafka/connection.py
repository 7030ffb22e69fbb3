"""A connection to a broker that ends with an error of Kafka's, on uvloop too, and does not end with its session.

Between the moment when a connection breaks and the one when aiokafka's reader hears of it lies one turn of the event
loop. Whoever writes in that turn is ignored by asyncio, and gets a `RuntimeError` from uvloop ("the handler is
closed"), for which aiokafka is not prepared: its fetcher, its sender and its coordinator end with it, and the worker
with them. A broker that is killed while it has unread requests breaks its connections so.

Two more things that aiokafka 0.14 leaves out. A broker reports that it refuses a token in an answer that is no error
(RFC 7628 §3.2.3); aiokafka takes it for success. And a session may have an end (KIP-368: the token's, or
`connections.max.reauth.ms`), after which the broker breaks the connection under whatever request is on its way;
`Connection` logs in again before, as Java's clients do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from pipeline import logs
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

LOGIN_AGAIN: Final = BackgroundTask("kafka login", OnEnd.TELL, returns=True)

AGAIN_AT: Final = 0.75
"""Part of a session's life after which to log in again: a token is renewed earlier (`pipeline.kafka.tokens`), so there
is a new one. Java's clients do at 0.85 to 0.95 (SaslClientAuthenticator); ours may have to ask the issuer yet."""

LOGINS_APART_S: Final = 1.1
"""Brokers refuse a login within a second of the last (KafkaChannel.MIN_REAUTH_INTERVAL_ONE_SECOND_NANOS)."""

REFUSED_TOKEN: Final = "the broker refused the token"  # noqa: S105 - no token
"""What the error begins with; `pipeline.kafka.reach` knows the settings to it."""

log = logs.get(__name__)


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's own, whose two ways of writing raise for a broken connection what it raises for a refused one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None
        self._session_ms = 0
        self._logged_in: asyncio.Event | None = None

    async def connect(self) -> Any:
        """Connect and log in; from here on the session is kept."""
        connected = await super().connect()
        self._keep_session()
        return connected

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """Write a request; the answer. While a login is on its way it waits for the end of that.

        Raises:
            KafkaConnectionError: the connection is closed or broken.
        """
        if isinstance(request, SaslAuthenticateRequest):
            return self._noting_session(request)
        if self._logged_in is not None and not isinstance(request, SaslHandShakeRequest):
            return self._after_login(self._logged_in, request, expect_response)
        return self._unless_broken(lambda: super(Connection, self).send(request, expect_response))

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        """Close, and let those go on that wait for a login: they hear that the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        closed = super().close(reason, exc)
        if self._logged_in is not None:
            self._logged_in.set()
        return closed

    async def logged_in(self) -> None:
        """Wait for a login that is on its way; from its return until the next turn of the loop none begins."""
        while self._logged_in is not None:
            await self._logged_in.wait()

    def authenticator_oauth(self) -> Any:
        """One that hears when the token is refused."""
        return _Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Awaitable[Any]:
        return self._unless_broken(lambda: super(Connection, self)._send_sasl_token(payload, expect_response))

    def _unless_broken(self, write: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        try:
            return write()
        except KafkaError:  # a RuntimeError too: the connection is closed, and reports it
            raise
        except RuntimeError as error:  # before the request was noted as sent (pinned), so nobody waits for an answer
            if not self._writer.transport.is_closing():
                raise
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} broken: {error}") from error

    async def _noting_session(self, request: Any) -> Any:
        answer = await self._unless_broken(lambda: super(Connection, self).send(request))
        self._session_ms = getattr(answer, "session_lifetime_ms", 0)  # from version 1 on
        return answer

    async def _after_login(self, logged_in: asyncio.Event, request: Any, expect_response: bool) -> Any:
        await logged_in.wait()
        return await self.send(request, expect_response)

    def _keep_session(self) -> None:
        if self._session_ms > 0 and self.connected():
            self._timer = self._loop.call_later(
                max(AGAIN_AT * self._session_ms / 1000, LOGINS_APART_S), self._begin_login
            )

    def _begin_login(self) -> None:
        self._tasks.start(LOGIN_AGAIN, self._login_again, which=f"{self._host}:{self._port}")

    async def _login_again(self) -> None:
        """Log in on the same connection; what fails closes it, and its client makes another one."""
        try:
            if self._sasl_oauth_token_provider is not None:
                await self._sasl_oauth_token_provider.token()  # asked for while requests go on
        except KafkaError as error:
            log.warning("no Kafka token to log in again with, the connection lasts until its session ends",
                        broker=f"{self._host}:{self._port}", error=str(error))  # fmt: skip
            return
        if not self.connected():
            return
        # The broker answers one request after the other, so those on their way are done when it sees the first of the
        # login; between that and the last there must be no other.
        self._logged_in = asyncio.Event()
        try:
            await self._do_sasl_handshake()
        except (KafkaError, OSError) as error:  # TimeoutError is one
            log.warning("logging in to a Kafka broker again failed, a new connection is made",
                        broker=f"{self._host}:{self._port}", error=str(error) or type(error).__name__)  # fmt: skip
            self.close(reason=conn.CloseReason.AUTH_FAILURE, exc=error)
        finally:
            waiting, self._logged_in = self._logged_in, None
            waiting.set()
        self._keep_session()


class _Authenticator(conn.OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if self._token_sent and payload:  # RFC 7628 §3.2.3: success is empty
            self._sasl_oauth_token_provider.refused()
            raise SaslAuthenticationFailed(f"{REFUSED_TOKEN}: {payload.decode('utf-8', 'replace')[:200]}")
        return await super().step(payload)  # type: ignore[no-any-return]


def use_our_connections() -> None:
    """Let every client of this process connect this way; for processes that run on uvloop, and whatever logs in.

    aiokafka names the class at one place, as a global of its module, and has no other seam (pinned). Calling it again
    changes nothing.
    """
    conn.AIOKafkaConnection = Connection
