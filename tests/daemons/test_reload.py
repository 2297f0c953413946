"""SIGHUP and the control interface: what servers take over while they run, and what they say they don't."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from config.model import Endpoint, SendConnector, Topology
from config.writer import write_topology
from foundation.interfaces.control import ReloadOutcome
from tests.harness.organisation import Organisation
from tests.harness.patience import patient, until
from tests.harness.servers import ProcessServers
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology, with_server_settings
from waypost.cli.control import Servers as Controls

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Organisation]:
    data = tmp_path_factory.mktemp("reload") / "data"
    async with Organisation(ready_topology("single", data)) as running:
        yield running


@pytest.fixture(autouse=True)
def as_it_was(organisation: Organisation) -> None:
    write(organisation, organisation.topology)
    organisation.log.clear()


def write(organisation: Organisation, topology: Topology) -> None:
    organisation.config.write_text(write_topology(topology))


def hang_up(organisation: Organisation) -> None:
    """SIGHUP to all servers."""
    assert isinstance(organisation.servers, ProcessServers)
    for name in organisation.names:
        organisation.servers.signal(name, signal.SIGHUP)


async def said(organisation: Organisation, message: str, *servers: str) -> dict[str, dict[str, Any]]:
    """The first log entry of each server with this message, once all have said it."""

    async def look() -> dict[str, dict[str, Any]]:
        found = {
            entry["server"]: entry for entry in reversed(organisation.log) if message in entry["message"]
        }
        return found if set(found) >= set(servers) else {}

    return await until(look, f"{message!r} from {servers}")


async def ask_to_reload(organisation: Organisation) -> dict[str, ReloadOutcome]:
    async with Controls(organisation.topology) as controls:
        answers = await controls.ask(lambda control: control.reload())
    outcomes = {answer.server.name: answer.value for answer in answers}
    assert all(outcomes.values())
    return {name: outcome for name, outcome in outcomes.items() if outcome is not None}


def announced_size(endpoint: Endpoint | None) -> int:
    assert endpoint is not None
    with smtplib.SMTP(endpoint.host, endpoint.port, timeout=patient(10)) as connection:
        connection.ehlo()
        return int(connection.esmtp_features["size"])


async def test_limits_count_for_new_connections(organisation: Organisation) -> None:
    topology, alice = organisation.topology, organisation.user("alice@example.test")
    limits = topology.hubs[0].limits.model_copy(
        update={"message_size_bytes": 5_000_000, "header_size_bytes": 100_000}
    )
    for role in ("hubs", "stores", "access"):
        topology = with_server_settings(topology, role, limits=limits)
    topology = with_server_settings(topology, "stores", mailbox_quota_bytes=1)
    write(organisation, topology)
    hang_up(organisation)
    entries = await said(organisation, "reloaded", "hub", "store", "access")
    assert "servers.hub.limits.message_size_bytes" in entries["hub"]["applied"]
    assert "servers.store.mailbox_quota_bytes" in entries["store"]["applied"]
    assert announced_size(topology.hubs[0].smtp) == 5_000_000
    assert announced_size(topology.access[0].submission) == 5_000_000
    with pytest.raises(smtplib.SMTPException, match="mailbox is full"):
        await alice.send(alice)
    write(organisation, organisation.topology)
    await ask_to_reload(organisation)
    assert announced_size(topology.access[0].submission) > 5_000_000
    sent = await alice.send(alice)
    await alice.wait_for(sent)


async def test_a_new_send_connector_takes_what_waited_for_a_way(organisation: Organisation) -> None:
    alice = organisation.user("alice@example.test")
    sent = await alice.send("friend@example.org")
    await organisation.wait_until_queued("hub", [sent.message_id])
    async with SinkServer() as sink:
        out = SendConnector(name="out", smart_hosts=(sink.endpoint,))
        write(organisation, organisation.topology.model_copy(update={"send_connectors": (out,)}))
        outcome = (await ask_to_reload(organisation))["hub"]
        assert (outcome.applied, outcome.needs_restart) == (("certificates", "send_connectors"), ())
        received = await sink.next()
    assert received.recipients == ("friend@example.org",)


async def test_mail_of_a_connector_that_is_gone_takes_another_way(organisation: Organisation) -> None:
    alice = organisation.user("alice@example.test")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = Endpoint(host="127.0.0.1", port=nobody.getsockname()[1])
        old = SendConnector(name="old", smart_hosts=(dead,))
        write(organisation, organisation.topology.model_copy(update={"send_connectors": (old,)}))
        await ask_to_reload(organisation)
        sent = await alice.send("friend@example.org")
        await organisation.wait_for_event(sent.message_id, "hub", "DEFER")
        async with SinkServer() as sink:
            new = SendConnector(name="new", smart_hosts=(sink.endpoint,))
            write(organisation, organisation.topology.model_copy(update={"send_connectors": (new,)}))
            await ask_to_reload(organisation)
            assert (await sink.next()).recipients == ("friend@example.org",)


async def test_what_needs_a_restart_is_named_and_stays(organisation: Organisation) -> None:
    topology = organisation.topology
    changed = with_server_settings(topology, "hubs", smtp=Endpoint(host="127.0.0.1", port=1))
    changed = with_server_settings(changed, "access", imaps=Endpoint(host="127.0.0.1", port=2))
    changed = changed.model_copy(update={"data": topology.data / "x", "organisation": "Other"})
    write(organisation, changed)
    hang_up(organisation)
    entries = await said(organisation, "changed, but counts after a restart", "hub", "store", "access")
    assert entries["hub"]["settings"] == ["organisation.data", "servers.hub.smtp"]
    assert entries["store"]["settings"] == ["organisation.data", "servers.hub"]
    assert entries["access"]["settings"] == ["organisation.data", "servers.access.imaps"]
    entries = await said(organisation, "changed, but counts only in a new directory", "hub")
    assert entries["hub"]["settings"] == ["organisation.name"]
    alice = organisation.user("alice@example.test")
    await alice.wait_for(await alice.send(alice))


async def test_a_fault_changes_nothing_and_is_told(organisation: Organisation) -> None:
    before = announced_size(organisation.topology.hubs[0].smtp)
    text = write_topology(
        with_server_settings(
            organisation.topology,
            "hubs",
            limits=organisation.topology.hubs[0].limits.model_copy(update={"message_size_bytes": 1_000_000}),
        )
    )
    organisation.config.write_text(text.replace("message_size_bytes", "mesage_size_bytes"))
    hang_up(organisation)
    entries = await said(organisation, "nothing was reloaded", "hub", "store", "access")
    fault = 'servers.hub.limits.mesage_size_bytes: unknown key; did you mean "message_size_bytes"?'
    assert all(fault in entry["message"] for entry in entries.values())
    outcomes = await ask_to_reload(organisation)
    assert all(fault in outcome.problems[0] for outcome in outcomes.values())
    assert announced_size(organisation.topology.hubs[0].smtp) == before


@pytest.fixture
def busy() -> Any:
    """A port that somebody has."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield somebody.getsockname()[1]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    running: list[subprocess.Popen[bytes]] = []

    def up(config: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (tmp_path / "out.log").open("wb") as out:
            command = [sys.executable, "-m", "waypost", "up", "--config", str(config)]
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )
        running.append(process)
        return process

    yield up
    for process in running:
        process.terminate()
        process.wait(patient(30))


