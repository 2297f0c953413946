"""A topology as typed, frozen settings: the organisation, its sites and links, its servers, its routes.

Units are in the names. Defaults are Exchange's where Exchange has the setting (help text names it).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_PORT = re.compile(r"[0-9]{1,5}")


def valid_host(host: str) -> bool:
    """Whether it is an IP address or has the form of a host name (with underscores, as containers have)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(_HOST_NAME.fullmatch(host)) and not host.replace(".", "").isdecimal()
    return "%" not in host


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Endpoint(Settings):
    """`host:port` in TOML, an IPv6 address in brackets; port 0 takes a free one."""

    host: str
    port: int = Field(ge=0, le=65535)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        host, colon, port = value.strip().rpartition(":")
        if not colon:
            raise ValueError('has no port; write it like "127.0.0.1:2525"')
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError('is an IPv6 address without brackets; write it like "[::1]:2525"')
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f'has the port "{port}"; a port is a number from 0 to 65535')
        if not valid_host(host):
            raise ValueError(f'has the host "{host}", which is neither an IP address nor a host name')
        return {"host": host, "port": int(port)}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Limits(Settings):
    message_size_bytes: int = 36 * 1024 * 1024
    """MaxMessageSize of a receive connector."""
    header_size_bytes: int = 256 * 1024
    """MaxHeaderSize."""
    recipients: int = 5000
    """MaxRecipientsPerMessage; 1000 for submissions."""
    hops: int = 30
    """MaxHopCount: Received headers."""
    connections: int = 5000
    """MaxInboundConnection."""
    connections_per_source: int = 200
    """Not for loopback and Waypost servers."""
    protocol_errors: int = 5
    """MaxProtocolErrors, then the connection closes."""
    logon_failures: int = 3
    """MaxLogonFailures."""
    connection_idle_seconds: float = 300
    """ConnectionInactivityTimeout (RFC 5321 4.5.3.2: at least 5 minutes)."""
    imap_idle_seconds: float = 1860
    """RFC 9051 5.4: at least 30 minutes."""


class Retry(Settings):
    """When a message that could not be handed on is tried again."""

    glitch_count: int = 4
    """QueueGlitchRetryCount."""
    glitch_interval_seconds: float = 60
    transient_count: int = 6
    """TransientFailureRetryCount."""
    transient_interval_seconds: float = 600
    outbound_interval_seconds: float = 1800
    """OutboundConnectionFailureRetryInterval."""
    message_interval_seconds: float = 900
    """MessageRetryInterval: one message deferred by the next hop."""
    probe_first_seconds: float = 1
    """Inside: a failed next hop is probed by one connection after this long, doubling …"""
    probe_longest_seconds: float = 30
    """… up to this long."""
    delay_notice_seconds: float = 4 * 3600
    """DelayNotificationTimeout."""
    expiry_seconds: float = 48 * 3600
    """MessageExpirationTimeout."""


class SendConnector(Settings):
    """Where mail for address spaces outside the organisation goes."""

    name: str
    address_spaces: tuple[str, ...] = ("*",)
    """`*`, `example.org` or `*.example.org`."""
    cost: int = 1
    smart_hosts: tuple[Endpoint, ...] = ()
    """Empty: by MX."""
    port: int = 25
    """For delivery by MX."""
    source_hubs: tuple[str, ...] = ()
    """Hubs that may use it; empty: all."""
    tls: Literal["none", "opportunistic", "required"] = "opportunistic"


class HubServer(Settings):
    name: str
    site: str
    smtp: Endpoint | None = None
    """For mail from outside: no authentication, local recipients only."""
    smtp_internal: Endpoint
    """From Waypost servers: TLS from the first byte, client certificate required."""
    rpc: Endpoint
    """Control interface, mutual TLS."""
    limits: Limits = Limits()
    retry: Retry = Retry()


class StoreServer(Settings):
    name: str
    site: str
    lmtp: Endpoint
    rpc: Endpoint
    database: str = "default"
    """Name of the mailbox database."""
    database_url: str = ""
    """Empty: SQLite in the server's data folder."""
    limits: Limits = Limits()
    mailbox_quota_bytes: int = 0
    """0: none."""
    disconnected_keep_days: int = 30


class AccessServer(Settings):
    name: str
    site: str
    submission: Endpoint | None = None
    submissions: Endpoint | None = None
    imap: Endpoint | None = None
    imaps: Endpoint | None = None
    rpc: Endpoint
    certificate_file: str = ""
    """Public certificate chain; empty: one of the private CA."""
    key_file: str = ""
    limits: Limits = Limits(recipients=1000)


class Site(Settings):
    name: str


class SiteLink(Settings):
    sites: tuple[str, str]
    cost: int = 1


class Domain(Settings):
    domain: str
    kind: Literal["authoritative", "internal-relay", "external-relay"] = "authoritative"


class DemoUser(Settings):
    """Made with a random password when the directory is new."""

    address: str
    name: str = ""
    store: str = ""
    """Empty: the least filled store."""


class Topology(Settings):
    organisation: str
    data: Path = Path("data")
    """Relative to the current folder."""
    directory_url: str = ""
    """Empty: SQLite in `data/directory`."""
    default_domain: str
    domains: tuple[Domain, ...]
    sites: tuple[Site, ...]
    site_links: tuple[SiteLink, ...] = ()
    hubs: tuple[HubServer, ...]
    stores: tuple[StoreServer, ...]
    access: tuple[AccessServer, ...]
    send_connectors: tuple[SendConnector, ...] = ()
    demo_users: tuple[DemoUser, ...] = ()
    nearest_free_port: bool = False
    """A busy port of a listener for clients moves to the next free one (the embedded organisation)."""

    @property
    def directory_database(self) -> str:
        """Where the directory is, as a database URL."""
        return self.directory_url or f"sqlite:///{self.data / 'directory' / 'directory.db'}"

    @property
    def certificates(self) -> Path:
        """Folder of the private CA and the servers' certificates."""
        return self.data / "certificates"

    @property
    def servers(self) -> tuple[HubServer | StoreServer | AccessServer, ...]:
        """All servers: hubs, stores, Client Access, each in the order of the file."""
        return (*self.hubs, *self.stores, *self.access)

    def server_folder(self, name: str) -> Path:
        """Data folder of a server."""
        return self.data / name

    def control_socket(self, name: str) -> Path:
        """Unix socket of a server's control interface."""
        return self.data / "run" / f"{name}.sock"
