"""A folder of recipes is read as its names say, or refused with the file and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dodo.catalogue import TYPES
from pipeline.errors import SettingsError
from pipeline.transform.javascript.recipes import RECIPE_MAX_BYTES, load_recipes, version_of

HANDLER = "function handler(webhook) { return webhook; }\n"


def folder(tmp_path: Path, *names: str, text: str = HANDLER) -> Path:
    """A folder with these files."""
    for name in names:
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_files_name_says_which_webhooks_it_is_asked_about(tmp_path: Path) -> None:
    """A type's name: that type; a family's: its types; tomorrow's type: itself; any other: all. By name."""
    recipes = load_recipes(folder(tmp_path, "refund.js", "b_all.js", "payment.succeeded.js", "gift.sent.js"))
    assert [recipe.name for recipe in recipes] == ["b_all.js", "gift.sent.js", "payment.succeeded.js", "refund.js"]
    asked = {recipe.name: {type_ for type_ in (*TYPES, "gift.sent") if recipe.is_for(type_)} for recipe in recipes}
    assert asked["b_all.js"] == {*TYPES, "gift.sent"}
    assert asked["payment.succeeded.js"] == {"payment.succeeded"}
    assert asked["refund.js"] == {"refund.succeeded", "refund.failed"}
    assert asked["gift.sent.js"] == {"gift.sent"}


def test_what_is_no_recipe_is_passed_over(tmp_path: Path) -> None:
    """A read-me, a ConfigMap's hidden links and a folder are none; a single file is a folder of one."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "lib").mkdir()
    recipes = load_recipes(folder(tmp_path, "README.md", ".hidden.js", "a.js"))
    assert [recipe.name for recipe in recipes] == ["a.js"]
    assert load_recipes(tmp_path / "a.js") == recipes


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("payment.suceeded.js", HANDLER, "did you mean payment.succeeded.js?"),
        ("a.mjs", HANDLER, "plain scripts"),
        ("a.ts", HANDLER, "plain scripts"),
        ("notes.txt", HANDLER, "holds no recipe"),
        ("a.js", HANDLER + " " * RECIPE_MAX_BYTES, "bytes, a recipe"),
    ],
)
def test_a_folder_that_would_not_do_what_was_meant_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Nothing that somebody wrote as a recipe is passed over in silence."""
    with pytest.raises(SettingsError, match=r"^PIPELINE_JAVASCRIPT: ") as caught:
        load_recipes(folder(tmp_path, name, text=text))
    assert said in str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing folder, and bytes that are no text."""
    with pytest.raises(SettingsError, match=r"nowhere is not there"):
        load_recipes(tmp_path / "nowhere")
    (tmp_path / "a.js").write_bytes(b"// \xff")
    with pytest.raises(SettingsError, match=r"a\.js cannot be read \(UnicodeDecodeError\)"):
        load_recipes(tmp_path)


def test_the_version_is_of_names_and_contents(tmp_path: Path) -> None:
    """The same files have the same word everywhere; a changed letter or name another."""
    one = version_of(load_recipes(folder(tmp_path, "a.js", "b.js")))
    assert one == version_of(load_recipes(tmp_path))
    (tmp_path / "b.js").rename(tmp_path / "c.js")
    renamed = version_of(load_recipes(tmp_path))
    (tmp_path / "c.js").write_text(HANDLER + "\n", encoding="utf-8")
    assert len({one, renamed, version_of(load_recipes(tmp_path))}) == 3
