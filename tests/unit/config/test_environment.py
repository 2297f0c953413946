"""Settings from environment variables."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from config.model import SendConnector, Topology
from config.reader import ConfigurationError, read_topology

SINGLE = (files("config") / "single.toml").read_text()
TWO_SITES = (files("config") / "two-sites.toml").read_text()
OUT = '\n[[send_connectors]]\nname = "The-Way"\n'


def read(tmp_path: Path, text: str, environment: dict[str, str]) -> Topology:
    file = tmp_path / "waypost.toml"
    file.write_text(text)
    return read_topology(file, environment)


def problems(tmp_path: Path, environment: dict[str, str], text: str = TWO_SITES) -> list[str]:
    with pytest.raises(ConfigurationError) as told:
        read(tmp_path, text, environment)
    return [str(problem) for problem in told.value.problems]


def test_values_of_every_kind(tmp_path: Path) -> None:
    topology = read(
        tmp_path,
        TWO_SITES,
        {
            "WAYPOST__ORGANISATION__NAME": "1234",
            "WAYPOST__ORGANISATION__DATA": "/var/lib/waypost",
            "WAYPOST__SERVERS__HUB_A__SMTP": "0.0.0.0:25",
            "waypost__servers__hub_b__smtp_internal": '"127.0.0.1:9"',
            "WAYPOST__ORGANISATION__NEAREST_FREE_PORT": "true",
            "WAYPOST__SERVERS__HUB_A__RETRY__PROBE_FIRST_SECONDS": "0.5",
            "WAYPOST__SITE_LINKS__0__SITES": '["B", "A"]',
            "WAYPOST_CONFIG": "ignored",
            "HOME": "/root",
        },
    )
    assert (topology.organisation, topology.data) == ("1234", Path("/var/lib/waypost"))
    assert str(topology.hubs[0].smtp) == "0.0.0.0:25"
    assert str(topology.hubs[1].smtp_internal) == "127.0.0.1:9"
    assert topology.nearest_free_port
    assert topology.hubs[0].retry.probe_first_seconds == 0.5
    assert topology.site_links[0].sites == ("B", "A")


def test_a_table_that_the_file_does_not_have(tmp_path: Path) -> None:
    topology = read(tmp_path, SINGLE, {"WAYPOST__SERVERS__ACCESS__LIMITS__HOPS": "7"})
    assert (topology.access[0].limits.hops, topology.access[0].limits.recipients) == (7, 1000)


def test_an_entry_of_a_list_by_number_or_name(tmp_path: Path) -> None:
    for entry in ("0", "THE_WAY"):
        topology = read(tmp_path, SINGLE + OUT, {f"WAYPOST__SEND_CONNECTORS__{entry}__COST": "5"})
        assert topology.send_connectors == (SendConnector(name="The-Way", cost=5),)


def test_a_new_entry_of_a_list(tmp_path: Path) -> None:
    topology = read(
        tmp_path,
        SINGLE,
        {
            "WAYPOST__SEND_CONNECTORS__0__NAME": "out",
            "WAYPOST__SEND_CONNECTORS__0__SMART_HOSTS": '["mail.isp.test"]',
        },
    )
    (connector,) = topology.send_connectors
    assert (connector.name, str(connector.smart_hosts[0])) == ("out", "mail.isp.test:25")


def test_an_empty_value_takes_the_setting_away(tmp_path: Path) -> None:
    topology = read(tmp_path, SINGLE, {"WAYPOST__SERVERS__HUB__SMTP": "", "WAYPOST__ORGANISATION__DATA": ""})
    assert (topology.hubs[0].smtp, topology.data) == (None, Path("data"))


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("WAYPOST__", "names no setting; write it like"),
        ("WAYPOST__DATA", 'names no section: "data"; known sections are organisation, domains, '),
        ("WAYPOST__SERVRS__HUB_A__SMTP", 'names no section: "servrs"; did you mean "servers"?'),
        ("WAYPOST__ORGANISATION", "names no setting; write it like"),
        ("WAYPOST__SERVERS__HUB_A", "names no setting; write it like"),
        ("WAYPOST__SERVERS__HUB_Z__SMTP", 'names none of the servers: "hub_z"; did you mean "hub-'),
        ("WAYPOST____X", "names no setting; write it like"),
        ("WAYPOST__SERVERS__HUB_A__LIMTS__HOPS", 'names no table: there is no "limts" in servers.hub-a'),
        ("WAYPOST__SERVERS__HUB_A__SMTP__PORT", 'names no table: there is no "smtp" in servers.hub-a'),
        ("WAYPOST__SITE_LINKS__2__COST", 'names none of the site_links: "2"; take a number from 0 to 1, '),
    ],
)
def test_a_variable_that_names_nothing(tmp_path: Path, variable: str, told: str) -> None:
    (found,) = problems(tmp_path, {variable: "1"})
    assert found.startswith(f"${variable}: {told}")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SERVERS__HUB_A__SMPT", "127.0.0.1:1", 'servers.hub-a.smpt: unknown key; did you mean "smtp"?'),
        ("SERVERS__HUB_A__SITE", "", "servers.hub-a.site: is missing; add it"),
        ("SERVERS__HUB_A__SITE", "C", 'servers.hub-a.site: unknown site "C"; known sites are A, B'),
        ("SERVERS__HUB_A__LIMITS__HOPS", "many", 'servers.hub-a.limits.hops: is "many"; give a whole num'),
        ("SERVERS__HUB_A__LIMITS__HOPS", "[" * 9999, "servers.hub-a.limits.hops: is "),
        ("SITE_LINKS__0__SITES", "A,B", 'site_links[0].sites: is "A,B"; give a list in brackets'),
        ("SITE_LINKS__0__SITES", '["A", 1]', "site_links[0].sites[1]: is 1; give text in quotes"),
        ("ORGANISATION__DIRECTORY_URL", "mysql://x", "organisation.directory_url: is no database URL"),
    ],
)
def test_a_value_that_is_wrong_is_told_with_its_variable(
    tmp_path: Path, variable: str, value: str, told: str
) -> None:
    found = problems(tmp_path, {f"WAYPOST__{variable}": value})
    assert found[0].startswith(f"$WAYPOST__{variable}: {told}"), found


def test_a_fault_of_the_file_is_not_blamed_on_a_variable(tmp_path: Path) -> None:
    text = SINGLE.replace("[servers.hub]", "[servers.hub]\nlimits = 1")
    told = problems(tmp_path, {"WAYPOST__SERVERS__HUB__LIMITS__HOPS": "1"}, text)
    assert (
        told[0]
        == "$WAYPOST__SERVERS__HUB__LIMITS__HOPS: servers.hub.limits is not a table; correct the file there"
    )
