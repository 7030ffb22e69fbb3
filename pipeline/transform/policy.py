"""The policy of the mapping: the operator's settings for it, as one value that is ready to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Self

from pipeline.settings import Settings, metadata_attribute
from pipeline.transform.identity import CUSTOMER_ID_STEP, is_metadata
from pipeline.transform.money import ISO_EXPONENTS
from pipeline.transform.products import load_product_names
from pipeline.transform.shaping.types import Shaper


@dataclass(frozen=True)
class Policy:
    """The settings that the mapping reads; `Policy()` is the default of each.

    `metadata` pairs each allowed metadata key with its attribute's name (`seat-count` → `metadata_seat_count`: a dot
    would nest the attribute, a dash cannot be written in Liquid). `shaper` changes what webhooks become.
    """

    person_id_chain: tuple[str, ...] = ("customer_id",)
    title_names: bool = False
    exponents: Mapping[str, int] = field(default_factory=lambda: ISO_EXPONENTS)
    metadata: tuple[tuple[str, str], ...] = ()
    product_names: Mapping[str, str] = field(default_factory=dict)
    emit_first_renewal: bool = False
    emit_trial_events: bool = False
    emit_credit_deducted: bool = False
    first_names: bool = False
    set_created_at: bool = False
    forward_card_hints: bool = False
    portal_url: str | None = None
    forward_test_mode: bool = False
    merge_on_email_change: bool = False
    merge_default_id: bool = False
    commands: bool = True
    shaper: Shaper | None = None

    @cached_property
    def pools(self) -> bool:
        """Whether several customers can be one person: by whatever names people before the customer's own id does.

        Then the owner of the person adds the customers up and sends the sums, of every person, since nobody else knows
        who has only one customer (`state.household`).
        """
        return self.person_id_chain[0] != CUSTOMER_ID_STEP

    @cached_property
    def asks_metadata(self) -> bool:
        """Whether a step of the identity policy asks the metadata."""
        return any(map(is_metadata, self.person_id_chain))

    @cached_property
    def kept_metadata(self) -> tuple[str, ...]:
        """Keys of a customer's metadata that the state keeps: those that go out, and those that name the person."""
        steps = (step.partition(".") for step in self.person_id_chain)
        naming = [key for _, dot, key in steps if dot]
        return tuple(dict.fromkeys((*(key for key, _ in self.metadata), *naming)))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy of a process.

        Raises:
            SettingsError: when a file that a setting names cannot be used, with its place and what to do.
            RulesError: when the user's rules or code cannot be used, naming each fault.
        """
        from pipeline.transform.shaping.loading import shaper_of  # which knows the mapping, and so this module

        return cls(
            person_id_chain=settings.person_id_chain,
            title_names=settings.event_name_style == "title",
            exponents=MappingProxyType({**ISO_EXPONENTS, **settings.currency_exponents}),
            metadata=tuple((key, metadata_attribute(key)) for key in settings.metadata_keys),
            product_names=load_product_names(settings.product_names) if settings.product_names else {},
            emit_first_renewal=settings.emit_first_renewal,
            emit_trial_events=settings.emit_trial_events,
            first_names=settings.first_names,
            set_created_at=settings.set_created_at,
            emit_credit_deducted=settings.emit_credit_deducted,
            forward_card_hints=settings.forward_card_hints,
            portal_url=settings.portal_url,
            forward_test_mode=settings.forward_test_mode,
            merge_on_email_change=settings.merge_on_email_change,
            merge_default_id=settings.merge_default_id,
            commands=settings.commands,
            shaper=shaper_of(settings),
        )
