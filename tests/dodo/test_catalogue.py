"""The catalogue of types."""

from __future__ import annotations

from pipeline.dodo import samples
from pipeline.dodo.catalogue import RETIRED, TYPES, Family
from pipeline.dodo.envelope import parse


def test_there_are_48_types() -> None:
    """The newest SDK's enumeration has 48 members."""
    assert len(TYPES) == 48


def test_each_type_has_a_main_sample() -> None:
    """Every type has a body to try it with, and that body says the type that its name says."""
    assert {parse(samples.load(name)).type for name in samples.names() if name in TYPES} == set(TYPES)


def test_each_family_has_a_type() -> None:
    """No family is empty."""
    assert set(TYPES.values()) == set(Family)


def test_retired_types_are_not_current() -> None:
    """A retired name points at a current one and is not current itself."""
    assert not set(RETIRED) & set(TYPES)
    assert set(RETIRED.values()) <= set(TYPES)
