"""What `up` and `init` make, and that a crash between two steps is mended by the next run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

import waypost.bootstrap
from config.model import Topology
from foundation.directory.changes import DirectoryChanges
from foundation.directory.records import DirectoryError
from foundation.passwords import verify_password
from foundation.tls import OPERATOR, Identity
from tests.harness.topologies import ready_topology
from waypost.bootstrap import demo_users_file, prepare, prepare_certificates, read_users
from waypost.world import real_world


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return ready_topology("two-sites", tmp_path / "data")


def changes_of(topology: Topology) -> DirectoryChanges:
    world = real_world()
    return DirectoryChanges(topology.directory_database, world.clock, world.entropy)


def test_everything_is_made_once(topology: Topology) -> None:
    made = prepare(topology, real_world())
    assert [user.address for user in made] == [user.address for user in topology.demo_users]
    assert read_users(demo_users_file(topology)) == made
    assert stat.S_IMODE(demo_users_file(topology).stat().st_mode) == 0o600
    for server in topology.servers:
        Identity(topology.certificates, server.name).internal_server()
    Identity(topology.certificates, OPERATOR).internal_client()
    assert prepare(topology, real_world()) == ()
    assert read_users(demo_users_file(topology)) == made
    assert prepare_certificates(topology, real_world()) == ()


def test_certificates_are_good_for_the_names_that_servers_say(topology: Topology) -> None:
    prepare_certificates(topology, real_world())
    certificate = x509.load_pem_x509_certificate((topology.certificates / "access.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"access", "access.example.test", "localhost"} <= set(names.get_values_for_type(x509.DNSName))


def test_a_removed_demo_user_does_not_come_back(topology: Topology) -> None:
    prepare(topology, real_world())
    directory = changes_of(topology)
    directory.remove_user(topology.demo_users[0].address)
    assert prepare(topology, real_world()) == ()
    assert topology.demo_users[0].address not in [user.address for user in directory.users()]
    directory.close()


@pytest.mark.parametrize("crash_after", [0, 1, 3])
def test_a_crash_while_users_are_made_loses_no_password(
    topology: Topology, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    class Crash(Exception):
        pass

    left = [crash_after]
    real = DirectoryChanges.add_user

    def add_user(self: DirectoryChanges, *arguments: object, **named: object) -> object:
        if not left[0]:
            raise Crash
        left[0] -= 1
        return real(self, *arguments, **named)  # type: ignore[arg-type]

    hashes: dict[str, str] = {}

    def hash_password(password: str) -> str:
        hashed = real_hash(password)
        hashes[hashed] = password
        return hashed

    real_hash = waypost.bootstrap.hash_password
    monkeypatch.setattr(waypost.bootstrap, "hash_password", hash_password)
    with monkeypatch.context() as crashing:
        crashing.setattr(DirectoryChanges, "add_user", add_user)
        with pytest.raises(Crash):
            prepare(topology, real_world())
    assert not demo_users_file(topology).exists()
    made = prepare(topology, real_world())
    assert len(made) == len(topology.demo_users)
    directory = changes_of(topology)
    assert {user.address for user in directory.users()} == {user.address for user in made}
    directory.close()
    passwords = {user.password for user in made}
    assert set(hashes.values()) == passwords
    assert all(verify_password(hashed, password) for hashed, password in list(hashes.items())[:1])


def test_data_of_another_topology_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    two_sites = ready_topology("two-sites", tmp_path / "data")
    prepare(two_sites, real_world())
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(DirectoryError) as refused:
        prepare(ready_topology("single", tmp_path / "data"), real_world())
    assert 'it has a store "store-a" with 2 mailboxes in it, the configuration has not' in str(refused.value)
    assert f"WAYPOST__ORGANISATION__DATA={tmp_path / 'data'}-2" in refused.value.mend
    assert sorted(tmp_path.rglob("*")) == files
    assert prepare(two_sites, real_world()) == ()


def test_data_of_another_organisation_is_refused(tmp_path: Path) -> None:
    prepare(ready_topology("single", tmp_path / "data", organisation="One"), real_world())
    with pytest.raises(DirectoryError, match='it is of the organisation "One", not "Two"'):
        prepare(ready_topology("single", tmp_path / "data", organisation="Two"), real_world())


def test_queues_that_no_hub_would_empty_are_refused(topology: Topology) -> None:
    prepare(topology, real_world())
    (topology.data / "hub-c").mkdir()
    (topology.data / "hub-c" / "queue.db").touch()
    with pytest.raises(DirectoryError, match='it has the queues of a hub "hub-c"'):
        prepare(topology, real_world())


def test_a_topology_may_grow(tmp_path: Path) -> None:
    small = ready_topology("two-sites", tmp_path / "data")
    prepare(
        small.model_copy(update={"stores": small.stores[:1], "demo_users": small.demo_users[:1]}),
        real_world(),
    )
    assert prepare(small, real_world()) == ()
