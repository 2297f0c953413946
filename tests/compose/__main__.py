"""`make test-compose`: docker-compose.yml really run, from the image to the arrival of mail after a crash.

WAYPOST_IMAGE names an image that is built already; else it is built here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from config.model import Endpoint
from tests.compose.engine import CommandError, Completed, Compose, NoEngine
from tests.harness.mail import Sent, User
from tests.harness.patience import until

SERVERS = ("hub-a", "store-a", "hub-b", "store-b", "access")
PORTS = ("SUBMISSION", "SUBMISSIONS", "IMAP", "IMAPS")
READY_SECONDS = 90
ARRIVAL_SECONDS = 60


def main() -> int:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    settings = {f"WAYPOST_{name}_PORT": str(port) for name, port in ports.items()}
    built = bool(os.environ.get("WAYPOST_IMAGE"))
    settings["WAYPOST_IMAGE"] = os.environ.get("WAYPOST_IMAGE") or "waypost:test-compose"
    try:
        compose = Compose(f"waypost-test-{os.getpid()}", settings)
    except NoEngine as error:
        print(f"test-compose: {error}", file=sys.stderr)
        return 1
    print(f"docker-compose.yml on {compose.engine}, image {settings['WAYPOST_IMAGE']}", flush=True)
    test = ComposeTest(compose, ports)
    passed = False
    try:
        if not built:
            with step("the image is built"):
                compose.build()
        asyncio.run(test.run())
        passed = True
    except (AssertionError, CommandError, OSError) as error:
        print(f"\ntest-compose failed: {error}", file=sys.stderr)
        test.show_logs()
    finally:
        with step("everything is removed"):
            compose.down()
    print(f"{test.checks} passed, {0 if passed else 1} failed")
    return 0 if passed else 1


class ComposeTest:
    def __init__(self, compose: Compose, ports: dict[str, int]) -> None:
        self._compose = compose
        self._ports = ports
        self._users: dict[str, User] = {}
        self.checks = 0

    async def run(self) -> None:
        for check in (
            self.servers_wait_for_their_certificates,
            self.the_topology_becomes_ready,
            self.containers_are_confined,
            self.passwords_and_authority_are_found,
            self.mail_goes_from_a_to_b,
            self.a_killed_hub_loses_nothing,
            self.a_change_of_the_directory_is_seen_by_all,
            self.init_may_run_again,
            self.containers_stop_in_order,
        ):
            await check()
            self.checks += 1

    async def servers_wait_for_their_certificates(self) -> None:
        with step("five servers start before init, and wait for their certificates"):
            await asyncio.to_thread(self._compose.up, *SERVERS)

            async def waiting() -> bool:
                return "waiting up to 60 s for `waypost init`" in self._compose.logs("hub-a")

            await until(waiting, "hub-a says what it waits for", READY_SECONDS)

    async def the_topology_becomes_ready(self) -> None:
        with step("init runs, and all servers are ready and healthy"):
            await asyncio.to_thread(self._compose.up, "init")

            async def ready() -> bool:
                return self._waypost("status", check=False).returncode == 0

            await until(ready, "`waypost status` says that all are ready", READY_SECONDS)
            for server in SERVERS:

                async def healthy(server: str = server) -> bool:
                    return self._compose.healthy(server)

                await until(healthy, f"{server} is healthy", READY_SECONDS)
            state = self._compose.inspect("init")["State"]
            assert (state["Running"], state["ExitCode"]) == (False, 0), f"init: {state}"

    async def containers_are_confined(self) -> None:
        with step(
            "no root, nothing to write but the volumes, the CA's key with init alone, one server published"
        ):
            for server in SERVERS:
                assert self._compose.execute(server, "id", "-u").stdout.strip() == "10001", server
                touched = self._compose.execute(server, "touch", "/opt/waypost/mark", check=False)
                assert "Read-only file system" in touched.stderr, f"{server}: {touched.stderr}"
                found = self._compose.execute(server, "find", "/var/lib/waypost", "-name", "ca.*")
                assert found.stdout.split() == ["/var/lib/waypost/certificates/ca.pem"], found.stdout
                published = self._compose.inspect(server)["NetworkSettings"]["Ports"] or {}
                hosts = [each["HostIp"] for bindings in published.values() for each in bindings or ()]
                assert hosts == (["127.0.0.1"] * 4 if server == "access" else []), f"{server}: {published}"

    async def passwords_and_authority_are_found(self) -> None:
        with step("the demo users' passwords are in the log of init, the authority is read from access"):
            passwords = dict(re.findall(r"(\S+@example\.test) +(\S+)", self._compose.logs("init")))
            assert len(passwords) == 4, f"passwords of {sorted(passwords)}"
            authority = self._compose.execute("access", "cat", "/var/lib/waypost/certificates/ca.pem").stdout
            trust = ssl.create_default_context(cadata=authority)
            submission, imaps = (
                Endpoint(host="127.0.0.1", port=self._ports[name]) for name in ("SUBMISSION", "IMAPS")
            )
            for address, password in passwords.items():
                self._users[address] = User(address, password, submission, imaps, trust)

    async def mail_goes_from_a_to_b(self) -> None:
        with step("alice at site A writes to bob at site B, and bob reads it"):
            sent = await self._alice.send(self._bob, subject="From A to B")
            content = await self._bob.wait_for(sent, seconds=ARRIVAL_SECONDS)
            assert b"Subject: From A to B" in content
        self._show_way(sent)

    async def a_killed_hub_loses_nothing(self) -> None:
        with step("hub-b is killed, alice writes, and the message waits on hub-a"):
            await asyncio.to_thread(self._compose.kill, "hub-b")

            async def gone() -> bool:
                return not self._compose.running("hub-b")

            await until(gone, "hub-b is gone", 20)
            sent = await self._alice.send(self._bob, subject="While hub-b is away")

            async def waits() -> bool:
                queue = self._waypost("queue", "list", "--json", check=False)
                return any(
                    (item["server"], item["message_id"]) == ("hub-a", sent.message_id)
                    for item in json.loads(queue.stdout)["items"]
                )

            await until(waits, "the message is in the queue of hub-a", ARRIVAL_SECONDS)
            partial = self._waypost("trace", sent.message_id, check=False)
            assert partial.returncode == 4, f"trace with a server away ended with {partial.returncode}"
            assert "hub-b can't be reached" in partial.stderr, partial.stderr
            assert await self._bob.count(sent) == 0, "it can't have arrived"
        with step("hub-b is started again, and the message arrives, once"):
            await asyncio.to_thread(self._compose.start, "hub-b")
            await self._bob.wait_for(sent, seconds=ARRIVAL_SECONDS)
            assert await self._bob.count(sent) == 1
        self._show_way(sent)

    async def a_change_of_the_directory_is_seen_by_all(self) -> None:
        with step(
            "a user made in one container is known in all: the directory is one file on a shared volume"
        ):
            added = ("user", "add", "erin@example.test", "--store", "store-b", "--password-stdin")
            self._waypost(*added, stdin="correct horse battery\n")
            sent = await self._alice.send("erin@example.test", subject="Welcome")
            assert not sent.refused

            async def delivered() -> bool:
                shown = self._waypost("trace", sent.message_id, "--json", check=False).stdout
                return '"DELIVER"' in shown and '"store-b"' in shown

            await until(delivered, "the message to the new user is delivered by store-b", ARRIVAL_SECONDS)

    async def init_may_run_again(self) -> None:
        with step("init runs again: it renews what is due, and prints no password"):
            before = self._compose.logs("init")
            await asyncio.to_thread(self._compose.start, "init")

            async def over() -> bool:
                return not self._compose.running("init")

            await until(over, "init has ended", READY_SECONDS)
            assert self._compose.inspect("init")["State"]["ExitCode"] == 0
            said = self._compose.logs("init").removeprefix(before)
            assert "ready to start" in said, said
            assert "@" not in said, "it printed a user again"

    async def containers_stop_in_order(self) -> None:
        with step("SIGTERM stops each server in order"):
            await asyncio.to_thread(self._compose.stop)
            for server in SERVERS:
                state = self._compose.inspect(server)["State"]
                assert state["ExitCode"] == 0, f"{server}: {state}"
                assert re.search(r'"message": ?"stopped"', self._compose.logs(server)), server

    # --- helpers ---

    @property
    def _alice(self) -> User:
        return self._users["alice@example.test"]

    @property
    def _bob(self) -> User:
        return self._users["bob@example.test"]

    def _waypost(self, *arguments: str, stdin: str = "", check: bool = True) -> Completed:
        return self._compose.execute("access", "waypost", *arguments, stdin=stdin, check=check)

    def _show_way(self, sent: Sent) -> None:
        """The whole way, asked of every container over mutual TLS."""
        shown = self._waypost("trace", sent.message_id).stdout
        print(
            "\n  " + "\n  ".join(f"$ waypost trace {sent.message_id}\n{shown}".splitlines()) + "\n",
            flush=True,
        )
        places = [shown.find(server) for server in ("store-a", "hub-a", "hub-b", "store-b")]
        assert -1 not in places, "the way lacks a server"
        assert places == sorted(places), "the way is not in order"

    def show_logs(self) -> None:
        for service in (*SERVERS, "init"):
            if self._compose.exists(service):
                lines = self._compose.logs(service).splitlines()[-20:]
                if service == "init":  # it prints passwords
                    lines = [line for line in lines if "@" not in line]
                print(f"--- {service}", *lines, sep="\n  ", file=sys.stderr)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def step(what: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"  FAILED  {what}", flush=True)
        raise
    print(f"  ok {time.monotonic() - began:5.1f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
