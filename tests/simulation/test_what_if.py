"""What-ifs: one's own organisation under load, what fails shows in its queues, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import hubtransport.categorizer.forwarder
from config.reader import read_topology
from foundation.smtp.liveness import Liveness
from hubtransport.daemon import HubTransport
from tests.simulation.sabotages import last_of_several_recipients_dropped_at_fan_out
from waypost.cli import whatif
from waypost.cli.main import run
from waypost.simulator.whatif import failing
from waypost.simulator.whatif.options import parse_failures
from waypost.simulator.whatif.report import Report, report_of
from waypost.simulator.whatif.run import Asked, what_if

CONFIGS = Path(__file__).parents[2] / "config"
TWO_SITES = CONFIGS / "two-sites.toml"

ABROAD = """
[[send_connectors]]
name = "relay"
smart_hosts = ["relay.example.org:587"]
tls = "verified"
username = "us"
password_file = "/nowhere/password"
"""
SECOND_HUB = """
[servers.hub-c]
role = "hub"
site = "B"
smtp = "127.0.0.1:2545"
smtp_internal = "127.0.0.1:2645"
rpc = "127.0.0.1:2745"
"""
SHORT_LIVED = """
[servers.hub-a.retry]
glitch_count = 0
transient_count = 0
delay_notice_seconds = 20
expiry_seconds = 30
"""


def ask(file: Path, rate: float, until: float, *fail: str, **more: Any) -> Report:
    topology = read_topology(file, {})
    asked = Asked(topology, rate, until, parse_failures(fail, topology, until), users=6, **more)
    return report_of(asked, what_if(asked))


def with_more(tmp_path: Path, more: str) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(TWO_SITES.read_text("utf-8") + more, "utf-8")
    return file


def depths(report: Report, server: str, begin: float, end: float) -> list[int]:
    samples = report.happened.samples
    return [sample.depths[server].total for sample in samples if begin <= sample.at <= end]


def test_a_hub_that_is_gone_makes_queues_grow_that_drain_when_it_is_back() -> None:
    report = ask(TWO_SITES, 4.0, 60.0, "hub-b@10s-30s")
    waiting = depths(report, "hub-a", 12, 29)
    assert waiting == sorted(waiting)
    assert waiting[-1] > waiting[0] + 5
    outbox = depths(report, "store-b", 12, 29)
    assert outbox[-1] > outbox[0] + 5
    hub, store = report.peaks[0], report.peaks[3]
    assert (hub.server, hub.next_hop, store.server, store.next_hop) == ("hub-a", "hub-b", "store-b", "hub-b")
    assert hub.emptied_at is not None and 30 <= hub.emptied_at < 65
    assert hub.at_the_end == store.at_the_end == 0
    found = report.happened.outcomes
    assert found.accepted == found.delivered > 200
    assert found.late > 20
    assert found.longest is not None and found.longest.seconds > 15
    assert report.good


def test_another_hub_of_the_site_takes_over(tmp_path: Path) -> None:
    report = ask(with_more(tmp_path, SECOND_HUB), 4.0, 30.0, "hub-b:stop@5s")
    assert depths(report, "hub-a", 10, 40)[-1] == 0
    found = report.happened.outcomes
    assert found.accepted == found.delivered
    assert report.good


def test_another_hub_takes_over_from_one_that_dies_without_a_word(tmp_path: Path) -> None:
    """Only what that one may have taken waits for it."""
    report = ask(with_more(tmp_path, SECOND_HUB), 4.0, 120.0, "hub-b@20s")
    assert max(depths(report, "hub-a", 20, 45)) > 3
    found = report.happened.outcomes
    assert found.longest is not None and found.longest.seconds < 60
    assert {where[:2] for where in found.waiting_at} <= {("hub-a", "hub-b"), ("store-b", "hub-b")}
    assert found.waiting <= 4
    assert found.waits[int(len(found.waits) * 0.95)] < 1
    assert depths(report, "hub-a", 60, 130)[-1] <= found.waiting
    assert found.accepted == found.delivered + found.waiting > 400
    assert report.good


def test_what_waits_behind_silent_connections_goes_another_way_before_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Liveness, "start", lambda self: None)
    report = ask(with_more(tmp_path, SECOND_HUB), 4.0, 120.0, "hub-b@20s")
    assert max(depths(report, "hub-a", 20, 40)) > 6
    assert max(depths(report, "hub-a", 60, 120)) <= 4
    assert report.good


def test_in_calm_weather_nothing_waits() -> None:
    report = ask(CONFIGS / "single.toml", 5.0, 20.0)
    found = report.happened.outcomes
    assert found.accepted == found.delivered > 80
    assert found.late == found.bounced == found.waiting == 0
    assert all(peak.most <= 3 for peak in report.peaks)
    assert report.good


def test_a_server_that_is_only_just_starting_can_be_stopped() -> None:
    report = ask(TWO_SITES, 4.0, 30.0, "hub-b@5s-10s", "hub-b:stop@10s")
    assert report.happened.samples[-1].depths["hub-a"].by_next_hop["hub-b"] > 10
    assert report.happened.outcomes.waiting > 20


def test_a_server_that_is_gone_does_not_try_to_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was between two tries when it went."""
    start, numbers = HubTransport.start, count(1)

    async def once_not(daemon: HubTransport) -> None:
        if next(numbers) == 3:  # after both hubs' first
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await start(daemon)

    monkeypatch.setattr(HubTransport, "start", once_not)
    report = ask(TWO_SITES, 4.0, 30.0, "hub-b@5s-10s", "hub-b@10.5s")
    assert report.happened.samples[-1].depths["hub-a"].by_next_hop["hub-b"] > 10
    assert next(numbers) == 4


