"""Links of a Markdown page as GitHub reads them: targets outside of code, and the anchors of headings."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
CODE: Final = re.compile(r"`[^`\n]*`")
LINK: Final = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
NAMED: Final = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING: Final = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
TAG: Final = re.compile(r"</?(?!br>|img )[a-z][^>\n]*>", re.IGNORECASE)
ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def targets(text: str) -> list[str]:
    """The links of a page that lead to this project's own files."""
    prose = CODE.sub("code", FENCE.sub("", text))
    found = [one or other for one, other in LINK.findall(prose)] + NAMED.findall(prose)
    return [target for target in found if not ELSEWHERE.match(target)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page: a repeated one gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for title in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def swallowed(text: str) -> list[str]:
    """Words in angle brackets outside of code: a reader's browser takes them for HTML, and shows nothing."""
    return TAG.findall(CODE.sub("code", FENCE.sub("", text)))


def broken(page: Path, root: Path) -> list[str]:
    """The page's links that lead nowhere, each with the reason."""
    faults = []
    for target in targets(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_relative_to(root):
            faults.append(f"{target}: outside of the project")
        elif not file.exists():
            faults.append(f"{target}: no such file")
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text(encoding="utf-8"))):
            faults.append(f"{target}: no such heading")
    return faults