async def test_up_keeps_the_ports_that_it_found(
    tmp_path: Path, busy: int, start: Callable[[Path, dict[str, str]], subprocess.Popen[bytes]]
) -> None:
    topology = ready_topology("single", tmp_path / "data", nearest_free_port=True)
    config = tmp_path / "waypost.toml"
    config.write_text(write_topology(topology))
    up = start(config, {"WAYPOST__SERVERS__ACCESS__SUBMISSION": f"127.0.0.1:{busy}"})

    def printed() -> str:
        return (tmp_path / "out.log").read_text()

    async def shows(text: str) -> str:
        async def look() -> str:
            assert up.poll() is None, printed()
            return printed() if text in printed() else ""

        return await until(look, f"{text!r} is printed", 20)

    output = await shows("Ctrl-C stops")
    assert f"Port {busy} is in use: access listens for submission on " in output
    port = int(output.partition("access listens for submission on ")[2].partition(".")[0])
    submission = Endpoint(host="127.0.0.1", port=port)
    assert announced_size(submission) > 5_000_000
    limits = topology.access[0].limits.model_copy(update={"message_size_bytes": 5_000_000})
    config.write_text(write_topology(with_server_settings(topology, "access", limits=limits)))
    up.send_signal(signal.SIGHUP)

    async def changed() -> bool:
        return announced_size(submission) == 5_000_000

    await until(changed, "the limit counts, on the port that was found")
    assert "counts after a restart" not in printed()
    config.write_text("[organisation]")
    up.send_signal(signal.SIGHUP)
    await shows("organisation.default_domain: is missing")
    assert announced_size(submission) == 5_000_000
