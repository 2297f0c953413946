"""Stopping in order: a rolling restart of everything under load, and a stop while commands run."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.mail import Box, User, compose
from tests.harness.organisation import Organisation
from tests.harness.patience import until
from tests.harness.topologies import ready_topology
from waypost.cli.audit import examine
from waypost.cli.control import Servers as Controls
from waypost.servers import servers_of

pytestmark = pytest.mark.slow

STOP_SECONDS = 15
TRIES = 40


async def deliver_like_a_client(user: User, to: tuple[str, ...], errors: list[str]) -> str:
    """Submits as mail programs do: what may be tried again is tried again, as the same message."""
    message = compose(user.address, *to)
    for _ in range(TRIES):
        try:
            await asyncio.to_thread(user._send, message, user.address, list(to), (), ())
        except smtplib.SMTPResponseException as error:
            errors.append(f"{error.smtp_code} {error.smtp_error!r}")
            assert 400 <= error.smtp_code < 500, errors[-1]
        except smtplib.SMTPRecipientsRefused as error:
            errors += [str(reply) for reply in error.recipients.values()]
            assert all(400 <= code < 500 for code, _ in error.recipients.values()), errors
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            errors.append(repr(error))
        else:
            return str(message["Message-ID"]).strip("<>")
        await asyncio.sleep(0.2)
    raise AssertionError(f"given up after {TRIES} tries: {errors[-3:]}")


async def test_a_rolling_restart_under_load_is_nothing_a_client_does_not_retry(tmp_path: Path) -> None:
    began_ms = time.time_ns() // 1_000_000
    async with Organisation(ready_topology("two-sites", tmp_path / "data")) as organisation:
        addresses = ("alice@example.test", "bob@example.test", "dave@example.test")
        done, sent, errors = asyncio.Event(), [], []

        async def submit(user: User) -> None:
            while not done.is_set():
                sent.append(await deliver_like_a_client(user, addresses, errors))

        async with asyncio.TaskGroup() as group:
            for address in addresses:
                group.create_task(submit(organisation.user(address)))
            for name in ("hub-a", "store-a", "hub-b", "store-b", "access"):
                before = len(sent)
                began = time.monotonic()
                await organisation.stop(name)
                assert time.monotonic() - began < STOP_SECONDS
                await organisation.start(name)
                await until(lambda before=before: _more_than(sent, before + 5), "mail goes on", 30)
            done.set()
        await organisation.wait_until_idle(60)
        for address in addresses:
            user = organisation.user(address)
            found = Counter(await user.look("INBOX", _message_ids))
            assert not [message_id for message_id in sent if not found[message_id]], errors
        audited, _ = await examine(
            Controls(organisation.topology), servers_of(organisation.topology), began_ms
        )
        assert audited.findings == ()
        assert audited.counts.pending == 0


async def test_sigterm_finishes_the_command_and_refuses_the_next(tmp_path: Path) -> None:
    async with Organisation(ready_topology("two-sites", tmp_path / "data")) as organisation:
        hub = organisation.endpoint("hub-a", "smtp")
        idle_reader, idle = await asyncio.open_connection(hub.host, hub.port)
        await idle_reader.readuntil(b"\r\n")
        reader, writer = await asyncio.open_connection(hub.host, hub.port)
        await reader.readuntil(b"\r\n")
        writer.write(
            b"EHLO elsewhere.example\r\nMAIL FROM:<friend@elsewhere.example>\r\n"
            b"RCPT TO:<alice@example.test>\r\nDATA\r\n"
        )
        answered = b""
        while b"354" not in answered:
            answered += await reader.readuntil(b"\r\n")
        stopping = asyncio.create_task(organisation.stop("hub-a"))
        # who waits between commands is told at once
        assert (await idle_reader.readline()).startswith(b"421 4.3.2 ")
        # the command that runs is finished: its 250 counts
        writer.write(b"Message-ID: <last@elsewhere.example>\r\n\r\nJust in time\r\n.\r\nNOOP\r\n")
        assert (await reader.readline()).startswith(b"250 2.6.0 ")
        assert (await reader.readline()).startswith(b"421 4.3.2 ")
        assert await reader.readline() == b""
        for each in (idle, writer):
            each.close()
        async with asyncio.timeout(STOP_SECONDS):
            await stopping
        await organisation.start("hub-a")
        await organisation.user("alice@example.test").wait_until(
            "INBOX", lambda box: box.find("last@elsewhere.example"), 20
        )


async def test_a_client_that_says_nothing_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with Organisation(ready_topology("two-sites", tmp_path / "data")) as organisation:
        hub = organisation.endpoint("hub-a", "smtp")
        reader, writer = await asyncio.open_connection(hub.host, hub.port)
        writer.write(
            b"EHLO elsewhere.example\r\nMAIL FROM:<friend@elsewhere.example>\r\n"
            b"RCPT TO:<alice@example.test>\r\nDATA\r\n"
        )
        while b"354" not in await reader.readuntil(b"\r\n"):
            pass
        began = time.monotonic()
        await organisation.stop("hub-a")
        assert time.monotonic() - began < STOP_SECONDS
        writer.close()


async def _more_than(sent: list[str], count: int) -> bool:
    return len(sent) > count


def _message_ids(box: Box) -> list[str]:
    found = box._search("ALL")
    if not found:
        return []
    _, answer = box.connection.fetch(b",".join(found).decode(), "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    heads = [part[1].decode() for part in answer if isinstance(part, tuple)]
    return [head.partition("<")[2].partition(">")[0] for head in heads]
