"""Certificates that others renew on the disk are taken up at the next connection; a half-written pair is not."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from pipeline.kafka.certificates import TlsFiles, context_of, end_of, renewed
from tests.kafka.conftest import Authority

CHANGED = "the Kafka certificates have changed in their files, new connections take them"
UNUSABLE = "the files of the Kafka certificates have changed and cannot be used, the last ones are"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Issues certificates."""
    return Authority(tmp_path / "authority")


def written(source: Path, target: Path) -> Path:
    """What the file holds is now another file's, as a mounted secret changes: at once."""
    beside = target.with_suffix(".new")
    shutil.copyfile(source, beside)
    beside.replace(target)
    return target


def test_nothing_changed(authority: Authority) -> None:
    """As long as the files are the same the context is, and a context of others is left alone."""
    files = TlsFiles(authority.cafile, authority.issue("one").pem, None)
    context = context_of(files)
    assert renewed(context) is context


def test_a_renewed_certificate(authority: Authority, tmp_path: Path) -> None:
    """Another context, once for all clients of the files, and one line that says when the new certificate ends."""
    certificate = written(authority.issue("old").pem, tmp_path / "tls.pem")
    files = TlsFiles(authority.cafile, certificate, None)
    first, second = context_of(files), context_of(files)
    new = authority.issue("new")
    written(new.pem, certificate)
    with capture_logs() as said:
        anew = renewed(first)
        assert anew is not first
        assert renewed(second) is anew
        assert renewed(anew) is anew
    assert [one["event"] for one in said] == [CHANGED]
    assert said[0]["client_certificate_ends"] == new.certificate.not_valid_after_utc.isoformat()


def test_a_certificate_whose_key_comes_later(authority: Authority, tmp_path: Path) -> None:
    """Between the two the last pair stays in use, and that is said once; with the key the new one is taken."""
    old, new = authority.issue("old").pem, authority.issue("new").pem
    certificate, key = written(old, tmp_path / "tls.crt"), written(old, tmp_path / "tls.key")
    context = context_of(TlsFiles(authority.cafile, certificate, key))
    written(new, certificate)
    with capture_logs() as said:
        assert renewed(context) is context
        assert renewed(context) is context
        written(new, key)
        assert renewed(context) is not context
    assert [one["event"] for one in said] == [UNUSABLE, CHANGED]
    assert "PIPELINE_KAFKA_SSL_CERTFILE" in said[0]["error"]


def test_files_that_are_gone_for_a_moment(authority: Authority, tmp_path: Path) -> None:
    """Nothing changes without them."""
    certificate = written(authority.issue("old").pem, tmp_path / "tls.pem")
    context = context_of(TlsFiles(authority.cafile, certificate, None))
    certificate.unlink()
    assert renewed(context) is context


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2199])
def test_when_a_certificate_ends(tmp_path: Path, year: int) -> None:
    """The first of the file, with a long name and a time of either form; as the library that wrote it says."""
    key = ec.generate_private_key(ec.SECP256R1())
    ends = dt.datetime(year, 12, 31, 23, 59, 58, tzinfo=dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 64)] * 4)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(2**150).not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    certificate = builder.not_valid_after(ends).sign(key, hashes.SHA256())
    file = tmp_path / "one.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert end_of(file) == ends == certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", None]
)
def test_what_is_no_certificate_has_no_end(tmp_path: Path, content: bytes | None) -> None:
    """Nothing is told of it, and nothing fails."""
    file = tmp_path / "one.pem"
    if content is not None:
        file.write_bytes(content)
    assert end_of(file) is None
    assert end_of(None) is None
