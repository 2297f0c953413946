"""Reading a topology: what is accepted, and what each fault is told."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest

from config.model import Endpoint, Topology
from config.problems import Problem
from config.reader import ConfigurationError, read_topology

SINGLE = (files("config") / "single.toml").read_text()
TWO_SITES = (files("config") / "two-sites.toml").read_text()


def read(tmp_path: Path, text: str | bytes, environment: dict[str, str] | None = None) -> Topology:
    file = tmp_path / "waypost.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_topology(file, environment or {})


def problems(tmp_path: Path, text: str | bytes, environment: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigurationError) as told:
        read(tmp_path, text, environment)
    assert told.value.file == tmp_path / "waypost.toml"
    lines = str(told.value).splitlines()
    assert lines == [f"{tmp_path / 'waypost.toml'}: {problem}" for problem in told.value.problems]
    for problem in told.value.problems:
        assert problem.problem
        assert problem.mend
    return list(told.value.problems)


def edited(text: str, before: str, after: str) -> str:
    assert before in text
    return text.replace(before, after, 1)


def test_single() -> None:
    with_path = files("config") / "single.toml"
    topology = read_topology(Path(str(with_path)), {})
    assert [server.name for server in topology.servers] == ["hub", "store", "access"]
    assert topology.hubs[0].smtp == Endpoint(host="127.0.0.1", port=2525)
    access = topology.access[0]
    ports = [getattr(access, name).port for name in ("submission", "submissions", "imap", "imaps")]
    assert ports == [1587, 1465, 1143, 1993]
    assert [user.address.partition("@")[0] for user in topology.demo_users] == ["alice", "bob", "carol"]
    assert topology.nearest_free_port
    assert topology.default_domain == "example.test"


def test_two_sites() -> None:
    topology = read_topology(Path(str(files("config") / "two-sites.toml")), {})
    assert [(server.name, server.site) for server in topology.servers] == [
        ("hub-a", "A"),
        ("hub-b", "B"),
        ("store-a", "A"),
        ("store-b", "B"),
        ("access", "A"),
    ]
    assert topology.site_links[0].sites == ("A", "B")
    assert {user.store for user in topology.demo_users} == {"store-a", "store-b"}


def test_places_of_a_topology() -> None:
    topology = read_topology(Path(str(files("config") / "single.toml")), {})
    assert topology.directory_database == "sqlite:///data/directory/directory.db"
    assert topology.certificates == Path("data/certificates")
    assert topology.server_folder("hub") == Path("data/hub")
    assert topology.control_socket("hub") == Path("data/run/hub.sock")


def test_smallest_file(tmp_path: Path) -> None:
    topology = read(
        tmp_path,
        """
        [organisation]
        name = "Small"
        default_domain = "small.test"
        [sites.A]
        [servers.hub]
        role = "hub"
        site = "A"
        smtp_internal = "[::1]:1"
        rpc = "localhost:2"
        [servers.store]
        role = "store"
        site = "A"
        lmtp = "[::1]:3"
        rpc = "localhost:4"
        [servers.access]
        role = "access"
        site = "A"
        imaps = "0.0.0.0:0"
        rpc = "access.internal:5"
        """,
    )
    assert [domain.domain for domain in topology.domains] == ["small.test"]
    assert str(topology.hubs[0].smtp_internal) == "[::1]:1"
    assert topology.access[0].limits.recipients == 1000


def test_settings_of_every_section(tmp_path: Path) -> None:
    topology = read(
        tmp_path,
        edited(SINGLE, "[servers.store]", "[servers.hub.retry]\nprobe_first_seconds = 0.5\n\n[servers.store]")
        + """
        [servers.access.limits]
        imap_idle_seconds = 60
        [[send_connectors]]
        name = "out"
        address_spaces = ["*.other.test", "bücher.test"]
        smart_hosts = ["mail.isp.test", "192.0.2.1:587", "[2001:db8::1]", "[2001:db8::1]:587"]
        tls = "required"
        source_hubs = ["hub"]
        """,
    )
    assert topology.hubs[0].retry.probe_first_seconds == 0.5
    assert (topology.access[0].limits.imap_idle_seconds, topology.access[0].limits.recipients) == (60, 1000)
    hosts = [str(host) for host in topology.send_connectors[0].smart_hosts]
    assert hosts == ["mail.isp.test:25", "192.0.2.1:587", "[2001:db8::1]:25", "[2001:db8::1]:587"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('site = "A"', 'sit = "A"', 'servers.hub.sit: unknown key; did you mean "site"?'),
        ('site = "A"', "", "servers.hub.site: is missing; add it"),
        ("[servers.hub]", "[severs.hub]", 'severs: unknown key; did you mean "servers"?'),
        ('name = "Example"', 'nome = "Example"', 'organisation.nome: unknown key; did you mean "name"?'),
        ('name = "Example"', "", "organisation.name: is missing; add it"),
        ('name = "Example"', "name = 5", "organisation.name: is 5; give text in quotes"),
        ('default_domain = "example.test"', "", "organisation.default_domain: is missing; add it"),
        ('data = "data"', "data = true", "organisation.data: is true; give a path in quotes"),
        (
            "nearest_free_port = true",
            'nearest_free_port = "yes"',
            'organisation.nearest_free_port: is "yes"; give true or false',
        ),
        (
            'role = "hub"',
            'role = "hob"',
            "servers.hub.role: 'hob' is no role; take one of hub, store, access",
        ),
        ('role = "hub"', "", "servers.hub.role: is missing; take one of hub, store, access"),
        ('role = "hub"', 'rol = "hub"', 'servers.hub.rol: unknown key; did you mean "role"?'),
        (
            'role = "hub"',
            'role = "hub"\nname = "x"',
            "servers.hub.name: unknown key; the server's name stands in the table's title",
        ),
        ("[sites.A]", "[sites.A]\nhub = 1", "sites.A.hub: unknown key; remove it"),
        ("[sites.A]", "[sites]\nA = 1", "sites.A: is not a table; begin it with [sites.A]"),
        ("[[domains]]", "[domains]", "domains: is not a list of tables; begin each with [[domains]]"),
        (
            'domain = "example.test"\n\n[sites',
            'domain = "example.test"\nkind = "foreign"\n\n[sites',
            "domains[0].kind: is \"foreign\"; take 'authoritative', 'internal-relay' or 'external-relay'",
        ),
        (
            '"127.0.0.1:2525"',
            "2525",
            'servers.hub.smtp: is 2525; give host and port as text: "127.0.0.1:2525"',
        ),
        (
            '"127.0.0.1:2525"',
            '"127.0.0.1"',
            'servers.hub.smtp: "127.0.0.1" has no port; write it like "127.0.0.1:2525"',
        ),
        (
            '"127.0.0.1:2525"',
            '"127.0.0.1:70000"',
            'servers.hub.smtp: "127.0.0.1:70000" has the port "70000"; a port is a number from 0 to 65535',
        ),
        (
            '"127.0.0.1:2525"',
            '"::1:2525"',
            'servers.hub.smtp: "::1:2525" is an IPv6 address without brackets; write it like "[::1]:2525"',
        ),
        (
            '"127.0.0.1:2525"',
            '"300.0.0.1:2525"',
            'servers.hub.smtp: "300.0.0.1:2525" has the host "300.0.0.1", '
            "which is neither an IP address nor a host name; correct it",
        ),
        (
            "[servers.store]",
            '[servers.hub.limits]\nhops = "many"\n[servers.store]',
            'servers.hub.limits.hops: is "many"; give a whole number',
        ),
        (
            "[servers.store]",
            "[servers.hub.limits]\nhop = 3\n[servers.store]",
            'servers.hub.limits.hop: unknown key; did you mean "hops"?',
        ),
        (
            "[servers.store]",
            "[servers.hub.retry]\nexpiry_seconds = true\n[servers.store]",
            "servers.hub.retry.expiry_seconds: is true; give a number",
        ),
        (
            "[servers.store]",
            "[servers.hub.retry]\nexpiry_seconds = nan\n[servers.store]",
            "servers.hub.retry.expiry_seconds: is nan; give a finite number",
        ),
        ("[servers.store]", "limits = 3\n[servers.store]", "servers.hub.limits: is 3; give a table"),
        (
            "[sites.A]",
            '[[site_links]]\nsites = ["A"]\n[sites.A]',
            "site_links[0].sites[1]: is missing; add it",
        ),
        (
            "[sites.A]",
            '[[site_links]]\nsites = ["A", "B", "C"]\n[sites.A]',
            "site_links[0].sites: has too many values; give 2",
        ),
        ('name = "Alice"', "name = ['x']", "demo_users[0].name: is a list; give text in quotes"),
    ],
)
def test_fault_of_one_setting(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert any(str(problem).startswith(told) for problem in problems(tmp_path, edited(SINGLE, before, after)))


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = (
        SINGLE.replace('"127.0.0.1:1143"', '"x"').replace('role = "store"', 'role = "shop"') + "\nextra = 1\n"
    )
    places = [problem.place for problem in problems(tmp_path, text)]
    assert places == ["servers.store.role", "servers.access.imap", "demo_users[2].extra"]


def test_error_names_file_place_problem_and_mend(tmp_path: Path) -> None:
    text = edited(TWO_SITES, 'role = "hub"\nsite = "B"', 'role = "hub"\nsite = "C"')
    with pytest.raises(ConfigurationError) as told:
        read(tmp_path, text)
    error = told.value
    assert (error.place, error.problem) == ("servers.hub-b.site", 'unknown site "C"')
    assert error.mend == "known sites are A, B"
    first = str(error).splitlines()[0]
    assert first == f'{error.file}: servers.hub-b.site: unknown site "C"; known sites are A, B'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n\n\t", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\x7fELF\0\0\0", "is a binary file"),
        (b'a = 1\nb = "\xff"\n', "is not UTF-8 text (line 2)"),
        (b"[organisation]\nname = Example\n", "is not valid TOML: Invalid value (at line 2, column 8)"),
        (b"[organisation]\n[organisation]\n", "is not valid TOML: Cannot declare"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
    ],
)
def test_file_that_is_none(tmp_path: Path, content: bytes, told: str) -> None:
    found = problems(tmp_path, content)
    assert len(found) == 1
    assert found[0].place == ""
    assert found[0].problem.startswith(told)


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + SINGLE.encode()).organisation == "Example"


def test_missing_file_folder_and_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: there is no such file"):
        read_topology(tmp_path / "none.toml", {})
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_topology(tmp_path, {})
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_topology(Path("a\0b"), {})
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_topology(tmp_path / "loop", {})
    if os.geteuid() != 0:
        (tmp_path / "secret").touch(0o000)
        with pytest.raises(ConfigurationError, match="Permission denied"):
            read_topology(tmp_path / "secret", {})
