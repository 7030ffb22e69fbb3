"""Whoever follows a link of a page of ours arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.links import anchors, broken, swallowed, targets
from tests.docs.pages import ROOT, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link has its file, each anchor its heading."""
    assert broken(page, ROOT) == []


def test_every_page_can_be_found() -> None:
    """A page that no other one links to is read by nobody."""
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in pages()
        for target in targets(page.read_text(encoding="utf-8"))
        if not target.startswith("#")
    }
    alone = [page for page in pages() if page not in linked and page.parent != ROOT]
    assert [str(page.relative_to(ROOT)) for page in alone] == []


@pytest.mark.parametrize(
    "link",
    ["[a](missing.md)", "[a](#nowhere)", "[a](there.md#nowhere)", "![a](missing.svg)", '<img src="missing.svg">'],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    """Of each kind of link one that leads nowhere."""
    (tmp_path / "there.md").write_text("# Here\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{link}\n")
    assert len(broken(page, tmp_path)) == 1


def test_a_link_out_of_the_project_is_found(tmp_path: Path) -> None:
    """A file that only this machine has is nobody else's."""
    (tmp_path / "project").mkdir()
    (tmp_path / "other.md").write_text("# Other\n")
    page = tmp_path / "project" / "page.md"
    page.write_text("[a](../other.md)\n")
    assert len(broken(page, tmp_path / "project")) == 1


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_word_is_swallowed(page: Path) -> None:
    """A placeholder such as <key> stands in code, or is not seen."""
    assert swallowed(page.read_text(encoding="utf-8")) == []


def test_a_swallowed_word_is_found() -> None:
    """Outside of code alone."""
    assert swallowed("`<a>` metadata.<key> &lt;b> a<br>b\n```\n<c>\n```\n") == ["<key>"]


def test_anchors_are_those_of_github() -> None:
    """Punctuation goes, spaces become dashes, a repeated heading is numbered, code blocks have none."""
    text = "# The workspace's rate\n## `a_b`: c & d\n## Twice\n## Twice\n```\n# no heading\n```\n"
    assert anchors(text) == {"the-workspaces-rate", "a_b-c--d", "twice", "twice-1"}


def test_code_has_no_links() -> None:
    """What stands in code is an example."""
    assert targets("`[a](b.md)`\n```\n[c](d.md)\n```\n[e](f.md) [g](https://example.com)") == ["f.md"]
