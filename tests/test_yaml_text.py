"""YAML that a person wrote: its value, or one kind of error."""

from __future__ import annotations

import pytest

from pipeline import yaml_text


def test_plain_values() -> None:
    """Mappings, lists, texts and numbers; JSON is YAML."""
    assert yaml_text.load('{"a": [1, "b"]}') == yaml_text.load("a:\n- 1\n- b\n") == {"a": [1, "b"]}


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "a: 2026-02-30", "2026-01-01T25:00:00Z: 1", f"a: {'9' * 5000}", "a: !!bool maybe", "a: !!int ''",
        "a: !!timestamp soon", "[" * 20_000, "a: \x01", "? [1]\n: 2", "--- 1\n--- 2", "!!python/object:os.system {}",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_whatever_is_wrong_is_one_error(text: str) -> None:
    """PyYAML raises what Python raises of a value that it was given."""
    with pytest.raises(ValueError, match=r"\S"):
        yaml_text.load(text)
