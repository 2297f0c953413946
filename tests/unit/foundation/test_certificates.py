"""The private CA and what it issues."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509

from foundation.certificates import (
    ensure_certificate,
    expires_at_ms,
    issue_certificate,
    make_authority,
    renewal_due,
)
from foundation.tls import CertificateError
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk

DISK = SystemDisk()
NOW = SystemClock().now_ms()
DAY = 86_400_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path, "Example", now_ms=NOW, disk=DISK)
    return tmp_path


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_authority_is_made_once(folder: Path) -> None:
    first = (folder / "ca.pem").read_bytes()
    assert not make_authority(folder, "Example", now_ms=NOW, disk=DISK)
    assert (folder / "ca.pem").read_bytes() == first
    assert (mode(folder / "ca.pem"), mode(folder / "ca.key")) == (0o644, 0o600)


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key"])
def test_half_an_authority_is_refused(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    with pytest.raises(CertificateError, match="other half"):
        make_authority(folder, "Example", now_ms=NOW, disk=DISK)


def test_key_of_the_authority_may_be_elsewhere(tmp_path: Path) -> None:
    folder, key = tmp_path / "certificates", tmp_path / "secret" / "ca.key"
    assert make_authority(folder, "Example", now_ms=NOW, disk=DISK, authority_key=key)
    assert not make_authority(folder, "Example", now_ms=NOW, disk=DISK, authority_key=key)
    assert ensure_certificate(folder, "hub-a", now_ms=NOW, disk=DISK, authority_key=key)
    assert not ensure_certificate(folder, "hub-a", now_ms=NOW, disk=DISK, authority_key=key)
    assert mode(key) == 0o600
    assert sorted(file.name for file in folder.iterdir()) == ["ca.pem", "hub-a.key", "hub-a.pem"]
    with pytest.raises(CertificateError, match="other half"):
        make_authority(folder, "Example", now_ms=NOW, disk=DISK)


def test_damaged_authority_is_refused(folder: Path) -> None:
    (folder / "ca.key").write_bytes(b"nonsense")
    with pytest.raises(CertificateError, match=r"ca\.key"):
        issue_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)


def test_key_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    make_authority(tmp_path / "other", "Other", now_ms=NOW, disk=DISK)
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match=r"not the key of ca\.pem"):
        issue_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)


def test_server_certificate_names(folder: Path) -> None:
    issue_certificate(
        folder, "hub-a", ["mail.example.test", "192.0.2.1", "0.0.0.0", "::1"], now_ms=NOW, disk=DISK
    )
    certificate = x509.load_pem_x509_certificate((folder / "hub-a.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub-a", "localhost", "mail.example.test"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "192.0.2.1")
    ]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["waypost://server/hub-a"]
    assert (mode(folder / "hub-a.pem"), mode(folder / "hub-a.key")) == (0o644, 0o600)
    lifetime = expires_at_ms(folder / "hub-a.pem", disk=DISK) - NOW
    assert 89 * DAY < lifetime <= 90 * DAY


def test_renewed_only_when_due(folder: Path) -> None:
    assert ensure_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)
    assert not ensure_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)
    assert not renewal_due(folder, "hub-a", now_ms=NOW + 59 * DAY, disk=DISK)
    assert ensure_certificate(folder, "hub-a", now_ms=NOW + 61 * DAY, disk=DISK)
    assert expires_at_ms(folder / "hub-a.pem", disk=DISK) > NOW + 150 * DAY


def test_due_for_a_new_host_a_lost_key_damage_and_a_new_authority(folder: Path) -> None:
    def due(*hosts: str) -> bool:
        return renewal_due(folder, "hub-a", hosts, now_ms=NOW, disk=DISK)

    assert due()
    issue_certificate(folder, "hub-a", ["192.0.2.1"], now_ms=NOW, disk=DISK)
    assert not due("192.0.2.1")
    assert due("192.0.2.2")
    key = (folder / "hub-a.key").read_bytes()
    (folder / "hub-a.key").unlink()
    assert due()
    issue_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)
    (folder / "hub-a.key").write_bytes(key)
    assert due()
    issue_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)
    (folder / "hub-a.pem").write_bytes(b"\0")
    assert due()
    issue_certificate(folder, "hub-a", now_ms=NOW, disk=DISK)
    (folder / "ca.pem").unlink()
    (folder / "ca.key").unlink()
    make_authority(folder, "Example", now_ms=NOW, disk=DISK)
    assert due()


def test_end_of_a_missing_certificate(folder: Path) -> None:
    with pytest.raises(CertificateError, match="waypost init"):
        expires_at_ms(folder / "hub-b.pem", disk=DISK)