def test_hubs_that_are_parted_keep_mail_for_each_other() -> None:
    report = ask(TWO_SITES, 4.0, 20.0, "hub-a~hub-b@5s")
    for hub, other in (("hub-a", "hub-b"), ("hub-b", "hub-a")):
        assert report.happened.samples[-1].depths[hub].by_next_hop[other] > 5
    found = report.happened.outcomes
    assert found.waiting > 15
    assert not any("240." in reply for _, _, reply in found.waiting_at)
    assert {where[:2] for where in found.waiting_at} == {("hub-a", "hub-b"), ("hub-b", "hub-a")}
    assert found.accepted == found.delivered + found.waiting
    assert report.good


def test_who_lives_at_a_site_that_is_cut_off_waits_until_it_is_joined() -> None:
    report = ask(TWO_SITES, 4.0, 20.0, "A~B@5s-15s")
    books, found = report.happened.books, report.happened.outcomes
    assert 8 < books.longest_holding_seconds < 25
    assert books.holding == 0
    assert found.accepted == found.delivered
    assert report.good


def test_what_is_too_late_bounces_with_the_reason(tmp_path: Path) -> None:
    report = ask(with_more(tmp_path, SHORT_LIVED), 2.0, 60.0, "hub-b@5s")
    found = report.happened.outcomes
    assert found.bounced > 3
    assert {where[:2] for where in found.bounces} == {("hub-a", "hub-b")}
    assert all(why.startswith("Not delivered within the time for it") for _, _, why in found.bounces)
    assert found.accepted == found.delivered + found.bounced + found.waiting
    assert report.good


def test_mail_goes_out_by_a_smart_host_whose_secrets_nobody_has(tmp_path: Path) -> None:
    report = ask(with_more(tmp_path, ABROAD), 6.0, 40.0, "hub-a~internet@5s-15s")
    found = report.happened.outcomes
    assert found.relayed > 20
    assert found.accepted == found.delivered + found.relayed + found.bounced + found.waiting
    assert {why for _, _, why in found.bounces} <= {"550 5.1.1 no such user"}
    assert report.good


def test_a_full_disk_and_an_orderly_stop_are_put_off_by_clients() -> None:
    report = ask(TWO_SITES, 4.0, 40.0, "store-a:full@5s-15s", "access:stop@20s-25s")
    books, found = report.happened.books, report.happened.outcomes
    assert any(reply.startswith("452 4.3.1") for reply in books.put_off)
    assert books.longest_holding_seconds > 5
    assert found.accepted == found.delivered + found.waiting
    assert report.good


def what_it_prints(*options: str, hash_seed: str = "0") -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "waypost", "simulate", "--config", str(TWO_SITES), *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
    ).stdout


def test_one_seed_is_one_report_in_every_process(tmp_path: Path) -> None:
    options = ("--load", "3/s", "--until", "25s", "--fail", "hub-b@5s-15s", "--users", "6", "--json")
    plots = [tmp_path / "one.svg", tmp_path / "two.svg"]
    printed = [
        what_it_prints(*options, "--plot", str(plot), hash_seed=hash_seed)
        for plot, hash_seed in zip(plots, ("1", "20"), strict=True)
    ]
    assert printed[0] == printed[1]
    assert plots[0].read_bytes() == plots[1].read_bytes()
    document = json.loads(printed[0])
    assert document["version"] == 1
    assert document["good"] is True
    numbers = document["recipients"]
    assert numbers["accepted"] == sum(numbers[key] for key in ("delivered", "relayed", "bounced", "waiting"))
    assert document["asked"]["fail"][0]["servers"] == ["hub-b"]
    assert [each["server"] for each in document["queues"]] == ["hub-a", "hub-b", "store-a", "store-b"]
    assert document["samples"][-1]["at_seconds"] == document["simulated_seconds"] == 35
    assert ElementTree.fromstring(plots[0].read_bytes()).tag.endswith("svg")


def simulate(*options: str) -> int:
    return run(
        ["simulate", "--config", str(TWO_SITES), "--load", "2/s", "--until", "10s", "--users", "4", *options]
    )


