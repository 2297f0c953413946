"""A topology as typed, frozen settings: the organisation, its sites and links, its servers, its routes.

Units are in the names. Defaults are Exchange's where Exchange has the setting. What stands below a setting is
its help text in the schema and in docs/configuration.md, with Exchange's name for it at the end. How a change
of it takes effect is in its type: by a reload, unless said otherwise.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

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


@dataclass(frozen=True)
class TakesEffect:
    """When a changed setting counts."""

    when: Literal["restart", "first start"]


T = TypeVar("T")

AtRestart = Annotated[T, TakesEffect("restart")]
AtFirstStart = Annotated[T, TakesEffect("first start")]


def database_with_password(url: str, password_file: str) -> str:
    """The URL that foundation.database.engine opens: it reads the password when it connects."""
    if not url or not password_file:
        return url
    return f"{url}{'&' if '?' in url else '?'}password_file={quote(password_file, safe='/')}"


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
    """What a server takes from those who connect to it."""

    message_size_bytes: int = 36 * 1024 * 1024
    """Largest message. Exchange: MaxMessageSize."""
    header_size_bytes: int = 256 * 1024
    """Largest header of a message. Exchange: MaxHeaderSize."""
    recipients: int = 5000
    """Recipients of one message; 1000 on Client Access. Exchange: MaxRecipientsPerMessage."""
    hops: int = 30
    """Received fields, after which a message is taken to go in circles. Exchange: MaxHopCount."""
    connections: int = 5000
    """Connections at once. Exchange: MaxInboundConnection."""
    connections_per_source: int = 200
    """Connections at once from one address; not for this machine and Waypost servers.
    Exchange: MaxInboundConnectionPerSource."""
    protocol_errors: int = 20
    """Errors after which a connection is closed. Exchange: MaxProtocolErrors."""
    logon_failures: int = 3
    """Wrong passwords after which a further logon closes the connection. Exchange: MaxLogonFailures."""
    connection_idle_seconds: float = 300
    """Silence after which an SMTP connection is closed (RFC 5321 4.5.3.2: at least 5 minutes).
    Exchange: ConnectionInactivityTimeout."""
    imap_idle_seconds: float = 1860
    """Silence after which an IMAP connection is closed (RFC 9051 5.4: at least 30 minutes)."""


class Retry(Settings):
    """When a message that could not be handed on is tried again."""

    glitch_count: int = 4
    """First tries of a next hop outside that can't be reached. Exchange: QueueGlitchRetryCount."""
    glitch_interval_seconds: float = 60
    """Between those. Exchange: QueueGlitchRetryInterval."""
    transient_count: int = 6
    """Further tries after those. Exchange: TransientFailureRetryCount."""
    transient_interval_seconds: float = 600
    """Between those. Exchange: TransientFailureRetryInterval."""
    outbound_interval_seconds: float = 1800
    """Between all tries after those. Exchange: OutboundConnectionFailureRetryInterval."""
    message_interval_seconds: float = 900
    """Until a message that its next hop deferred is offered again. Exchange: MessageRetryInterval."""
    probe_first_seconds: float = 1
    """Until a Waypost server that can't be reached is asked again by one connection; it doubles each time."""
    probe_longest_seconds: float = 30
    """Where that doubling ends."""
    delay_notice_seconds: float = 4 * 3600
    """Age at which the sender is told that a message is late. Exchange: DelayNotificationTimeout."""
    expiry_seconds: float = 48 * 3600
    """Age at which a message is given up and returned. Exchange: MessageExpirationTimeout."""


Levels = tuple[float, float, float, float]
"""Above the first it is medium, above the second high; at the third medium again, at the fourth normal."""


class Pressure(Settings):
    """When a server takes less because something runs short. At medium mail from outside is refused for now,
    at high all; what is under way is finished. Of four values the level is medium above the first, high above
    the second, medium again at the third, normal again at the fourth. Exchange: back pressure."""

    database_disk_percent: Levels = (96, 99, 97, 94)
    """Used part of the disk that holds the database; free space inside the database is not used.
    Exchange: DatabaseUsedSpace."""
    disk_enough_bytes: int = 1024 * 1024 * 1024
    """While so much is free, the disk is not short, whatever the percentage is."""
    process_memory_percent: Levels = (72, 75, 73, 71)
    """Memory of the server's process, of what the machine or its container has; over it for a minute.
    Exchange: PrivateBytes."""
    submission_queue: Levels = (9_999, 15_000, 10_000, 2_000)
    """Messages that wait for the categorizer, hubs alone; over it for ten minutes.
    Exchange: QueueLength[SubmissionQueue]."""
    commits_waiting: Levels = (999, 1_500, 1_000, 800)
    """Changes that wait for a commit; over it for 20 seconds. Exchange: UsedVersionBuckets."""


