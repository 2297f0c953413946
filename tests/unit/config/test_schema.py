"""The schema takes what the reader takes, and refuses what no editor should let pass."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from config.layout import SECTIONS, field_of, keys_of, settings_in
from config.model import Endpoint
from config.schema import file_schema
from tests.unit.config.schema_check import faults

SINGLE = (files("config") / "single.toml").read_text()
MORE = """
[servers.access.limits]
imap_idle_seconds = 60.5

[servers.hub.limits]
hops = 5

[servers.hub.retry]
probe_first_seconds = 1

[[send_connectors]]
name = "out"
address_spaces = ["*.other.test", "bücher.test"]
smart_hosts = ["mail.isp.test", "192.0.2.1:587", "[2001:db8::1]:587", "[2001:db8::1]"]
tls = "verified"
username = "example"
password_file = "/run/secrets/out"
"""


def told(text: str) -> list[str]:
    return list(faults(tomllib.loads(text), file_schema()))


READY = [file.read_text() for file in files("config").iterdir() if file.name.endswith(".toml")]


@pytest.mark.parametrize("text", [*READY, SINGLE + MORE])
def test_what_it_takes(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("[servers.hub]", "[severs.hub]", ".severs: unknown"),
        ('site = "A"', 'sit = "A"', ".servers.hub.sit: unknown"),
        ('site = "A"', "", ".servers.hub.site: missing"),
        ('role = "hub"', 'role = "hubb"', ".servers.hub.role: 'hubb' is not 'hub'"),
        ('smtp = "127.0.0.1:2525"', 'smtp = "127.0.0.1"', ".servers.hub.smtp: '127.0.0.1' is not like"),
        ('smtp = "127.0.0.1:2525"', "smtp = 2525", ".servers.hub.smtp: 2525 is no string"),
        (
            "nearest_free_port = true",
            "nearest_free_port = 1",
            ".organisation.nearest_free_port: 1 is no bool",
        ),
        ("hops = 5", "hops = -5", ".servers.hub.limits.hops: -5 is below 0"),
        ("hops = 5", "hops = true", ".servers.hub.limits.hops: True is no integer"),
        ('tls = "verified"', 'tls = "yes"', ".send_connectors[0].tls: 'yes' is none of"),
        ('"mail.isp.test"', '"mail isp"', ".send_connectors[0].smart_hosts[0]: 'mail isp' is not like"),
        ("[sites.A]", '[sites.A]\n[[site_links]]\nsites = ["A"]', ".site_links[0].sites: ['A'] has fewer"),
        ("[[domains]]", "[domains]", ".domains: {'domain': 'example.test'} is no array"),
    ],
)
def test_what_it_refuses(before: str, after: str, fault: str) -> None:
    text = SINGLE + MORE
    assert before in text
    found = told(text.replace(before, after, 1))
    assert any(each.startswith(fault) for each in found), found


def test_every_setting_says_what_it_is() -> None:
    """In the schema, and so in the reference: a text below each setting of the model."""
    schema = file_schema()["properties"]
    silent = []
    for section in SECTIONS:
        place = schema[section.name]
        table = place if section.form == "table" else place.get("items") or place["additionalProperties"]
        for kind, each in zip(section.kinds, table.get("oneOf", [table]), strict=True):
            assert each["description"]
            for key in keys_of(kind):
                field = field_of(kind, key)
                assert field is not None
                inner = settings_in(field.annotation)
                described = [each["properties"][key]]
                if inner is not None and inner is not Endpoint and "properties" in described[0]:
                    described += described[0]["properties"].values()
                silent += [f"{section.name}.{key}" for found in described if not found.get("description")]
    assert silent == []


def test_exchange_and_unit_are_named() -> None:
    (hub, *_) = file_schema()["properties"]["servers"]["additionalProperties"]["oneOf"]
    size = hub["properties"]["limits"]["properties"]["message_size_bytes"]
    assert size == {
        "type": "integer",
        "minimum": 0,
        "description": "Largest message. In bytes. Exchange: MaxMessageSize.",
        "default": 36 * 1024 * 1024,
    }
