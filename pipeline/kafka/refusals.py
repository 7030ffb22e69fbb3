"""What the brokers refuse for good, as errors that name what to change; everything else stays as it came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)

from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.settings import PREFIX

UNDECODABLE: Final = (CorruptRecordException, RecordTooLargeError, UnsupportedCodecError)
"""What aiokafka raises for bytes that it cannot read. The broker that sent them was reached; `unpacking` prevents most
of these errors."""


def explained(error: BaseException, group: str, session_s: float) -> BaseException:
    """The error for the operator when `error` will not pass by itself, else `error`."""
    match error:
        case GroupAuthorizationFailedError():
            return TopicError(f"this user may not use the consumer group {group}: allow READ on the group (ACL)")
        case TopicAuthorizationFailedError():
            return unreadable(_named(error.args))
        case CorruptRecordException() | RecordTooLargeError() | UnsupportedCodecError():
            return undecodable(None, error)
        case InconsistentGroupProtocolError():
            return BrokerUnreachableError(
                f"the consumer group {group} is used by another program, with another assignment protocol than ours "
                "(roundrobin): stop it, or give this pipeline a group of its own"
            )
        case InvalidSessionTimeoutError():
            return BrokerUnreachableError(
                f"the brokers allow no session of {session_s:g} s: {PREFIX}SESSION_TIMEOUT_SECONDS must lie between "
                "their group.min.session.timeout.ms and group.max.session.timeout.ms"
            )
        case _:
            return error


def _named(arguments: Iterable[object]) -> Iterable[object]:
    """The topics in an error of aiokafka, which gives a set of them as one argument at some places."""
    for one in arguments:
        if isinstance(one, set | frozenset | list | tuple):
            yield from one
        else:
            yield one


def undecodable(topic: str | None, error: BaseException) -> TopicError:
    """The error for bytes of a topic that are no records to this version."""
    what = ", ".join(map(str, error.args))  # aiokafka leaves the places of its message open
    return TopicError(
        f"{f'topic {topic}' if topic else 'a topic'} cannot be read: the broker sent what this version cannot decode "
        f"({type(error).__name__}{f': {what}' if what else ''})"
    )


def unreadable(topics: Iterable[object]) -> TopicError:
    """The error for topics that this user may not read, or not even see."""
    return TopicError(
        f"this user may not read topic {', '.join(sorted(map(str, topics)))}: allow READ and DESCRIBE on it (ACL)"
    )