class SendConnector(Settings):
    """Where mail for address spaces outside the organisation goes. The most specific address space wins, then
    the lowest cost, then the first name."""

    name: str
    """What queues and traces call it. Exchange: Name."""
    address_spaces: tuple[str, ...] = ("*",)
    """Domains it takes: `*`, `example.org`, or `*.example.org` for all below. Exchange: AddressSpaces."""
    cost: int = 1
    """The cheapest of several that take a domain is used. Exchange: the cost in AddressSpaces."""
    smart_hosts: tuple[Endpoint, ...] = ()
    """Hosts that take all its mail, tried in this order; port 25 if none is given. Empty: by MX.
    Exchange: SmartHosts."""
    port: int = 25
    """Port for delivery by MX. Exchange: Port."""
    source_hubs: tuple[str, ...] = ()
    """Hubs that may use it, others relay to them; none: all. Exchange: SourceTransportServers."""
    tls: Literal["none", "opportunistic", "required", "verified"] = "opportunistic"
    """`opportunistic`: where offered, else plain text. `required`: never plain text. `verified`: also only to
    a host whose certificate is good for its name; smart hosts alone. Exchange: RequireTLS, TlsAuthLevel."""
    implicit_tls: bool = False
    """TLS from the first byte, as smart hosts speak it on port 465 (RFC 8314 3.3), instead of STARTTLS."""
    ca_file: str = ""
    """Who may have issued the certificate, for `verified`; empty: whom this machine trusts."""
    username: str = ""
    """Whom to log on as at the smart hosts; only with `tls = "verified"`.
    Exchange: AuthenticationCredential."""
    password_file: str = ""
    """File with the password for it, read at each logon."""


class HubServer(Settings):
    """A hub transport server: takes messages, decides their way and hands them on."""

    name: AtRestart[str]
    site: AtRestart[str]
    """Site at which it stands."""
    smtp: AtRestart[Endpoint | None] = None
    """For mail from outside: no authentication, local recipients only. None: it takes no such mail."""
    smtp_internal: AtRestart[Endpoint]
    """For Waypost servers: TLS from the first byte, client certificate required."""
    rpc: AtRestart[Endpoint]
    """Control interface, mutual TLS."""
    database_url: AtRestart[str] = ""
    """Database of its queues, like `postgresql://user@host/name`. Empty: SQLite in its data folder."""
    database_password_file: AtRestart[str] = ""
    """File with the password for it, read at each connection."""
    database_size_bytes: AtRestart[int] = 0
    """Size at which its SQLite database is full, as if the disk were; large messages are then in it, too, and
    not in files beside it. 0: as large as the disk lets it be. Exchange: Database-Size-Limit-in-GB."""
    limits: Limits = Limits()
    retry: Retry = Retry()
    pressure: Pressure = Pressure()

    @property
    def connection_url(self) -> str:
        """`database_url` and where its password is; empty: SQLite in its data folder."""
        return database_with_password(self.database_url, self.database_password_file)


class StoreServer(Settings):
    """A mailbox store: holds mailboxes, and hands what their users send to a hub of its site."""

    name: AtRestart[str]
    site: AtRestart[str]
    """Site at which it stands."""
    lmtp: AtRestart[Endpoint]
    """For hubs that deliver: TLS from the first byte, client certificate required."""
    rpc: AtRestart[Endpoint]
    """For Client Access, and control interface; mutual TLS."""
    database: AtRestart[str] = "default"
    """Name of the mailbox database. Exchange: Database."""
    database_url: AtRestart[str] = ""
    """Mailbox database, like `postgresql://user@host/name`. Empty: SQLite in its data folder."""
    database_password_file: AtRestart[str] = ""
    """File with the password for it, read at each connection."""
    database_size_bytes: AtRestart[int] = 0
    """Size at which its SQLite database is full, as if the disk were; large messages are then in it, too, and
    not in files beside it. 0: as large as the disk lets it be. Exchange: Database-Size-Limit-in-GB."""
    limits: Limits = Limits()
    pressure: Pressure = Pressure()
    mailbox_quota_bytes: int = 0
    """Size at which a mailbox takes no more; 0: none. Exchange: ProhibitSendReceiveQuota."""
    disconnected_keep_days: int = 30
    """How long the mailbox of a removed user is kept. Exchange: MailboxRetention."""

    @property
    def connection_url(self) -> str:
        """`database_url` and where its password is; empty: SQLite in its data folder."""
        return database_with_password(self.database_url, self.database_password_file)


