"""The people of a workspace: their identifiers and attributes, and what identify, merge and delete do to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.customerio.limits import ATTRIBUTES_MAX

Identifiers = dict[str, Any]
Key = tuple[str, str]
"""Kind and value of an identifier; e-mail addresses in lower case."""

KINDS: Final = ("id", "email", "phone", "cio_id", "anonymous_id")

STEERING: Final = frozenset({"_update", "id", "cio_id", "anonymous_id", "email"})
"""Members of `attributes` that are not stored as attributes: identifiers are kept apart."""


@dataclass(slots=True)
class Person:
    """One profile.

    Attributes:
        attributes: as last written; an attribute that was set to null is gone.
        edited_at_s: time of the latest identify that was applied; an older one is ignored.
        failed_changes: attribute changes that a workspace would log as failed, as (attribute, why).
    """

    cio_id: str
    created_at_ms: int
    id: str | None = None
    email: str | None = None
    phone: str | None = None
    anonymous_id: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    edited_at_s: float | None = None
    events: int = 0
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    relationships: list[dict[str, Any]] = field(default_factory=list)
    failed_changes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The identifier that stands for the person in events and statistics."""
        return self.id or self.email or self.phone or self.anonymous_id or self.cio_id

    @property
    def keys(self) -> list[Key]:
        """The identifiers by which the person is found."""
        return [(kind, value) for kind in KINDS if (value := getattr(self, kind)) is not None]

    def as_json(self) -> dict[str, Any]:
        """The person for `/__sandbox/people`."""
        return {
            "cio_id": self.cio_id,
            "id": self.id,
            "email": self.email,
            "phone": self.phone,
            "attributes": self.attributes,
            "created_at_ms": self.created_at_ms,
            "edited_at": self.edited_at_s,
            "events": self.events,
            "devices": list(self.devices.values()),
            "relationships": self.relationships,
            "failed_changes": [{"attribute": name, "reason": why} for name, why in self.failed_changes],
        }


def keys_of(identifiers: Identifiers) -> Iterator[Key]:
    """The identifiers that address a person; ids as text, e-mail addresses without case."""
    for kind in KINDS:
        value = identifiers.get(kind)
        if value is not None:
            text = str(value)
            yield kind, text.lower() if kind == "email" else text


