"""`waypost up`: a whole organisation on this machine, from nothing to ready, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.init import make_ready, print_users
from waypost.cli.options import EMBEDDED_CONFIG, ConfigOption, find_config, read
from waypost.cli.output import NOT_SO, CommandFailed

if TYPE_CHECKING:
    from config.model import Topology
    from foundation.interfaces.control import ServerStatus
    from waypost.lock import FolderLock
    from waypost.supervisor import Supervisor

application = typer.Typer(add_completion=False)

WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without", help="A server that is not started here but by `waypost run`; may be repeated."
    ),
]


@application.command(epilog="Example: waypost up --config config/two-sites.toml")
def up(config: ConfigOption = None, without: WithoutOption = None) -> int:
    """Start all servers of a configuration on this machine; without one, an organisation of its own in
    ./data.

    Servers that crash are started again. Ctrl-C or SIGTERM stops them in order, and nothing is lost.
    """
    began = time.monotonic()
    found = find_config(config)
    file = found or _embedded_config()
    topology = read(file)
    lock = _hold(topology)
    try:
        try:
            apart = _known(topology, without or [])
            users = make_ready(topology)
        except CommandFailed:
            if found is None:  # later commands would take it for the configuration of what is there
                file.unlink()
            raise
        print_users(topology.data, users)
        resolved = _resolve(topology, apart)
        return asyncio.run(_supervise(resolved, apart, began, lambda: _read_again(file, topology, resolved)))
    finally:
        lock.release()


def _known(topology: Topology, names: list[str]) -> frozenset[str]:
    from waypost.servers import servers_of

    servers = [server.name for server in servers_of(topology)]
    for name in names:
        if name not in servers:
            mend = f"known servers are {', '.join(servers)}"
            raise CommandFailed("usage", f'there is no server "{name}"', place="--without", mend=mend)
    if len(set(names)) == len(servers):
        raise CommandFailed("usage", "no server is left to start", place="--without", mend="name fewer")
    return frozenset(names)


def _read_again(file: Path, topology: Topology, resolved: Topology) -> bool:
    """Writes the topology anew that the servers read, on the ports they have; a fault is told and changes
    nothing."""
    from config.reader import ConfigurationError, read_topology
    from waypost.servers import servers_of, with_ports_of

    log = logging.getLogger("waypost.supervisor")
    try:
        changed = with_ports_of(read_topology(file, os.environ), topology, resolved)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            log.error("nothing was reloaded: %s", line)
        return False
    running = [server.name for server in servers_of(resolved)]
    new = [server.name for server in servers_of(changed) if server.name not in running]
    if changed.data != resolved.data:
        new.append("organisation.data")
    if new:
        log.warning("counts when `waypost up` is started again", extra={"settings": new})
    _write_resolved(changed.model_copy(update={"data": resolved.data}), resolved)
    return True


def _reload(read_again: Callable[[], bool], supervisor: Supervisor) -> None:
    if read_again():
        supervisor.reload()


def _write_resolved(topology: Topology, running: Topology) -> None:
    """In one step, and readable by the owner alone: a URL may have a password in it."""
    from config.writer import write_topology
    from waypost.servers import resolved_file
    from waypost.world import real_world

    real_world().disk.write(resolved_file(running), write_topology(topology).encode(), 0o600)


def _embedded_config() -> Path:
    """Writes the one-server organisation's configuration where later commands look for it."""
    EMBEDDED_CONFIG.parent.mkdir(parents=True, exist_ok=True)
    EMBEDDED_CONFIG.write_bytes(resources.files("config").joinpath("single.toml").read_bytes())
    print(f"No configuration: wrote {EMBEDDED_CONFIG} for an organisation on this machine.")
    return EMBEDDED_CONFIG


def _hold(topology: Topology) -> FolderLock:
    from waypost.lock import FolderHeld, FolderLock

    try:
        return FolderLock(topology.data, "waypost up")
    except FolderHeld as error:
        raise CommandFailed(
            "held",
            f"it is held by {error.holder}",
            place=str(topology.data),
            mend="stop that process first, or run in another folder",
        ) from error


