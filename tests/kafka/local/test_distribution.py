"""The broker's libraries are fetched once, whole, by whoever comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipeline.errors import InputError, PipelineError, ToolMissingError
from pipeline.kafka.local.distribution import libraries

FAKE_MAVEN = """\
#!/bin/sh
echo run >> "{log}"
for word in "$@"; do case "$word" in */pom.xml) cp "$word" "{log}.pom.xml";; esac; done
for word in "$@"; do case "$word" in -DoutputDirectory=*) out="${{word#-DoutputDirectory=}}";; esac; done
mkdir -p "$out"
: > "$out/kafka_2.13-9.9.9.jar"
sleep 0.3
: > "$out/last.jar"
{end}
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven of our own and an empty cache; the file has one line a run of it."""
    return with_maven(tmp_path, monkeypatch, end="exit 0")


def with_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, end: str) -> Path:
    """Put a stand-in for `mvn` first on the path."""
    tools, log = tmp_path / "tools", tmp_path / "runs"
    tools.mkdir()
    (tools / "mvn").write_text(FAKE_MAVEN.format(log=log, end=end))
    (tools / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return log


def test_several_processes_at_once(runs: Path) -> None:
    """Four processes that need the libraries at the same moment download them once, and each sees all of them."""
    program = (
        "from pipeline.kafka.local.distribution import libraries\n"
        "print(sorted(one.name for one in libraries('9.9.9').iterdir()))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    seen = {process.communicate()[0] for process in started}
    assert seen == {"['kafka_2.13-9.9.9.jar', 'last.jar']\n"}
    assert runs.read_text() == "run\n"


def test_the_second_call_needs_no_maven(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache is used as it is, and only a download is announced."""
    said: list[str] = []
    first = libraries("9.9.9", say=said.append)
    monkeypatch.setenv("PATH", "/nowhere")
    assert libraries("9.9.9", say=said.append) == first
    assert len(said) == 1
    assert runs.read_text() == "run\n"


def test_one_binding_of_the_log(runs: Path) -> None:
    """No part of Kafka brings a binding of its own: with two, a broker of Kafka 3.0 logged nothing and seemed dead."""
    libraries("9.9.9")
    pom, ns = ET.parse(f"{runs}.pom.xml"), "{http://maven.apache.org/POM/4.0.0}"
    left_out = {
        str(part.findtext(f"{ns}artifactId")): {one.text for one in part.iterfind(f".//{ns}exclusion/{ns}artifactId")}
        for part in pom.iter(f"{ns}dependency")
        if part.findtext(f"{ns}groupId") == "org.apache.kafka"
    }
    bindings = {"slf4j-reload4j", "slf4j-log4j12"}
    assert left_out == {"kafka_2.13": bindings, "kafka-tools": bindings}


def test_a_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maven's last lines are shown, and half a download is never taken for a whole one."""
    with_maven(tmp_path, monkeypatch, end="echo Could not transfer artifact; exit 1")
    with pytest.raises(PipelineError, match=r"(?s)exit code 1.*settings\.xml.*Could not transfer artifact"):
        libraries("9.9.9")
    assert [path.name for path in (tmp_path / "cache" / "dodo-customerio").iterdir()] == ["kafka-9.9.9.lock"]


def test_without_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Maven is told what to install, or what to run instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ToolMissingError, match=r"mvn is not installed.*apt-get install maven.*docker compose"):
        libraries("9.9.9")


@pytest.mark.parametrize("version", ["", "4.2", "latest", "../4.2.1", "4.2.1\n"])
def test_a_malformed_version(version: str) -> None:
    """A version that is not three numbers never reaches a path or a pom."""
    with pytest.raises(InputError, match="must look like"):
        libraries(version)
