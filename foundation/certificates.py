"""The organisation's private certificate authority, and the server certificates it issues.

Files in one folder: `ca.pem` (for all to read), `ca.key` (0600, read only to issue; `authority_key` names
another place for it), `<server>.pem`, `<server>.key` (0600). A server's certificate carries its name as the
URI `waypost://server/<name>`, by which its peers know it. Issued by `waypost init` and the supervisor; the
daemons only read (foundation/tls.py).
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from foundation.tls import SERVER_URI, CertificateError

AUTHORITY_DAYS = 3650
SERVER_DAYS = 90
RENEW_BEFORE_DAYS = 30

_ALWAYS_HOSTS = ("localhost", "127.0.0.1", "::1")
_DAY_MS = 86_400_000
_CLOCK_SKEW = datetime.timedelta(hours=1)


class Disk(Protocol):
    def read(self, file: Path) -> bytes: ...

    def write(self, file: Path, data: bytes, mode: int = 0o600) -> None: ...


def make_authority(
    folder: Path, organisation: str, *, now_ms: int, disk: Disk, authority_key: Path | None = None
) -> bool:
    """Makes the private CA where there is none. True when it was made.

    Raises CertificateError when only one of its two files is there, or one can't be read.
    """
    key_file = authority_key or folder / "ca.key"
    have = [file for file in (folder / "ca.pem", key_file) if file.exists()]
    if len(have) == 1:
        raise CertificateError(
            have[0], "the other half of the CA is missing", "restore it, or remove this file to make a new CA"
        )
    if have:
        _load_authority(folder, disk, authority_key)
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64] or "Waypost"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Waypost private CA"),
        ]
    )
    certificate = (
        _builder(name, name, key.public_key(), now_ms, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    disk.write(key_file, _key_bytes(key), 0o600)
    disk.write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return True


def issue_certificate(
    folder: Path,
    name: str,
    hosts: Sequence[str] = (),
    *,
    now_ms: int,
    disk: Disk,
    authority_key: Path | None = None,
) -> None:
    """Issues a new key and certificate for a server: for its name, localhost, and the hosts it listens on.

    Raises CertificateError when the CA can't be read.
    """
    authority, signing_key = _load_authority(folder, disk, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now_ms, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(_alternative_names(name, hosts)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    # A crash between the two leaves a certificate that is not for its key: `renewal_due` sees that.
    disk.write(folder / f"{name}.key", _key_bytes(key), 0o600)
    disk.write(folder / f"{name}.pem", pem, 0o644)


def ensure_certificate(
    folder: Path,
    name: str,
    hosts: Sequence[str] = (),
    *,
    now_ms: int,
    disk: Disk,
    authority_key: Path | None = None,
) -> bool:
    """Issues the server's certificate where `renewal_due` says so. True when it did."""
    if not renewal_due(folder, name, hosts, now_ms=now_ms, disk=disk):
        return False
    issue_certificate(folder, name, hosts, now_ms=now_ms, disk=disk, authority_key=authority_key)
    return True


def renewal_due(folder: Path, name: str, hosts: Sequence[str] = (), *, now_ms: int, disk: Disk) -> bool:
    """Whether the certificate is missing, damaged, not for its key, of another CA, without one of the
    hosts, or has less than 30 days left."""
    try:
        certificate = x509.load_pem_x509_certificate(disk.read(folder / f"{name}.pem"))
        key = serialization.load_pem_private_key(disk.read(folder / f"{name}.key"), None)
        authority = x509.load_pem_x509_certificate(disk.read(folder / "ca.pem"))
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with the files, a new certificate is the mend
        return True
    if certificate.public_key() != key.public_key():
        return True
    if any(wanted not in names for wanted in _alternative_names(name, hosts)):
        return True
    return _milliseconds(certificate.not_valid_after_utc) - now_ms < RENEW_BEFORE_DAYS * _DAY_MS


def expires_at_ms(file: Path, *, disk: Disk) -> int:
    """When a certificate ends. Raises CertificateError."""
    return _milliseconds(_load_certificate(file, disk).not_valid_after_utc)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(name: str, hosts: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [x509.UniformResourceIdentifier(SERVER_URI + name)]
    for host in dict.fromkeys((name, *_ALWAYS_HOSTS, *hosts)):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            found.append(x509.DNSName(host.encode("idna").decode("ascii")))
        else:
            if not address.is_unspecified:
                found.append(x509.IPAddress(address))
    return found


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_certificate(file: Path, disk: Disk) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(disk.read(file))
    except (OSError, ValueError) as error:
        raise CertificateError(file, f"can't be read ({error})", "run `waypost init`") from error


def _load_authority(
    folder: Path, disk: Disk, authority_key: Path | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _load_certificate(folder / "ca.pem", disk)
    file = authority_key or folder / "ca.key"
    try:
        key = serialization.load_pem_private_key(disk.read(file), None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(file, f"can't be read ({error})", "restore the CA key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(file, "is not the key of ca.pem", "restore the CA key")
    return certificate, key


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)