def test_the_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--fail", "hub-b:stop@3s-6s", "--seed", "4") == 0
    printed = capsys.readouterr()
    for part in (
        "hub-b: stopped in order from 3 s to 6 s",
        "messages accepted",
        "longest wait",
        "store-a\tOutbox",
    ):
        assert part in printed.out
    assert printed.out.splitlines()[-1].startswith("Nothing is lost or doubled: ")
    assert "20.0 s simulated in " in printed.err


def test_an_interrupt_gives_the_report_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(whatif.Progress):
        def __call__(self, step: Any) -> bool:
            if step.seconds >= 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(step)

    monkeypatch.setattr(whatif, "Progress", Interrupting)
    before = signal.getsignal(signal.SIGINT)
    assert simulate("--json") == 130
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["interrupted"] is True
    assert document["simulated_seconds"] < 6
    assert document["recipients"]["lost"] == 0
    assert "Interrupted: the report so far" in printed.err
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_before_the_load_begins_gives_a_report_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whatif.Progress, "__call__", lambda self, step: False)
    assert simulate("--json") == 130
    document = json.loads(capsys.readouterr().out)
    assert document["interrupted"] is True
    assert document["simulated_seconds"] == document["messages"]["written"] == 0
    assert [sample["at_seconds"] for sample in document["samples"]] == [0]
    assert simulate() == 130
    assert "interrupted after 0 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("raises", "OSError: [Errno 28] No space left on device"),
        ("hangs", "it comes to no end in 600 s"),
    ],
)
def test_a_server_that_does_not_start_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start: str, reason: str
) -> None:
    async def broken(daemon: HubTransport) -> None:
        if start == "raises":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(HubTransport, "start", broken)
    assert simulate("--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    error = json.loads(printed.err)["error"]
    assert error["place"] == f"{TWO_SITES}: servers.hub-a"
    assert reason in error["message"]
    assert error["mend"]


def test_a_server_whose_database_is_too_small_for_its_tables_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.toml"
    small = 'role = "store"\ndatabase_size_bytes = 100000'
    file.write_text(TWO_SITES.read_text("utf-8").replace('role = "store"', small, 1), "utf-8")
    assert run(["simulate", "--config", str(file), "--load", "1/s"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    where = f"{file}: servers.store-a: store-a does not start in the simulation: store-a/default.db: "
    assert printed.err.splitlines()[0].startswith(f"waypost: {where}the database can't be prepared: ")


def test_what_ends_the_simulations_own_work_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("no failure happened")

    monkeypatch.setattr(failing.Failing, "_machines", broken)
    assert simulate("--fail", "A~B@1s-2s", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["good"] is False
    assert any("no failure happened" in each for each in document["errors"])


def test_what_is_lost_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    last_of_several_recipients_dropped_at_fan_out(monkeypatch)
    assert simulate("--load", "15/s", "--users", "12", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    lost = document["recipients"]["lost"]
    assert lost > 0
    assert len(document["wrong"]) == min(lost, 20)
    assert all(each.endswith(" is nowhere") for each in document["wrong"])
    assert simulate("--load", "15/s", "--users", "12") == 1
    assert f" + {lost} LOST; 0 doubled." in capsys.readouterr().out


def test_what_nobody_foresaw_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(hubtransport.categorizer.forwarder, "plan", broken)
    assert simulate() == 1
    printed = capsys.readouterr().out
    assert "ZeroDivisionError('nobody thought of this')" in printed
    assert "servers met errors that nobody foresaw" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "place", "mend"),
    [
        (["--load", "many"], "--load", "20/s"),
        (["--load", "9000/s", "--until", "24h"], "--load", "less load or a shorter run"),
        (["--until", "soon"], "--until", "30m"),
        (["--until", "60d"], "--until", "1s to 30d"),
        (["--fail", "hub-x@1s-2s"], "--fail", "servers are hub-a"),
        (["--plot", "own.png"], "--plot", "own.svg"),
        (["--plot", "missing/own.svg"], "--plot", "make it"),
        (["--seeds", "3"], "--seeds", "--help"),
        (["--seed", "3", "--trace"], "--trace", "--help"),
    ],
)
def test_what_is_wrong_with_the_options_is_named(
    options: list[str], place: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(*options, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    error = json.loads(printed.err)["error"]
    assert error["place"] == place
    assert mend in error["mend"]


def test_what_is_wrong_with_the_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(TWO_SITES.read_text("utf-8").replace('site = "B"', 'site = "C"'), "utf-8")
    assert run(["simulate", "--config", str(file), "--load", "1/s"]) == 2
    assert f"{file}: servers.hub-b.site: unknown site" in capsys.readouterr().err
    shut = TWO_SITES.read_text("utf-8").replace("submission = ", "# ").replace("submissions = ", "# ")
    file.write_text(shut, "utf-8")
    assert run(["simulate", "--config", str(file), "--load", "1/s"]) == 2
    printed = capsys.readouterr().err
    assert f"{file}: servers.access: no Client Access server takes mail from users" in printed
    assert "give one submissions" in printed


def test_nothing_is_written_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulate() == 0
    assert list(tmp_path.iterdir()) == []
