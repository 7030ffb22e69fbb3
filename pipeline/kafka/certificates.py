"""The certificates of connections to the brokers: those that their files hold at each new connection.

Others renew them on the disk (cert-manager, Vault, a mounted secret), long before the old ones end. Connections that
stand go on, past that end too; each new one is made with what the files hold by then, so nobody has to restart a stage
for it. Files in mid-change (a certificate without its key yet) are no reason to drop those that fitted last.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from pipeline import logs
from pipeline.errors import SettingsError
from pipeline.settings import PREFIX

WARN_BEFORE: Final = dt.timedelta(days=14)
"""A certificate that ends sooner should have been renewed: cert-manager does so with a third of its life left, which
are 30 days of 90."""

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_LONG_FORM = 0x80

Stamp = tuple[tuple[int, int, int] | None, ...]

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Which files the certificates come from; None: the system's CAs, no client certificate, key in the same file."""

    cafile: Path | None
    certfile: Path | None
    keyfile: Path | None

    def stamp(self) -> Stamp:
        """What changes when one of the files is written or another one takes its place."""
        return tuple(_stamp_of(path) for path in (self.cafile, self.certfile, self.keyfile))


@dataclass(slots=True)
class _Source:
    files: TlsFiles
    stamp: Stamp
    refused: Stamp | None = None


_sources: WeakKeyDictionary[ssl.SSLContext, _Source] = WeakKeyDictionary()
_latest: dict[TlsFiles, tuple[Stamp, ssl.SSLContext]] = {}
_lock = threading.Lock()  # clients live on two threads


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """The TLS context of these files, host names checked.

    Raises:
        SettingsError: a file is missing, unreadable, not PEM or encrypted, or the key is another certificate's.
    """
    stamp = files.stamp()  # before they are read: what is written meanwhile is a change
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.cafile)
    except OSError as error:  # ssl.SSLError is one
        raise _unusable("KAFKA_SSL_CAFILE", files.cafile, "PEM certificates of the CA", error) from None
    _load_client_certificate(context, files.certfile, files.keyfile)
    _sources[context] = _Source(files, stamp)
    return context


def renewed(context: ssl.SSLContext) -> ssl.SSLContext:
    """A new context when its files have changed and can be used, else the same; for each new connection."""
    with _lock:
        source = _sources.get(context)
        if source is None or (stamp := source.files.stamp()) in (source.stamp, source.refused):
            return context
        known = _latest.get(source.files)
        if known is not None and known[0] == stamp:  # another client found it first, and has logged it
            return known[1]
        try:
            anew = context_of(source.files)
        except SettingsError as error:
            source.refused = stamp
            log.warning("the files of the Kafka certificates have changed and cannot be used, the last ones are",
                        error=str(error))  # fmt: skip
            return context
        _latest[source.files] = (stamp, anew)
    ends = end_of(source.files.certfile)
    log.info("the Kafka certificates have changed in their files, new connections take them",
             client_certificate_ends=None if ends is None else ends.isoformat())  # fmt: skip
    return anew


def end_of(certfile: Path | None) -> dt.datetime | None:
    """When the first certificate of a PEM file ends; None without a file, or when it cannot be read."""
    try:
        block = _BLOCK.search(certfile.read_bytes()) if certfile is not None else None
        return _not_after(base64.b64decode(block[1])) if block is not None else None
    except (OSError, ValueError, IndexError):
        return None


def _not_after(der: bytes) -> dt.datetime:
    """The end of `TBSCertificate.validity` (RFC 5280 §4.1).

    Raises:
        ValueError, IndexError: that is no certificate.
    """
    at = _inside(der, _inside(der, 0))  # Certificate, TBSCertificate
    if der[at] == _VERSION:
        at = _behind(der, at)
    for _ in ("serial number", "signature", "issuer"):
        at = _behind(der, at)
    at = _behind(der, _inside(der, at))  # validity, over notBefore
    length, start = _length(der, at)
    text = der[start : start + length].decode("ascii")
    if der[at] == _UTC_TIME:  # years from 50 on are of the last century (§4.1.2.5.1)
        text = ("19" if int(text[:2]) >= 50 else "20") + text  # noqa: PLR2004
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError(f"no time: {der[at]}")
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)


def _length(der: bytes, at: int) -> tuple[int, int]:
    """Length of the element's content, and where that begins."""
    first = der[at + 1]
    if first < _LONG_FORM:
        return first, at + 2
    size = first - _LONG_FORM
    return int.from_bytes(der[at + 2 : at + 2 + size]), at + 2 + size


def _inside(der: bytes, at: int) -> int:
    if der[at] != _SEQUENCE:
        raise ValueError(f"no sequence: {der[at]}")
    return _length(der, at)[1]


def _behind(der: bytes, at: int) -> int:
    length, start = _length(der, at)
    return start + length


def _stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _load_client_certificate(context: ssl.SSLContext, certificate: Path | None, key: Path | None) -> None:
    if key and not certificate:
        raise SettingsError(f"{PREFIX}KAFKA_SSL_KEYFILE needs {PREFIX}KAFKA_SSL_CERTFILE beside it")
    if not certificate:
        return
    for variable, path in (("KAFKA_SSL_CERTFILE", certificate), ("KAFKA_SSL_KEYFILE", key)):
        try:
            if path:
                path.read_bytes()
        except OSError as error:
            raise _unusable(variable, path, "PEM", error) from None
    try:
        # Without a password OpenSSL would ask for one on the terminal, and a worker would stand there for ever.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        where = f"in {PREFIX}KAFKA_SSL_KEYFILE" if key else "in the same file"
        what = f"a client certificate, and its private key without a password {where}, both PEM"
        raise _unusable("KAFKA_SSL_CERTFILE", certificate, what, error) from None


def _unusable(variable: str, path: Path | None, what: str, error: OSError) -> SettingsError:
    reason = "holds something else" if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
    return SettingsError(f"{PREFIX}{variable}: {path} must hold {what} ({reason})")