def _resolve(topology: Topology, without: frozenset[str]) -> Topology:
    """Takes free ports, and writes the topology that the servers read."""
    from waypost.ports import PortBusy, resolve_ports

    try:
        resolved, moved = resolve_ports(topology, without)
    except PortBusy as error:
        raise CommandFailed(
            "port", str(error), place=error.place, mend="stop what listens there, or set another port"
        ) from error
    for each in moved:
        print(f"Port {each.wanted} is in use: {each.server} listens for {each.protocol} on {each.port}.")
    _write_resolved(resolved, topology)
    return resolved


async def _supervise(
    topology: Topology, without: frozenset[str], began: float, read_again: Callable[[], bool]
) -> int:
    from waypost.bootstrap import prepare_certificates
    from waypost.logs import use_handler
    from waypost.logsink import LogSink, SinkHandler
    from waypost.processes import StartFailed
    from waypost.servers import resolved_file
    from waypost.supervisor import Supervisor
    from waypost.world import real_world

    world = real_world()
    sink = LogSink(sys.stderr)
    use_handler(SinkHandler(sink, "up"))
    supervisor = Supervisor(
        topology,
        resolved_file(topology),
        on_log=sink.write,
        renew=lambda: prepare_certificates(topology, world),
        without=without,
    )
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, read_again, supervisor)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(told_to_stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return 0
        _print_ready(topology, starting.result(), time.monotonic() - began)
        await stopping
        logging.getLogger("waypost.supervisor").info("stopping all servers")
        return 0
    except StartFailed as error:
        logging.getLogger("waypost.supervisor").error("%s", error)
        return NOT_SO
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()
        stopping.cancel()
        resolved_file(topology).unlink(missing_ok=True)
        sink.close()


def _print_ready(topology: Topology, statuses: dict[str, ServerStatus], seconds: float) -> None:
    print(f"\n{topology.organisation} is ready after {seconds:.1f} s: {len(statuses)} servers.")
    for status in statuses.values():
        ports = ", ".join(
            f"{each.protocol} {each.host}:{each.port}"
            for each in status.listeners
            if each.protocol in ("smtp", "submission", "submissions", "imap", "imaps")
        )
        if ports:
            print(f"  {status.name:<9} {ports}")
    for heading, line in _next_steps(topology, statuses):
        print(f"\n{heading}:\n  {line}")
    print("\nCtrl-C stops.", flush=True)


def _next_steps(topology: Topology, statuses: dict[str, ServerStatus]) -> list[tuple[str, str]]:
    """A line that sends a message from one demo user to another, one that reads it, one that shows its
    way."""
    from waypost.bootstrap import demo_users_file, read_users

    file = demo_users_file(topology)
    users = read_users(file) if file.exists() else ()
    listeners = [each for status in statuses.values() for each in status.listeners]
    submissions = next((each for each in listeners if each.protocol == "submissions"), None)
    imaps = next((each for each in listeners if each.protocol == "imaps"), None)
    if len(users) < 2 or submissions is None or imaps is None:
        return []
    sender, recipient = users[0].address, users[1].address
    authority = topology.data / "ca.pem"
    message_id = "hello.1@example"
    header = f"From: {sender}\\r\\nTo: {recipient}\\r\\nSubject: Hello\\r\\nMessage-ID: <{message_id}>\\r\\n"
    content = f"{header}\\r\\nHello\\r\\n"
    send = (
        f"printf '{content}' | curl -sS --cacert {authority} smtps://{submissions.host}:{submissions.port} "
        f"--user {_logon(file, 0, sender)} --mail-from {sender} --mail-rcpt {recipient} --upload-file -"
    )
    fetch = (
        f"curl -sS --cacert {authority} --user {_logon(file, 1, recipient)} "
        f"'imaps://{imaps.host}:{imaps.port}/INBOX;MAILINDEX=1'"
    )
    command = Path(sys.argv[0])
    waypost = os.path.relpath(command) if command.name == "waypost" else "waypost"
    return [
        ("Send a message", send),
        ("Read it", fetch),
        ("Show its way", f"{waypost} trace {message_id}"),
    ]


def _logon(file: Path, place: int, address: str) -> str:
    """User and password for a shell, read from the file when the line runs."""
    password = f'$(python3 -c \'import json; print(json.load(open("{file}"))[{place}]["password"])\')'
    return f'"{address}:{password}"'
