"""What the brokers refuse for good, as errors that say what to change; everything else stays as it came."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    TopicAuthorizationFailedError,
)

from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.settings import PREFIX


def explained(error: BaseException, group: str, session_s: float) -> BaseException:
    """The error for the operator when `error` will not pass by itself, else `error`."""
    match error:
        case GroupAuthorizationFailedError():
            return TopicError(f"this user may not use the consumer group {group}: allow READ on the group (ACL)")
        case TopicAuthorizationFailedError():
            return unreadable(error.args)
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


def unreadable(topics: Iterable[object]) -> TopicError:
    """The error for topics that this user may not read, or not even see."""
    return TopicError(
        f"this user may not read topic {', '.join(sorted(map(str, topics)))}: allow READ and DESCRIBE on it (ACL)"
    )