class People:
    """Every person of one workspace, found by any identifier.

    Args:
        email_updates: whether an identify by id may change an e-mail address.
        attributes: whether attributes are kept (not in fast mode).
    """

    def __init__(self, *, email_updates: bool = True, attributes: bool = True) -> None:
        self._email_updates = email_updates
        self._keep_attributes = attributes
        self._by_key: dict[Key, Person] = {}
        self._people: dict[str, Person] = {}
        self._suppressed: set[Key] = set()
        self._created = 0
        self.ignored_as_older = 0

    def __len__(self) -> int:
        """How many people there are."""
        return len(self._people)

    def __iter__(self) -> Iterator[Person]:
        """Every person, in the order of creation."""
        return iter(self._people.values())

    def find(self, identifiers: Identifiers) -> Person | None:
        """The person with these identifiers; None when there is none."""
        own_id = identifiers.get("id")
        if type(own_id) is str:  # nearly always
            return self._by_key.get(("id", own_id))
        return next((self._by_key[key] for key in keys_of(identifiers) if key in self._by_key), None)

    def is_suppressed(self, identifiers: Identifiers) -> bool:
        """Whether calls for these identifiers are ignored."""
        return bool(self._suppressed) and any(key in self._suppressed for key in keys_of(identifiers))

    def touch(self, identifiers: Identifiers, now_ms: int) -> Person | None:
        """The person of an event, created if unknown, as is reported of the real API; None for an unknown `cio_id`."""
        return self.find(identifiers) or self._create(identifiers, now_ms)

    def identify(
        self, identifiers: Identifiers, attributes: dict[str, Any], timestamp_s: float, now_ms: int
    ) -> Person | None:
        """Create or update; None when nothing was to be done."""
        person = self.find(identifiers)
        email = attributes.get("email")
        if person is None:
            if attributes.get("_update") is True:
                return None
            person = self._by_key.get(("email", email.lower())) if isinstance(email, str) else None
            if person is not None and person.id is None and "id" in identifiers:
                # Documented: a new id with an address that is known updates the person who has it.
                self._point(person, "id", str(identifiers["id"]))
            else:
                person = self._create(identifiers, now_ms)
                if person is None:
                    return None
        if person.edited_at_s is not None and timestamp_s < person.edited_at_s:
            self.ignored_as_older += 1
            return person
        person.edited_at_s = timestamp_s
        self._write(person, attributes, by_id="id" in identifiers)
        return person

    def delete(self, identifiers: Identifiers) -> None:
        """Remove the person; later calls may create it again."""
        person = self.find(identifiers)
        if person is not None:
            self._remove(person)

    def suppress(self, identifiers: Identifiers) -> None:
        """Remove the person and ignore calls for its identifiers from now on."""
        self._suppressed.update(keys_of(identifiers))
        person = self.find(identifiers)
        if person is not None:
            self._suppressed.update(person.keys)
            self._remove(person)

    def unsuppress(self, identifiers: Identifiers) -> None:
        """Accept calls for these identifiers again."""
        self._suppressed.difference_update(keys_of(identifiers))

    def merge(self, primary: Identifiers, secondary: Identifiers) -> None:
        """Move what `secondary` has into `primary`, which must exist and whose own values win; remove `secondary`."""
        into, gone = self.find(primary), self.find(secondary)
        if into is None or gone is None or into is gone:
            return
        keys = gone.keys
        self._remove(gone)
        into.attributes = {**gone.attributes, **into.attributes}
        into.devices = {**gone.devices, **into.devices}
        into.relationships += gone.relationships
        into.events += gone.events
        for kind, value in keys:
            if kind in {"email", "phone"} and getattr(into, kind) is None:
                self._point(into, kind, value)

    def suppressed(self) -> list[dict[str, str]]:
        """Suppressed identifiers, for inspection."""
        return [{kind: value} for kind, value in sorted(self._suppressed)]

    def _create(self, identifiers: Identifiers, now_ms: int) -> Person | None:
        if "cio_id" in identifiers:
            return None  # documented: people cannot be created by it, the call is dropped
        self._created += 1
        person = Person(cio_id=f"{self._created:012x}", created_at_ms=now_ms)
        self._people[person.cio_id] = self._by_key["cio_id", person.cio_id] = person
        for kind, value in keys_of(identifiers):
            self._point(person, kind, value)
        return person

    def _write(self, person: Person, attributes: dict[str, Any], *, by_id: bool) -> None:
        if "email" in attributes:
            self._write_email(person, attributes["email"], by_id=by_id)
        for kind in ("phone", "id"):
            value = attributes.get(kind)
            if isinstance(value, str) and value.strip() and getattr(person, kind) is None:
                self._change(person, kind, value)
        if self._keep_attributes:
            for name, value in attributes.items():
                if name not in STEERING:
                    _set(person, name, value)

    def _write_email(self, person: Person, value: Any, *, by_id: bool) -> None:
        if value is None:
            if person.email is not None:
                self._by_key.pop(("email", person.email), None)
            person.email = None
        elif isinstance(value, str) and value.strip():
            email = value.strip().lower()
            if person.email not in {None, email} and by_id and not self._email_updates:
                person.failed_changes.append(("email", "this workspace does not allow updates to email using ID"))
            else:
                self._change(person, "email", email)

    def _change(self, person: Person, kind: str, value: str) -> None:
        owner = self._by_key.get((kind, value))
        if owner is None:
            self._point(person, kind, value)
        elif owner is not person:
            person.failed_changes.append((kind, "belongs to another person"))

    def _point(self, person: Person, kind: str, value: str) -> None:
        """Set an identifier of `person`, in place of the former one of its kind."""
        before = getattr(person, kind)
        if before is not None:
            self._by_key.pop((kind, before), None)
        setattr(person, kind, value)
        self._by_key[kind, value] = person

    def _remove(self, person: Person) -> None:
        self._people.pop(person.cio_id, None)
        for key in person.keys:
            self._by_key.pop(key, None)


def _set(person: Person, name: str, value: Any) -> None:
    """Write one attribute; null removes it, and a dotted name reaches into an object, as the documentation shows."""
    attributes = person.attributes
    if "." in name:
        *path, name = name.split(".")
        for part in path:
            inner = attributes.get(part)
            if not isinstance(inner, dict):
                if value is None:
                    return
                inner = attributes[part] = {}
            attributes = inner
    if value is None:
        attributes.pop(name, None)
    elif name in attributes or attributes is not person.attributes or len(attributes) < ATTRIBUTES_MAX:
        attributes[name] = value
    else:
        person.failed_changes.append((name, f"a person has at most {ATTRIBUTES_MAX} attributes"))
