"""The topology of the containers: config/compose.toml beside docker-compose.yml."""

from __future__ import annotations

import re
from pathlib import Path

from config.model import Topology
from config.reader import read_topology
from waypost.servers import servers_of

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def topology() -> Topology:
    return read_topology(ROOT / "config/compose.toml", {})


def test_each_server_has_its_container_with_its_role_and_health_check() -> None:
    for server in servers_of(topology()):
        assert (
            f"    hostname: {server.name}\n    command: run {server.role} --name {server.name}\n" in COMPOSE
        )
        assert f"test: waypost status --name {server.name}\n" in COMPOSE
    assert COMPOSE.count("command: run ") == len(servers_of(topology()))


def test_others_reach_a_server_by_the_name_of_its_container() -> None:
    for server in servers_of(topology()):
        for field, endpoint in server.endpoints().items():
            if field in ("smtp_internal", "lmtp", "rpc"):
                assert endpoint.host == server.name


def test_the_listeners_for_mail_programs_are_published_on_this_machine_alone() -> None:
    access = next(server for server in servers_of(topology()) if server.role == "access")
    expected = {
        f"127.0.0.1:${{WAYPOST_{field.upper()}_PORT:-{endpoint.port}}}:{endpoint.port}"
        for field, endpoint in access.endpoints().items()
        if field != "rpc"
    }
    assert set(re.findall(r"^ +- (\S+:\d+)$", COMPOSE, re.MULTILINE)) == expected