class AccessServer(Settings):
    """A Client Access server: mail programs connect to it alone, wherever the mailbox is."""

    name: AtRestart[str]
    site: AtRestart[str]
    """Site at which it stands."""
    submission: AtRestart[Endpoint | None] = None
    """SMTP for mail programs that send: STARTTLS, then a logon (RFC 6409). None: not offered."""
    submissions: AtRestart[Endpoint | None] = None
    """The same with TLS from the first byte (RFC 8314). None: not offered."""
    imap: AtRestart[Endpoint | None] = None
    """IMAP for mail programs that read: STARTTLS, then a logon. None: not offered."""
    imaps: AtRestart[Endpoint | None] = None
    """The same with TLS from the first byte. None: not offered."""
    imap_plain_logon: bool = False
    """Logons on `imap` without TLS, for a proxy in front of it that speaks TLS with the mail programs;
    without one passwords travel readable (RFC 9051 11.1)."""
    rpc: AtRestart[Endpoint]
    """Control interface, mutual TLS."""
    certificate_file: AtRestart[str] = ""
    """Public certificate and its chain, PEM; empty: one of the private CA. A reload reads a renewed file."""
    key_file: AtRestart[str] = ""
    """Private key of it, PEM."""
    limits: Limits = Limits(recipients=1000)


class Site(Settings):
    """A place whose servers have fast connections to each other. Exchange: AD site."""

    name: AtRestart[str]


class SiteLink(Settings):
    """A connection of two sites; mail takes the way of the least cost. Exchange: IP site link."""

    sites: tuple[str, str]
    """The two sites."""
    cost: int = 1
    """Cost of the link. Exchange: Cost, ExchangeCost."""


class Domain(Settings):
    """A domain whose mail the organisation takes. Exchange: accepted domain."""

    domain: AtFirstStart[str]
    """Name of the domain. Exchange: DomainName."""
    kind: AtFirstStart[Literal["authoritative", "internal-relay", "external-relay"]] = "authoritative"
    """`authoritative`: all its recipients are here. `internal-relay`, `external-relay`: the others' mail is
    passed on by a send connector. Exchange: DomainType."""


class DemoUser(Settings):
    """Made with a random password when the directory is new."""

    address: AtFirstStart[str]
    """Address and login name."""
    name: AtFirstStart[str] = ""
    """Name for people. Exchange: DisplayName."""
    store: AtFirstStart[str] = ""
    """Mailbox store; empty: the least filled one."""


class Topology(Settings):
    """The organisation."""

    organisation: AtFirstStart[str]
    """Name of the organisation."""
    default_domain: AtRestart[str]
    """Domain of the servers' host names and of reports."""
    data: AtRestart[Path] = Path("data")
    """Folder of all that is kept; relative to the current folder."""
    directory_url: AtRestart[str] = ""
    """Database of the directory, like `postgresql://user@host/name`. Empty: SQLite in `data/directory`."""
    directory_password_file: AtRestart[str] = ""
    """File with the password for it, read at each connection."""
    domains: tuple[Domain, ...]
    sites: tuple[Site, ...]
    site_links: tuple[SiteLink, ...] = ()
    hubs: tuple[HubServer, ...]
    stores: tuple[StoreServer, ...]
    access: tuple[AccessServer, ...]
    send_connectors: tuple[SendConnector, ...] = ()
    demo_users: tuple[DemoUser, ...] = ()
    nearest_free_port: AtRestart[bool] = False
    """A busy port of a listener moves to the next free one when `waypost up` starts."""

    @property
    def directory_database(self) -> str:
        """Where the directory is, as a database URL."""
        url = database_with_password(self.directory_url, self.directory_password_file)
        return url or f"sqlite:///{self.data / 'directory' / 'directory.db'}"

    @property
    def certificates(self) -> Path:
        """Folder of the private CA and the servers' certificates."""
        return self.data / "certificates"

    @property
    def servers(self) -> tuple[HubServer | StoreServer | AccessServer, ...]:
        """All servers: hubs, stores, Client Access, each in the order of the file."""
        return (*self.hubs, *self.stores, *self.access)

    def host_name(self, name: str) -> str:
        """How a server calls itself in SMTP: EHLO, greetings, Received."""
        return f"{name}.{self.default_domain}"

    def server_folder(self, name: str) -> Path:
        """Data folder of a server."""
        return self.data / name

    def control_socket(self, name: str) -> Path:
        """Unix socket of a server's control interface."""
        return self.data / "run" / f"{name}.sock"
