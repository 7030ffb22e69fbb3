"""`make docs`: write the pages that are made from code, and draw the pictures.

`python -m tests.docs [D2]`: without the binary of D2 the pages alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.drawings import draw
from tests.docs.pages import write_pages


def main(arguments: list[str]) -> None:
    """Write everything anew."""
    write_pages()
    if arguments:
        draw(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
