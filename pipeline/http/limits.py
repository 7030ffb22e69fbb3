"""Every bound of the HTTP server, with its reason.

Together: a connection holds at most a head and two reads (`HEAD_BYTES`, `READ_BYTES`), or a share of `incoming_bytes`,
or one complete request, of which there are at most `held_bytes`. Deadlines are checked twice a second.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 32 * 2**10
"""Request line and header fields. Dodo's have 1 kB; nginx takes 32 kB, most other servers 8 to 64. Checked before
anything is parsed."""

HEADERS: Final = 200
"""Fields of a head: each costs a callback from the parser. Apache allows 100, nginx any number."""

HEAD_WITHIN_S: Final = 10.0
"""From a head's first byte to its last. A balancer sends it in one packet."""

READ_BYTES: Final = 64 * 2**10
"""Most that is read from a socket at once while a body with a length arrives; the rest waits in the kernel, and the
other connections get their turn."""

AHEAD_BYTES: Final = 16 * 2**10
"""Most that is read from a socket at once otherwise, and so the most that a connection has in memory beyond the request
that is being answered."""

FRAMING_BYTES: Final = 16 * 2**10
"""Chunk sizes, extensions and trailers of one body, besides an eighth of the body's own length: a chunk of one byte is
six bytes to send, and far more work to parse. Real senders' chunks have kilobytes."""

SEND_WITHIN_S: Final = 10.0
"""For a client to read its answer."""

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 8 * 2**20
"""After a refusal the rest of what the client sends is read and discarded, for so long and up to so much: to close a
socket with unread data resets the connection, and the client would not get its answer (RFC 9112 §9.6)."""

SWEEP_S: Final = 0.5
"""How often deadlines are checked: one timer for all connections."""

SPARE_DESCRIPTORS: Final = 128
"""File descriptors of the process that are left for brokers, files and accepting."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that differ from port to port.

    Attributes:
        body_bytes: of one request's body.
        body_within_s: from a head's last byte to its body's.
        connections: open at once.
        idle_s: how long a connection may wait without a request, used before or not.
        incoming_bytes: of all bodies that are not complete yet: anybody can begin one.
        held_bytes: of all bodies, including those that wait for their answer.
    """

    body_bytes: int
    body_within_s: float = 5.0
    connections: int = 100
    idle_s: float = 75.0
    incoming_bytes: int = 24 * 2**20
    held_bytes: int = 64 * 2**20


def affordable(connections: int, beside: int = 0) -> int:
    """The number of connections, but no more than the process has file descriptors for.

    `beside` is how many its other port may have.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(soft - SPARE_DESCRIPTORS - beside, soft // 4, 1))
