"""Apache Kafka's own libraries, from Maven Central, in a per-user cache.

Downloaded once (about 55 MB, seconds) with the user's Maven, so that proxies and mirrors of their `settings.xml`
apply. Safe with several processes at once: one downloads under a file lock into a directory beside the final one,
which appears by a rename, complete or not at all.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import InputError, PipelineError, ToolMissingError

DEFAULT_VERSION = "4.4.0"
"""Verified with aiokafka 0.14 and faust-streaming 0.15.3; so are those of `make platforms`."""

LOG4J_VERSION = "2.25.4"
"""Kafka logs through slf4j 1.7 and brings no binding of its own; that of Kafka 3, which needs another configuration, is
left out."""

VERSION = re.compile(r"\d+\.\d+\.\d+")
DOWNLOAD_WITHIN_S = 900
HOW_TO_INSTALL = (
    "Debian and Ubuntu: apt-get install {package}. Without Java: `docker compose up` runs the same broker, "
    "and PIPELINE_KAFKA_BOOTSTRAP_SERVERS names any broker that you already have"
)

WITHOUT_BINDINGS = """
      <exclusions>
        <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId></exclusion>
        <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-log4j12</artifactId></exclusion>
      </exclusions>
    """
"""Each of Kafka's own parts may bring one. Of two Java takes either, and may log nothing by our configuration."""

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>local-kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version>{without}</dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{kafka}</version>{without}</dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{log4j}</version></dependency>
  </dependencies>
</project>
"""


def java() -> str:
    """The path of the Java launcher.

    Raises:
        ToolMissingError: naming the package to install.
    """
    return _tool("java", "default-jdk-headless", "a local Apache Kafka needs JDK 17 or newer")


def libraries(version: str = DEFAULT_VERSION, *, say: Callable[[str], None] = lambda _: None) -> Path:
    """The directory of the broker's jars, downloaded when it is not there yet; `say` gets a line about a download.

    Raises:
        InputError: `version` does not look like 4.4.0.
        ToolMissingError: Maven is needed and not installed.
        PipelineError: the download failed; the message holds Maven's last lines.
    """
    if not VERSION.fullmatch(version):
        raise InputError(f"Kafka version {version!r} must look like {DEFAULT_VERSION}")
    cache = cache_directory()
    target = cache / f"kafka-{version}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():  # another process may have finished while we waited
            say(f"Downloading Apache Kafka {version} with Maven into {target} (about 55 MB, once)")
            _download(version, cache, target)
    return target


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/dodo-customerio`, by default `~/.cache/dodo-customerio` (XDG Base Directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "dodo-customerio"


def _download(version: str, cache: Path, target: Path) -> None:
    maven = _tool("mvn", "maven", "the libraries of a local Apache Kafka are fetched with Maven")
    with tempfile.TemporaryDirectory(prefix=f"kafka-{version}.", dir=cache) as scratch:
        pom, jars = Path(scratch) / "pom.xml", Path(scratch) / "jars"
        pom.write_text(POM.format(kafka=version, without=WITHOUT_BINDINGS, log4j=LOG4J_VERSION), encoding="utf-8")
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        try:
            run = subprocess.run(  # noqa: S603 - Maven by its full path, arguments of our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=DOWNLOAD_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PipelineError(
                f"Maven did not fetch Apache Kafka {version} within {DOWNLOAD_WITHIN_S} s; check the network"
            ) from None
        if run.returncode != 0 or not any(jars.glob("kafka_2.13-*.jar")):
            tail = "\n".join(run.stdout.decode("utf-8", "replace").splitlines()[-8:])
            raise PipelineError(
                f"Maven could not fetch Apache Kafka {version} (exit code {run.returncode}). Does the version exist, "
                f"and does Maven reach its repository (~/.m2/settings.xml)? It says:\n{tail}"
            )
        jars.rename(target)


def _tool(name: str, package: str, why: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ToolMissingError(f"{name} is not installed: {why}. {HOW_TO_INSTALL.format(package=package)}")
    return path
