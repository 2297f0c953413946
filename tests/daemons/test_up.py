"""`waypost up`: from an empty folder to a ready organisation, supervised, and down again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.patience import POLL_SECONDS, patient

pytestmark = pytest.mark.slow

WAYPOST = (sys.executable, "-m", "waypost")


class Up:
    """`waypost up` in a folder of its own, with what it printed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.output = ""
        self._errors = (folder / "stderr.log").open("wb")
        environment = {key: value for key, value in os.environ.items() if key != "WAYPOST_CONFIG"}
        self.process = subprocess.Popen(
            [*WAYPOST, "up", *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def wait_until_printed(self, text: str, seconds: float = 15) -> str:
        """All output up to and with a line that has this text."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + patient(seconds)
        while text not in self.output:
            readable, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            assert chunk, f"{text!r} did not come:\n{self.output}\n{self.errors()}"
            self.output += chunk.decode()
        return self.output

    def errors(self) -> str:
        return (self.folder / "stderr.log").read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(patient(30))
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    running: list[Up] = []

    def up(*options: str) -> Up:
        running.append(Up(tmp_path, *options))
        return running[-1]

    yield up
    for each in running:
        each.end()


def waypost(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WAYPOST, *arguments], cwd=folder, input=stdin, capture_output=True, text=True, timeout=patient(30)
    )


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    document = json.loads(waypost(folder, "status", "--json").stdout)
    assert document["version"] == 1
    return {each["name"]: each for each in document["items"]}


def test_from_nothing_to_a_message_sent_read_and_traced(start: Callable[..., Up], tmp_path: Path) -> None:
    began = time.monotonic()
    up = start()
    output = up.wait_until_printed("Ctrl-C stops")
    assert time.monotonic() - began < patient(6)
    users = json.loads((tmp_path / "data/demo-users.json").read_text())
    assert [user["address"].partition("@")[0] for user in users] == ["alice", "bob", "carol"]
    assert all(user["password"] in output for user in users)
    assert stat.S_IMODE((tmp_path / "data/demo-users.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data/ca.pem").stat().st_mode) == 0o644
    assert not any(user["password"] in up.errors() for user in users)

    def step(heading: str) -> str:
        line = re.search(rf"^{heading}:\n  (.+)$", output, re.MULTILINE)
        assert line, output
        return line[1]

    def run(command: str) -> str:
        command = command.replace("waypost trace", f"{sys.executable} -m waypost trace")
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=patient(30)
        )
        return done.stdout if done.returncode == 0 else ""

    assert run(step("Send a message") + " && echo sent") == "sent\n"
    until(lambda: "Subject: Hello" in run(step("Read it")), "the line that reads shows the message")
    until(lambda: "DELIVER" in run(step("Show its way")), "the line that traces shows the delivery")


def test_status_tells_ready_and_not(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.wait_until_printed("Ctrl-C stops")
    assert waypost(tmp_path, "status").returncode == 0
    found = statuses(tmp_path)
    assert {(each["role"], each["state"]) for each in found.values()} == {
        ("hub", "ready"),
        ("store", "ready"),
        ("access", "ready"),
    }
    listener = next(each for each in found["access"]["listeners"] if each["protocol"] == "imaps")
    assert set(listener) == {"protocol", "host", "port"}
    assert up.end() == 0
    down = waypost(tmp_path, "status")
    assert down.returncode == 1
    assert "unreachable" in down.stdout


def test_the_second_start_keeps_users_and_prints_no_password(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    first = start()
    first.wait_until_printed("Ctrl-C stops")
    kept = (tmp_path / "data/demo-users.json").read_bytes()
    assert first.end(signal.SIGINT) == 0
    second = start()
    output = second.wait_until_printed("Ctrl-C stops")
    assert (tmp_path / "data/demo-users.json").read_bytes() == kept
    assert not any(user["password"] in output for user in json.loads(kept))
    assert second.end() == 0


def test_a_second_up_is_told_who_holds_the_folder(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.wait_until_printed("Ctrl-C stops")
    second = waypost(tmp_path, "up")
    assert second.returncode == 2
    assert f"process {up.process.pid} (waypost up)" in second.stderr


def test_a_crashed_server_is_started_again(start: Callable[..., Up], tmp_path: Path) -> None:
    start().wait_until_printed("Ctrl-C stops")

    def runs_again(before: int) -> bool:
        hub = statuses(tmp_path)["hub"]
        return hub["state"] == "ready" and hub["pid"] != before

    for time_of_death in ("first", "second", "third"):
        pid = statuses(tmp_path)["hub"]["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: runs_again(pid), f"the hub runs again the {time_of_death} time", seconds=15)


def test_a_server_may_be_run_apart(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--without", "hub")
    up.wait_until_printed("2 servers")
    assert statuses(tmp_path)["hub"]["state"] == "unreachable"
    command = [*WAYPOST, "run", "hub", "--name", "hub"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as hub:
        until(lambda: statuses(tmp_path)["hub"]["state"] == "ready", "the hub is there", seconds=15)
        assert waypost(tmp_path, "status").returncode == 0
        hub.terminate()
        assert hub.wait(patient(15)) == 0
    assert up.end() == 0


def test_a_server_that_is_not_there_can_not_be_left_out(tmp_path: Path) -> None:
    refused = waypost(tmp_path, "up", "--without", "hub-c")
    assert refused.returncode == 2
    assert "known servers are hub, store, access" in refused.stderr
    assert not (tmp_path / "data/waypost.toml").exists()


def test_servers_die_with_their_supervisor(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.wait_until_printed("Ctrl-C stops")
    pids = [each["pid"] for each in statuses(tmp_path).values()]
    assert len(pids) == 3
    up.end(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), "all servers are gone")


def test_the_directory_is_changed_by_commands(start: Callable[..., Up], tmp_path: Path) -> None:
    start().wait_until_printed("Ctrl-C stops")
    added = waypost(
        tmp_path, "user", "add", "dora@example.test", "--password-stdin", "--json", stdin="pass word\n"
    )
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["address"] == "dora@example.test"
    assert waypost(tmp_path, "alias", "add", "d@example.test", "dora@example.test").returncode == 0
    assert waypost(tmp_path, "alias", "set", "d@example.test", "bob@example.test").returncode == 0
    assert waypost(tmp_path, "group", "add", "all@example.test", "--member", "d@example.test").returncode == 0
    assert waypost(tmp_path, "domain", "add", "example.net").returncode == 0
    shown = waypost(tmp_path, "group", "show", "all@example.test", "--json")
    assert json.loads(shown.stdout)["members"] == ["bob@example.test"]
    assert waypost(tmp_path, "user", "show", "nobody@example.test").returncode == 3
    again = waypost(tmp_path, "user", "add", "dora@example.test", "--password-stdin", "--json", stdin="x\n")
    assert again.returncode == 2
    assert json.loads(again.stderr)["error"]["code"] == "already_exists"
    assert waypost(tmp_path, "user", "remove", "dora@example.test").returncode == 0


def until(look: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + patient(seconds)
    while not look():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(POLL_SECONDS)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return False
