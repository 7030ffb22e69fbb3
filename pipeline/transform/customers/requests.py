"""The fact about a request to be forgotten: which command it was, and who the person was.

The fact `forgotten` holds since when nothing of the customer is known. This one, beside it, distinguishes two requests
of one second apart and names the person once no other fact does: for a later request with `--customerio`, and for
whoever puts back what still lies about for that person. The record's array:

`[seconds, commands, people]`

- seconds: of the latest request, as in `forgotten`.
- commands: digests of the ids of the commands of that second that were carried out.
- people: `[seconds, step, id, digest]`, whom the customer was at Customer.io at which request, the latest ones: the
  step of the identity policy, the id, and its digest. Of an address the digest alone is kept, which is enough to know
  it again and not to write to anybody. Neither step nor id: somebody to be known again, never to be removed by name.

It goes with the mark: when the customer is revived. A version that does not know the kind leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import orjson

from pipeline.transform.customers.shape import MAX_PEOPLE, MAX_REQUESTS
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.profile import Person

Fact = list[Any]

SECONDS, COMMANDS, PEOPLE = range(3)
LENGTH: Final = 3

STEP, ID, DIGEST = 1, 2, 3
"""Places in one of the people."""

_DIGEST_BYTES: Final = 16


def digest_of(text: str) -> str:
    """The digest by which an address, a person's id or a command's id is known again; hex."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()


def was_carried_out(known: Fact | None, at_s: int, command: str) -> bool:
    """Whether the command with this digest was carried out in the second of the mark.

    Of a mark that an earlier version wrote nobody knows: then it was.
    """
    return known is None or known[SECONDS] != at_s or command in known[COMMANDS]


def remembered(known: Fact | None, at_s: int, command: str, person: Person | None, others: Iterable[str]) -> Fact:
    """What is kept once a command of this digest is carried out.

    Args:
        known: what was kept before.
        at_s: of the request, unix seconds.
        command: digest of its id.
        person: whom the customer was, if that is known.
        others: ids and addresses that the customer had besides.
    """
    people: list[Fact] = []
    if person is not None:
        is_address = person.step == EMAIL_STEP or "@" in person.id
        people.append([at_s, person.step, None if is_address else person.id, digest_of(person.id)])
    named = {person.id} if person is not None else set()
    people += [[at_s, None, None, digest_of(other)] for other in sorted(set(others) - named)]
    now: Fact = [at_s, [command], people]
    return now if known is None else merge(known, now)


def latest_person(known: Fact | None) -> Fact | None:
    """The one of the people whom a request names who was the customer last."""
    named = [person for person in known[PEOPLE] if person[STEP] is not None or person[ID] is not None] if known else []
    return max(named, key=_newest, default=None)


def merge(old: Fact, new: Fact) -> Fact:
    """The latest request, with the people of both."""
    seconds = max(old[SECONDS], new[SECONDS])
    commands = {command for fact in (old, new) if fact[SECONDS] == seconds for command in fact[COMMANDS]}
    people: dict[bytes, Fact] = {}
    for person in (*old[PEOPLE], *new[PEOPLE]):
        who = orjson.dumps(person[1:])
        if who not in people or people[who][0] < person[0]:
            people[who] = person
    return [seconds, sorted(commands)[-MAX_REQUESTS:], sorted(people.values(), key=_newest)[-MAX_PEOPLE:]]


def _newest(person: Fact) -> tuple[int, bytes]:
    return person[0], orjson.dumps(person)
