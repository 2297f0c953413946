"""Checks of the topology as a whole."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from config.reader import ConfigurationError, read_topology
from foundation.tls import OPERATOR

SINGLE = (files("config") / "single.toml").read_text()
TWO_SITES = (files("config") / "two-sites.toml").read_text()
RETRY = "[servers.hub.retry]\n"
SMART = '\n[[send_connectors]]\nname = "smart"\nsmart_hosts = ["isp.test"]\n'
CONNECTOR = '\n[[send_connectors]]\nname = "out"\n'


def told(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "waypost.toml"
    file.write_text(text)
    try:
        read_topology(file, {})
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []


def single(before: str, after: str) -> str:
    assert before in SINGLE
    return SINGLE.replace(before, after, 1)


def two(before: str, after: str) -> str:
    assert before in TWO_SITES
    return TWO_SITES.replace(before, after, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            single("[servers.hub]", f"[servers.{OPERATOR}]"),
            "servers.operator: this name is that of the command line's certificate; choose another name",
        ),
        (single('name = "Example"', 'name = " "'), "organisation.name: is empty"),
        (
            single('data = "data"', 'directory_url = "mysql://x"'),
            "organisation.directory_url: is no database URL that Waypost knows",
        ),
        (
            single('default_domain = "example.test"', 'default_domain = "exmple.test"'),
            'organisation.default_domain: "exmple.test" is not an accepted domain; accepted domains are ',
        ),
        (single("[sites.A]", '[[domains]]\ndomain = "EXAMPLE.test"\n[sites.A]'), "domains[1].domain: "),
        (
            single("[sites.A]", '[[domains]]\ndomain = "a..b"\n[sites.A]'),
            'domains[1].domain: "a..b" is not a valid domain',
        ),
        (single("[sites.A]", '[sites."A B"]\n[sites.A]'), 'sites.A B: "A B" is no name'),
        (two("[sites.B]", "[sites.a]\n[sites.B]"), 'sites.a: the name "a" is there twice'),
        (
            two('sites = ["A", "B"]', 'sites = ["A", "C"]'),
            'site_links[0].sites: unknown site "C"; known sites are A, B',
        ),
        (two('sites = ["A", "B"]', 'sites = ["A", "A"]'), 'site_links[0].sites: links site "A" to itself'),
        (
            two("[servers.hub-a]", '[[site_links]]\nsites = ["B", "A"]\n[servers.hub-a]'),
            "site_links[1].sites: these two sites are linked already; remove it here or at site_links[0]",
        ),
        (two("cost = 10", "cost = 0"), "site_links[0].cost: is below 1"),
        (
            two('[[site_links]]\nsites = ["A", "B"]\ncost = 10\n', ""),
            'sites.B: no way leads from site "A" to site "B"; add a link: [[site_links]] with',
        ),
        (
            two('[servers.hub-b]\nrole = "hub"\nsite = "B"', '[servers.hub-b]\nrole = "hub"\nsite = "A"'),
            'servers.store-b.site: site "B" has a store but no hub',
        ),
        (
            two('[servers.hub-b]\nrole = "hub"\nsite = "B"', '[servers.hub-b]\nrole = "hub"\nsite = "Bb"'),
            'servers.hub-b.site: unknown site "Bb"',
        ),
        (single("[servers.hub]", "[servers.run]"), "servers.run: this name is the name of a folder"),
        (single("[servers.hub]", '[servers."../x"]'), 'servers.../x: "../x" is no name'),
        (two("[servers.hub-b]", "[servers.HUB-A]"), 'servers.HUB-A: the name "HUB-A" is there twice'),
        (
            two("[servers.store-a]", '[servers.store-a]\ndatabase_url = "postgresql://x/y"').replace(
                "[servers.store-b]", '[servers.store-b]\ndatabase_url = "postgresql://x/y"'
            ),
            "servers.store-b.database_url: is the database of store-a, too",
        ),
        (
            single('"127.0.0.1:2525"', '"127.0.0.1:2626"'),
            "servers.store.lmtp: 127.0.0.1:2626 clashes with servers.hub.smtp (127.0.0.1:2626)",
        ),
        (
            single('"127.0.0.1:2525"', '"0.0.0.0:1143"'),
            "servers.access.imap: 127.0.0.1:1143 clashes with servers.hub.smtp (0.0.0.0:1143)",
        ),
        (
            single('"127.0.0.1:2525"', '"localhost:1143"'),
            "servers.access.imap: 127.0.0.1:1143 clashes with servers.hub.smtp (localhost:1143)",
        ),
        (
            single('"127.0.0.1:2725"', '"0.0.0.0:2725"'),
            "servers.hub.rpc: other servers connect to this address",
        ),
        (
            single('"127.0.0.1:2626"', '"127.0.0.1:0"'),
            "servers.store.lmtp: other servers must know this port",
        ),
        (
            SINGLE.replace('imap = "127.0.0.1:1143"\nimaps = "127.0.0.1:1993"', "").replace(
                'submission = "127.0.0.1:1587"\nsubmissions = "127.0.0.1:1465"', ""
            ),
            "servers.access: has no listener for mail programs",
        ),
        (
            single('imap = "127', 'certificate_file = "x.pem"\nimap = "127'),
            "servers.access.key_file: is missing; a certificate and its key come together",
        ),
        (
            single("[servers.store]", RETRY + "delay_notice_seconds = 3840\n[servers.store]"),
            "servers.hub.retry.delay_notice_seconds: is 3840, but glitch and transient retries take 3840 ",
        ),
        (
            single("[servers.store]", RETRY + "expiry_seconds = 14400\n[servers.store]"),
            "servers.hub.retry.delay_notice_seconds: is not below expiry_seconds (14400)",
        ),
        (
            single("[servers.store]", RETRY + "probe_first_seconds = 60\n[servers.store]"),
            "servers.hub.retry.probe_first_seconds: is over probe_longest_seconds",
        ),
        (
            single("[servers.store]", RETRY + "glitch_count = -1\n[servers.store]"),
            "servers.hub.retry.glitch_count: is -1; take 0 or more",
        ),
        (
            single("[servers.store]", "[servers.hub.limits]\nhops = 0\n[servers.store]"),
            "servers.hub.limits.hops: is 0; take a number above 0",
        ),
        (
            single("[servers.store]", "[servers.hub.limits]\nmessage_size_bytes = 10\n[servers.store]"),
            "servers.hub.limits.header_size_bytes: is over message_size_bytes",
        ),
        (
            single("[servers.access]", "mailbox_quota_bytes = -1\n[servers.access]"),
            "servers.store.mailbox_quota_bytes: is negative",
        ),
        (
            single("[servers.access]", "disconnected_keep_days = -1\n[servers.access]"),
            "servers.store.disconnected_keep_days: is negative",
        ),
        (
            single("[servers.access]", 'database = ""\n[servers.access]'),
            "servers.store.database: is empty",
        ),
        (
            single("bob@example.test", "bob@other.test"),
            'demo_users[1].address: "other.test" is not an accepted domain; accepted domains are',
        ),
        (single("bob@example.test", "bob"), 'demo_users[1].address: "bob" is not a valid address'),
        (
            single("bob@example.test", "ALICE@example.test"),
            'demo_users[1].address: "ALICE@example.test" is there twice; remove it here or at demo_users[0]',
        ),
        (
            two('store = "store-b"', 'store = "store-c"'),
            'demo_users[1].store: unknown store "store-c"; did you mean "store-b"?',
        ),
        (
            SINGLE + CONNECTOR + 'smart_hosts = ["mail isp:25"]',
            'send_connectors[0].smart_hosts[0]: "mail isp:25" has the host "mail isp"',
        ),
        (
            SINGLE + CONNECTOR + 'smart_hosts = ["0.0.0.0:25"]',
            "send_connectors[0].smart_hosts: nothing can be",
        ),
        (
            SINGLE + CONNECTOR + 'smart_hosts = ["isp.test:0"]',
            "send_connectors[0].smart_hosts: nothing can be",
        ),
        (
            SINGLE + CONNECTOR + 'source_hubs = ["hubb"]',
            'send_connectors[0].source_hubs: unknown hub "hubb"; did you mean "hub"?',
        ),
        (
            SINGLE + CONNECTOR + 'address_spaces = ["*.*"]',
            'send_connectors[0].address_spaces: "*.*" is no address space',
        ),
        (
            SINGLE + CONNECTOR + 'tls = "verified"',
            'send_connectors[0].tls: is "verified", but by MX a host\'s name is not known beforehand',
        ),
        (
            SINGLE + CONNECTOR + 'implicit_tls = true\ntls = "required"',
            "send_connectors[0].implicit_tls: is for smart hosts",
        ),
        (
            SINGLE + SMART + "implicit_tls = true",
            'send_connectors[0].implicit_tls: there is no way around TLS with it, but tls is "opportunistic"',
        ),
        (SINGLE + SMART + 'ca_file = "x"', "send_connectors[0].ca_file: nothing is verified"),
        (
            SINGLE + SMART + 'tls = "verified"\nusername = "x"',
            "send_connectors[0].password_file: is missing; username and password_file come together",
        ),
        (
            SINGLE + SMART + 'tls = "verified"\npassword_file = "x"',
            "send_connectors[0].username: is missing; username and password_file come together",
        ),
        (
            SINGLE + SMART + 'tls = "required"\nusername = "x"\npassword_file = "x"',
            "send_connectors[0].username: a password is for a host whose certificate was verified, but tls",
        ),
        (
            single('data = "data"', 'directory_password_file = "x"'),
            "organisation.directory_password_file: there is no database to log on to: directory_url is none",
        ),
        (
            two("[servers.store-a]", '[servers.store-a]\ndatabase_password_file = "x"'),
            "servers.store-a.database_password_file: there is no database to log on to: database_url is ",
        ),
        (
            two("[servers.hub-a]", '[servers.hub-a]\ndatabase_url = "postgres:x"'),
            "servers.hub-a.database_url: is no database URL that Waypost knows",
        ),
        (
            two("[servers.hub-a]", "[servers.hub-a]\ndatabase_size_bytes = -1"),
            "servers.hub-a.database_size_bytes: is negative",
        ),
        (
            two(
                "[servers.store-a]",
                '[servers.store-a]\ndatabase_size_bytes = 9999\ndatabase_url = "postgresql://x@y/z"',
            ),
            "servers.store-a.database_size_bytes: PostgreSQL has no such bound for a database",
        ),
        (SINGLE + CONNECTOR + "address_spaces = []", "send_connectors[0].address_spaces: is empty"),
        (SINGLE + CONNECTOR + "cost = 0", "send_connectors[0].cost: is below 1"),
        (SINGLE + CONNECTOR + "port = 0", "send_connectors[0].port: is 0"),
        (SINGLE + CONNECTOR + CONNECTOR, 'send_connectors.out: the name "out" is there twice'),
        (SINGLE + CONNECTOR.replace("out", ""), "send_connectors[0].name: is empty"),
        (single("[sites.A]", ""), "sites: there is no site"),
    ],
)
def test_fault(tmp_path: Path, text: str, expected: str) -> None:
    found = told(tmp_path, text)
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize("role", ["hub", "store", "access"])
def test_role_that_is_missing(tmp_path: Path, role: str) -> None:
    start = SINGLE.index(f"[servers.{role}]")
    text = SINGLE[:start] + SINGLE[SINGLE.index("[", start + 1) :]
    assert told(tmp_path, text)[0].startswith(f"servers: there is no {role}: ")


@pytest.mark.parametrize(
    "text",
    [
        SINGLE,
        TWO_SITES,
        single('"127.0.0.1:2525"', '"127.0.0.2:1143"'),
        single('"127.0.0.1:2525"', '"0.0.0.0:0"'),
        SINGLE + CONNECTOR,
        SINGLE + SMART + 'tls = "verified"\nimplicit_tls = true\nusername = "x"\npassword_file = "x"',
        # Containers: each its own machine, each listening on all its addresses.
        TWO_SITES.replace("127.0.0.1:2725", "hub-a:2725")
        .replace("127.0.0.1:2735", "hub-b:2735")
        .replace("127.0.0.1:2525", "0.0.0.0:2525")
        .replace("127.0.0.1:2535", "0.0.0.0:2525"),
        TWO_SITES.replace("127.0.0.1:2725", "hub-a:2725")
        .replace("127.0.0.1:2735", "hub-b:2725")
        .replace("127.0.0.1:2535", "127.0.0.1:2525"),
    ],
)
def test_no_fault(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text) == []


def test_all_at_once(tmp_path: Path) -> None:
    text = single('"127.0.0.1:2525"', '"127.0.0.1:1143"').replace("bob@example.test", "bob@x.test")
    assert [problem.partition(":")[0] for problem in told(tmp_path, text)] == [
        "servers.access.imap",
        "demo_users[1].address",
    ]
