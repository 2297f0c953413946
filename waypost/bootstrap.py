"""From a topology to something that can start: folders, the private CA, certificates, the directory, demo
users.

Every step may be repeated, and a crash between two of them is mended by the next run.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.model import Topology
from foundation.certificates import ensure_certificate, make_authority
from foundation.directory.changes import DirectoryChanges
from foundation.directory.records import AlreadyExists, DirectoryError
from foundation.interfaces.world import Disk, Entropy, World
from foundation.passwords import hash_password
from foundation.tls import OPERATOR
from waypost.migrations.upgrade import upgrade
from waypost.servers import Server, servers_of


@dataclass(frozen=True)
class DemoUser:
    address: str
    password: str


def demo_users_file(topology: Topology) -> Path:
    return topology.data / "demo-users.json"


def prepare(topology: Topology, world: World, authority_key: Path | None = None) -> tuple[DemoUser, ...]:
    """Makes what is missing under the data folder; returns the demo users if they were made now.

    `authority_key`: file of the CA's key; None: beside the certificates.
    Raises CertificateError, DirectoryError, OSError.
    """
    check_data(topology, world)
    for folder in (topology.data, topology.data / "run", topology.certificates):
        folder.mkdir(parents=True, exist_ok=True)
    prepare_certificates(topology, world, authority_key)
    return prepare_directory(topology, world)


def check_data(topology: Topology, world: World) -> None:
    """Refuses data of another organisation, or with mail that no server of this topology would look after.

    Raises DirectoryError.
    """
    changes = DirectoryChanges(topology.directory_database, world.clock, world.entropy)
    try:
        if not changes.exists():
            return
        name, filled = changes.organisation().name, changes.filled_stores()
    finally:
        changes.close()
    if name != topology.organisation:
        raise _other_data(topology, f'it is of the organisation "{name}", not "{topology.organisation}"')
    known = [store.name for store in topology.stores]
    for store, users in filled.items():
        if store not in known:
            whose = f"{users} mailbox{'es' if users > 1 else ''} in it"
            raise _other_data(topology, f'it has a store "{store}" with {whose}, the configuration has not')
    hubs = [hub.name for hub in topology.hubs]
    for queue in sorted(topology.data.glob("*/queue.db")):
        if queue.parent.name not in hubs:
            hub = f'it has the queues of a hub "{queue.parent.name}"'
            raise _other_data(topology, f"{hub}, the configuration has not")


def _other_data(topology: Topology, how: str) -> DirectoryError:
    return DirectoryError(
        f"the data in {topology.data} belongs to another configuration: {how}",
        "start it with that one, or give this one a folder of its own: "
        f"WAYPOST__ORGANISATION__DATA={topology.data}-2",
    )


def prepare_certificates(
    topology: Topology, world: World, authority_key: Path | None = None
) -> tuple[str, ...]:
    """The CA where there is none, and every certificate that is missing or due; returns whose were issued."""
    folder, disk, now_ms = topology.certificates, world.disk, world.clock.now_ms()
    make_authority(folder, topology.organisation, now_ms=now_ms, disk=disk, authority_key=authority_key)
    hosts: dict[str, Sequence[str]] = {
        server.name: (topology.host_name(server.name), *_hosts(server)) for server in servers_of(topology)
    }
    hosts[OPERATOR] = ()
    issued = tuple(
        name
        for name in hosts
        if ensure_certificate(
            folder, name, hosts[name], now_ms=now_ms, disk=disk, authority_key=authority_key
        )
    )
    _publish_authority(topology, disk)
    return issued


def prepare_directory(topology: Topology, world: World) -> tuple[DemoUser, ...]:
    """The organisation with its domains where there is none, then the demo users of the topology.

    Their passwords are on disk before the first of them is in the directory, under a name that says so
    until the last one is: passwords that nobody knows can't come about.
    """
    changes = DirectoryChanges(topology.directory_database, world.clock, world.entropy)
    done = demo_users_file(topology)
    begun = done.with_suffix(".begun")
    try:
        new = not changes.exists()
        if new:
            domains = [(domain.domain, domain.kind) for domain in topology.domains]
            if topology.demo_users:
                _write_users(begun, _with_passwords(topology, world.entropy), world.disk)
            changes.create_organisation(topology.organisation, topology.default_domain, domains)
        else:
            changes.prepare(upgrade)
        if not begun.exists():
            return ()
        users = read_users(begun)
        _add_users(changes, topology, users)
        begun.rename(done)
        return users
    finally:
        changes.close()


def read_users(file: Path) -> tuple[DemoUser, ...]:
    return tuple(DemoUser(**user) for user in json.loads(file.read_text()))


def _write_users(file: Path, users: Sequence[DemoUser], disk: Disk) -> None:
    document = [{"address": user.address, "password": user.password} for user in users]
    disk.write(file, (json.dumps(document, indent=2) + "\n").encode(), 0o600)


def _with_passwords(topology: Topology, entropy: Entropy) -> list[DemoUser]:
    return [
        DemoUser(user.address, urlsafe_b64encode(entropy.token(12)).decode("ascii"))
        for user in topology.demo_users
    ]


def _add_users(changes: DirectoryChanges, topology: Topology, users: Sequence[DemoUser]) -> None:
    settings = {user.address: user for user in topology.demo_users}
    stores = {store.name: store.database for store in topology.stores}
    for user in users:
        wanted = settings.get(user.address)
        try:
            changes.add_user(
                user.address,
                hash_password(user.password),
                name=wanted.name if wanted else "",
                store=wanted.store if wanted else "",
                stores=stores,
            )
        except AlreadyExists:  # of a run that ended here
            continue


def _publish_authority(topology: Topology, disk: Disk) -> None:
    """`ca.pem` where people look for it; mail programs need it to trust the servers."""
    authority = disk.read(topology.certificates / "ca.pem")
    published = topology.data / "ca.pem"
    if not published.exists() or disk.read(published) != authority:
        disk.write(published, authority, 0o644)


def _hosts(server: Server) -> tuple[str, ...]:
    return tuple(dict.fromkeys(endpoint.host for endpoint in server.endpoints().values()))
