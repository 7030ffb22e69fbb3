"""Bento beside ours: what can be known of it where nobody has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.settings import Settings
from tests.bench import bento
from tests.bench.__main__ import main


def test_every_variable_of_the_configurations_is_given() -> None:
    """What a configuration reads of the environment is what a start puts there, all of it and no more."""
    texts = [file.read_text(encoding="utf-8") for file in bento.CONFIGURATIONS.glob("*.yaml")]
    read = set(re.findall(r"""\$\{(BENTO_\w+)\}|env\("(BENTO_\w+)"\)""", "\n".join(texts)))
    given = bento.variables(Settings.load(), port=1, status_port=2)
    assert {name for pair in read for name in pair if name} == set(given)


def test_every_stream_has_a_configuration() -> None:
    """A stream that is named is a file."""
    assert [name for name in bento.STREAMS if not (bento.CONFIGURATIONS / f"{name}.yaml").is_file()] == []


@pytest.mark.parametrize(
    ("path", "said"), [(None, "BENTO=/path/to/bento"), ("", "BENTO=/path/to/bento"), ("no/such/file", "no/such/file")]
)
def test_where_it_is_must_be_known(
    path: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who asks for Bento and does not say where it is, or names no file, is told so before anything is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENTO", raising=False)
    if path is not None:
        monkeypatch.setenv("BENTO", path)
    with pytest.raises(SystemExit) as end:
        main(["transform", "--contenders", "bento"])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
