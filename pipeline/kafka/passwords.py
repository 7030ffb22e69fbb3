"""The password of SASL's user: of the file that holds it, as it is there at each new connection.

A password is changed at the brokers and in the mounted secret, hardly ever in the same second. Connections that stand
go on; each new one takes what the file holds by then, so nobody has to restart a stage for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pipeline import logs
from pipeline.settings import Settings

log = logs.get(__name__)


class FilePassword(str):
    """A password, and the file that it came from; its text is what aiokafka's clients take."""

    __slots__ = ("path",)
    path: Path

    @classmethod
    def of(cls, text: str, path: Path) -> Self:
        """`text`, which `path` held."""
        one = cls(text)
        one.path = path
        return one

    def anew(self) -> FilePassword:
        """What the file holds now; the one known last while it cannot be read or is empty, as in mid-change."""
        try:
            text = self.path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the file of the Kafka password cannot be read, the last one is used", error=str(error))
            return self
        if not text or text == self:
            return self
        log.info("the Kafka password has changed in its file, new connections take it", file=str(self.path))
        return FilePassword.of(text, self.path)


def password(settings: Settings) -> str:
    """The password, read anew where it came out of a file; empty when there is none."""
    if settings.kafka_sasl_password is None:
        return ""
    text = settings.kafka_sasl_password.get_secret_value()
    path = settings.file_of("kafka_sasl_password")
    return text if path is None else FilePassword.of(text, path).anew()
