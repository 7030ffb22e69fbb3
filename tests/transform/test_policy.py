"""The operator's decisions, ready to use, and faults of the product file in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from pipeline.transform.products import load_product_names


def test_policy_without_settings_is_the_default() -> None:
    """`Policy()` is what a process without any variable has."""
    assert Policy.of(Settings.load()) == Policy()


def test_every_setting_arrives(tmp_path: Path) -> None:
    """Each variable that the mapping reads changes the policy."""
    names = tmp_path / "names.yaml"
    names.write_text("pdt_1: Team plan\npdt_2: '2024'\n")
    policy = Policy.of(
        Settings.load(
            person_id="metadata.user_id,customer_id",
            event_name_style="title",
            currency_exponents="CLP=2",
            metadata_keys="seat-count, plan.tier ,order_ref",
            emit_first_renewal=True,
            emit_credit_deducted=True,
            forward_card_hints=True,
            forward_test_mode=True,
            product_names=names,
        )
    )
    assert policy.person_id_chain == ("metadata.user_id", "customer_id")
    assert policy.title_names
    assert policy.exponents["CLP"] == 2
    assert policy.exponents["JPY"] == 0
    assert policy.metadata == (
        ("seat-count", "metadata_seat_count"),
        ("plan.tier", "metadata_plan_tier"),
        ("order_ref", "metadata_order_ref"),
    )
    assert policy.product_names == {"pdt_1": "Team plan", "pdt_2": "2024"}
    assert policy.emit_first_renewal
    assert policy.emit_credit_deducted
    assert policy.forward_card_hints
    assert policy.forward_test_mode


@pytest.mark.parametrize("content", ["", "\n# nothing yet\n"])
def test_empty_file_has_no_names(tmp_path: Path, content: str) -> None:
    """A file that was only prepared is no fault."""
    path = tmp_path / "names.yaml"
    path.write_text(content)
    assert load_product_names(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pdt_1: a\npdt_2: b: c\n", "names.yaml:2 is not YAML"),
        ("- pdt_1\n", "names.yaml:1 must map product ids to names, e.g. pdt_123: Team plan"),
        ("just text\n", "names.yaml:1 must map product ids to names"),
        ("pdt_1: a\npdt_2: 2024\n", 'names.yaml:2: the name of pdt_2 must be text; quote it: "…"'),
        ("pdt_1:\n", "names.yaml:1: the name of pdt_1 must be text"),
        ("pdt_1: [a]\n", "names.yaml:1: the name of pdt_1 must be text"),
        ("pdt_1: a\n\npdt_1: b\n", "names.yaml:3: pdt_1 has two names; keep one"),
        ("? [a]\n: b\n", "names.yaml:1: a product id must be text"),
        ("[" * 20_000, "names.yaml is nested too deep"),
    ],
)
def test_faults_of_the_file_have_their_line(tmp_path: Path, content: str, message: str) -> None:
    """Each fault names the variable, the place and what to write."""
    path = tmp_path / "names.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load_product_names(path)
    assert str(caught.value).startswith("PIPELINE_PRODUCT_NAMES: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The path that was looked for is in the message."""
    with pytest.raises(SettingsError, match=r"PIPELINE_PRODUCT_NAMES: .*gone\.yaml cannot be read \(FileNotFoundError"):
        load_product_names(tmp_path / "gone.yaml")


def test_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    """Names in a legacy encoding would reach customers as garbage."""
    path = tmp_path / "names.yaml"
    path.write_bytes("pdt_1: café".encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_product_names(path)
