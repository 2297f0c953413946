"""TLS contexts by role, from the certificate files of one server. Nothing here issues a certificate.

Three roles. Public: towards mail programs and strangers, never asks for a client certificate. Internal
server: towards Waypost servers, requires a certificate of the private CA. Internal client: shows its own, and
accepts only servers of that CA. Who the peer is, is read from its certificate (`peer_name`), not from the
address it was reached by.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

SERVER_URI = "waypost://server/"
"""What the URI in a server's certificate starts with; its name follows."""

OPERATOR = "operator"
"""Name in the certificate that the command line shows to servers on other machines."""


_CERTIFICATE_END = "-----END CERTIFICATE-----"


class CertificateError(Exception):
    """A certificate or key can't be used: which file, what is wrong, what to do."""

    def __init__(self, file: Path, problem: str, mend: str) -> None:
        super().__init__(f"{file}: {problem}; {mend}")
        self.file = file
        self.problem = problem
        self.mend = mend


class Identity:
    """Certificates of one server. Contexts are made once, and loaded anew by `reload`."""

    def __init__(self, folder: Path, name: str, *, certificate_file: str = "", key_file: str = "") -> None:
        """`certificate_file` and `key_file`: what the public sees instead of the private CA's certificate."""
        self._folder = folder
        self.name = name
        self._own = (folder / f"{name}.pem", folder / f"{name}.key")
        self._public = (Path(certificate_file), Path(key_file)) if certificate_file else self._own
        self._public_server: ssl.SSLContext | None = None
        self._internal_server: ssl.SSLContext | None = None
        self._internal_client: ssl.SSLContext | None = None

    def public_server(self) -> ssl.SSLContext | None:
        """For listeners towards the world; None while there is no certificate. Raises CertificateError."""
        if self._public_server is None and self._public[0].exists():
            context = _context(ssl.PROTOCOL_TLS_SERVER)
            _load(context, *self._public)
            self._public_server = context
        return self._public_server

    def internal_server(self) -> ssl.SSLContext:
        """Requires a client certificate of the private CA. Raises CertificateError."""
        if self._internal_server is None:
            self._internal_server = self._mutual(ssl.PROTOCOL_TLS_SERVER)
        return self._internal_server

    def internal_client(self) -> ssl.SSLContext:
        """Shows this server's certificate; the peer's must be of the private CA, its name is for `peer_name`.

        Raises CertificateError.
        """
        if self._internal_client is None:
            self._internal_client = self._mutual(ssl.PROTOCOL_TLS_CLIENT)
        return self._internal_client

    def peer_name(self, connection: asyncio.BaseTransport | ssl.SSLObject | ssl.SSLSocket | None) -> str:
        """Name of the Waypost server at the other end, from its verified certificate; empty without one."""
        if connection is None:
            return ""
        if isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
            return certificate_name(connection.getpeercert())
        return certificate_name(connection.get_extra_info("peercert"))

    def reload(self) -> None:
        """Reads renewed files for new connections; those that stand keep theirs. Raises CertificateError."""
        if self._public_server is not None:
            _load(self._public_server, *self._public)
        for context in (self._internal_server, self._internal_client):
            if context is not None:
                _load(context, *self._own)

    def _mutual(self, role: ssl._SSLMethod) -> ssl.SSLContext:
        context = _context(role)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        authority = self._folder / "ca.pem"
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(authority, f"can't be read ({error})", "run `waypost init`") from error
        _load(context, *self._own)
        return context


def verifying_client(host: str, ca_file: str = "") -> ssl.SSLContext:
    """For connections to servers outside that must prove their name, whatever address they were reached by.

    `ca_file`: who may have issued the certificate; empty: whom this machine trusts. Raises CertificateError.
    """
    context = _ExpectingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.expected_host = host
    if not ca_file:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            Path(ca_file), f"can't be read ({error})", "mend the setting ca_file"
        ) from error
    return context


def pinning_client(certificate: str) -> ssl.SSLContext:
    """For the one server that shows this certificate (PEM; a chain after it is not trusted)."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    own, end, _ = certificate.partition(_CERTIFICATE_END)
    context.load_verify_locations(cadata=f"{own}{end}\n")
    return context


class _ExpectingContext(ssl.SSLContext):
    """Connections are made to addresses; the name to be found is known to the context."""

    expected_host = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.expected_host, session)


def certificate_name(certificate: dict[str, Any] | None) -> str:
    """The server name in a verified peer certificate as `getpeercert` gives it; empty if there is none."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith(SERVER_URI):
            return str(value[len(SERVER_URI) :])
    return ""


def _context(role: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 8314 4.1
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        missing = next((file for file in (certificate, key) if not file.exists()), certificate)
        raise CertificateError(
            missing, f"can't be used with its key ({error})", "run `waypost init`, or mend the setting"
        ) from error


def _no_password() -> str:
    """An encrypted key is an error to report, not a question on the terminal."""
    return ""
