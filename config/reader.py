"""Reads a topology from a TOML file. Every fault is named with its file, key path and mend.

All faults are reported at once: first those of single settings, and when there are none, those of the whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from config.checks import check
from config.environment import override
from config.faults import problems_of
from config.layout import ROLES, SECTIONS, SMART_HOST_PORT, keys_of
from config.model import (
    AccessServer,
    DemoUser,
    Domain,
    HubServer,
    SendConnector,
    Settings,
    Site,
    SiteLink,
    StoreServer,
    Topology,
)
from config.problems import ConfigurationError as ConfigurationError
from config.problems import Problem, quoted, unknown
from config.sources import Sources

LONGEST_BYTES = 1024 * 1024

S = TypeVar("S", bound=Settings)

_LAST_NUMBER = re.compile(r"\[[0-9]+\]$")
_SECTIONS = tuple(each.name for each in SECTIONS)
_ORGANISATION = keys_of(Topology)
_SERVER_KEYS = ("role", *dict.fromkeys(key for kind in ROLES.values() for key in keys_of(kind)))


def read_topology(file: Path, environment: Mapping[str, str]) -> Topology:
    """The checked topology; variables like WAYPOST__ORGANISATION__DATA override settings.

    Raises ConfigurationError.
    """
    return _read(file, _text(file), environment)[0]


def read_with_sources(file: Path, environment: Mapping[str, str]) -> tuple[Topology, Sources]:
    """The same, and where each setting comes from. Raises ConfigurationError."""
    text = _text(file)
    topology, variables = _read(file, text, environment)
    return topology, Sources(file, text, variables)


def _read(file: Path, text: str, environment: Mapping[str, str]) -> tuple[Topology, dict[str, str]]:
    data = _parse(file, text)
    reading = _Reading()
    problems, variables = override(data, environment)
    reading.problems.extend(problems)
    topology = reading.topology(data)
    problems = reading.problems or (check(topology) if topology is not None else [])
    if problems or topology is None:
        raise ConfigurationError(file, [_attributed(problem, variables) for problem in problems])
    return topology, variables


def _attributed(problem: Problem, variables: Mapping[str, str]) -> Problem:
    """Names the variable that gave the value that is wrong."""
    variable = variables.get(_LAST_NUMBER.sub("", problem.place))
    return replace(problem, place=f"${variable}: {problem.place}") if variable else problem


def _text(file: Path) -> str:
    def refuse(problem: str, mend: str) -> ConfigurationError:
        return ConfigurationError(file, [Problem("", problem, mend)])

    try:
        with file.open("rb") as stream:
            data = stream.read(LONGEST_BYTES + 1)
    except FileNotFoundError:
        raise refuse("there is no such file", "check the path, or run `waypost up` to make one") from None
    except IsADirectoryError:
        raise refuse("is a folder", "name the TOML file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise refuse(f"can't be read ({reason})", "check the file's path and permissions") from error
    if len(data) > LONGEST_BYTES:
        raise refuse("is larger than 1 MiB", "name a TOML file; this is no configuration")
    if b"\0" in data:
        raise refuse("is a binary file", "name a TOML file; this is no configuration")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refuse(f"is not UTF-8 text (line {line})", "save it as UTF-8, or name a TOML file") from None
    if not text.strip():
        raise refuse("is empty", "start from config/single.toml or config/two-sites.toml")
    return text


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, mend = f"is not valid TOML: {error}", "mend the line; strings stand in quotes"
        raise ConfigurationError(file, [Problem("", problem, mend)]) from None
    except RecursionError:
        problem, mend = "is not valid TOML: nested too deeply", "remove the nesting"
        raise ConfigurationError(file, [Problem("", problem, mend)]) from None


class _Reading:
    """One file's reading: settings where they can be had, problems where not."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def topology(self, data: dict[str, Any]) -> Topology | None:
        """None when a problem is in the way."""
        for key in data:
            if key not in _SECTIONS:
                self._problem(key, "unknown key", unknown(key, _SECTIONS, "sections"))
        organisation = self._table(data, "organisation")
        for key in organisation:
            if key not in _ORGANISATION:
                mend = unknown(key, tuple(_ORGANISATION), "keys")
                self._problem(f"organisation.{key}", "unknown key", mend)
        servers = self._servers(data)
        values = {
            **{_ORGANISATION[key]: organisation[key] for key in organisation if key in _ORGANISATION},
            "domains": self._domains(data, organisation),
            "sites": self._sites(data),
            "site_links": self._list(data, "site_links", SiteLink),
            "hubs": tuple(server for server in servers if isinstance(server, HubServer)),
            "stores": tuple(server for server in servers if isinstance(server, StoreServer)),
            "access": tuple(server for server in servers if isinstance(server, AccessServer)),
            "send_connectors": self._send_connectors(data),
            "demo_users": self._list(data, "demo_users", DemoUser),
        }
        if isinstance(values.get("data"), str):
            values["data"] = Path(values["data"])
        found = self._settings(Topology, values, "organisation", {"organisation": "name"})
        return None if self.problems else found

    def _domains(self, data: dict[str, Any], organisation: dict[str, Any]) -> tuple[Domain, ...]:
        default = organisation.get("default_domain")
        if "domains" not in data and isinstance(default, str):
            return (Domain(domain=default),)
        return self._list(data, "domains", Domain)

    def _sites(self, data: dict[str, Any]) -> tuple[Site, ...]:
        found: list[Site] = []
        sites = self._table(data, "sites")
        for name in sites:
            site = self._settings(Site, {**self._table(sites, name, "sites."), "name": name}, f"sites.{name}")
            if site is not None:
                found.append(site)
        return tuple(found)

    def _servers(self, data: dict[str, Any]) -> list[HubServer | StoreServer | AccessServer]:
        found: list[HubServer | StoreServer | AccessServer] = []
        servers = self._table(data, "servers")
        for name in servers:
            place = f"servers.{name}"
            values = dict(self._table(servers, name, "servers."))
            role = values.pop("role", None)
            if not isinstance(role, str) or role not in ROLES:
                problem = "is missing" if role is None else f"{role!r} is no role"
                self._problem(f"{place}.role", problem, f"take one of {quoted(ROLES)}")
                for key in values:
                    if key not in _SERVER_KEYS:
                        self._problem(f"{place}.{key}", "unknown key", unknown(key, _SERVER_KEYS, "keys"))
                continue
            if "name" in values:
                self._problem(f"{place}.name", "unknown key", "the server's name stands in the table's title")
            limits = values.get("limits", {})
            if isinstance(limits, dict):
                values["limits"] = {**_own_limits(ROLES[role]), **limits}
            server = self._settings(ROLES[role], {**values, "name": name}, place)
            if server is not None:
                found.append(server)
        return found

    def _send_connectors(self, data: dict[str, Any]) -> tuple[SendConnector, ...]:
        connectors = data.get("send_connectors")
        for connector in connectors if isinstance(connectors, list) else ():
            hosts = connector.get("smart_hosts") if isinstance(connector, dict) else None
            if isinstance(hosts, list):
                connector["smart_hosts"] = [_with_port(host) for host in hosts]
        return self._list(data, "send_connectors", SendConnector)

    def _list(self, data: dict[str, Any], key: str, kind: type[S]) -> tuple[S, ...]:
        entries = data.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._problem(key, "is not a list of tables", f"begin each with [[{key}]]")
            return ()
        read = [self._settings(kind, entry, f"{key}[{index}]") for index, entry in enumerate(entries)]
        return tuple(settings for settings in read if settings is not None)

    def _table(self, data: dict[str, Any], key: str, above: str = "") -> dict[str, Any]:
        table = data.get(key, {})
        if isinstance(table, dict):
            return table
        self._problem(f"{above}{key}", "is not a table", f"begin it with [{above}{key}]")
        return {}

    def _settings(
        self, kind: type[S], values: dict[str, Any], place: str, renamed: Mapping[str, str] | None = None
    ) -> S | None:
        try:
            return kind.model_validate(_tuples(values), strict=True)
        except ValidationError as error:
            self.problems.extend(problems_of(error, kind, place, renamed or {}))
            return None

    def _problem(self, place: str, problem: str, mend: str) -> None:
        self.problems.append(Problem(place, problem, mend))


def _own_limits(kind: type[Settings]) -> dict[str, Any]:
    """Where the limits of this role differ from the general ones: they hold beside those in the file."""
    default = kind.model_fields["limits"].default
    return dict(default.model_dump(exclude_defaults=True))


def _tuples(value: Any) -> Any:
    """TOML has lists, settings are frozen."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(inner) for inner in value)
    return value


def _with_port(host: Any) -> Any:
    """A smart host may leave its port out."""
    if not isinstance(host, str):
        return host
    bare = host.rpartition("]")[2] if host.startswith("[") else host
    return host if ":" in bare else f"{host}:{SMART_HOST_PORT}"
