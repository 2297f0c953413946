"""Programs that keep maildirs and the server in step, with changes on both sides: mbsync and offlineimap."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.mail import Box, User
from tests.programs.conftest import Pair, Place, Program
from tests.programs.letters import content_of, letter, whole
from tests.programs.programs import run
from tests.programs.snapshot import Side, far_side, file_of, near_side

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

Synchronise = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Local:
    """What a program makes of a mailbox on disk."""

    maildirs: Path
    folder: str
    """How it calls the folder that is `Köln` to people."""


async def both_ways(pair: Pair, local: Local, synchronise: Synchronise) -> None:
    reader = pair.reader
    for number in range(5):
        message = letter(pair.sender.address, reader.address, subject=f"Letter {number}")
        await reader.wait_for(await pair.sender.send(reader, message=message))
    await synchronise()
    inbox = local.maildirs / "INBOX"
    for number in range(5):
        file = file_of(inbox, f"Letter {number}")
        assert content_of(file.read_bytes()) == whole(f"Letter {number}")
    assert known(near_side(local.maildirs)) == known(await far_side(reader))
    # Here: one removed, one flagged, a message and a folder are new.
    file_of(inbox, "Letter 0").unlink()
    flagged = file_of(inbox, "Letter 1")
    os.rename(flagged, inbox / "cur" / f"{flagged.name.partition(':')[0]}:2,FS")
    for part in ("cur", "new", "tmp"):
        (local.maildirs / local.folder / part).mkdir(parents=True)
    for folder in ("INBOX", local.folder):
        near = letter("me@example.net", reader.address, subject=f"from near {folder}").as_bytes()
        file = local.maildirs / folder / "cur" / f"1700000000.{os.getpid()}_1.near:2,S"
        file.write_bytes(near.replace(b"\r\n", b"\n"))
    # There: one removed, one flagged, a message and a folder are new.
    await reader.look("INBOX", lambda box: change(box, reader))
    await synchronise()
    await synchronise()
    far = await far_side(reader)
    assert known(near_side(local.maildirs)) == known(far)
    assert far["INBOX"] == {
        "Letter 1": {"Seen", "Flagged"},
        "Letter 3": {"Answered"},
        "Letter 4": set(),
        "from near INBOX": {"Seen"},
        "from far INBOX": {"Draft"},
    }
    assert far["K&APY-ln"] == {f"from near {local.folder}": {"Seen"}}
    assert far["Far"] == {"from far Far": {"Draft"}}


def change(box: Box, reader: User) -> None:
    connection = box.connection
    connection.uid("STORE", "3", "+FLAGS", r"(\Deleted)")
    connection.expunge()
    connection.uid("STORE", "4", "+FLAGS", r"(\Answered)")
    connection.create("Far")
    for folder in ("INBOX", "Far"):
        message = letter("me@example.net", reader.address, subject=f"from far {folder}")
        connection.append(folder, r"(\Draft)", None, message.as_bytes())


def known(side: Side) -> Side:
    """Folders with mail in them; a name beyond ASCII as the server has it."""
    return {name.replace("Köln", "K&APY-ln"): mails for name, mails in side.items() if mails}


@pytest.mark.program("mbsync")
async def test_mbsync(place: Place, pair: Pair, program: Program, tmp_path: Path) -> None:
    """synchronises all folders both ways: new messages, flags, removals and new folders from both sides"""
    maildirs, settings = tmp_path / "mail", tmp_path / "mbsyncrc"
    maildirs.mkdir()
    settings.write_text(
        f"IMAPAccount waypost\nHost localhost\nPort {place.imaps.port}\nUser {pair.reader.address}\n"
        f'Pass "{pair.reader.password}"\nSSLType IMAPS\nCertificateFile {place.ca_file}\n'
        "SystemCertificates no\n\nIMAPStore far\nAccount waypost\n\n"
        f"MaildirStore near\nPath {maildirs}/\nInbox {maildirs}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nSync All\nExpunge Both\n"
        "SyncState *\n"
    )
    mbsync = program("mbsync")
    await both_ways(pair, Local(maildirs, "K&APY-ln"), lambda: run(mbsync, "-c", settings, "-a"))


@pytest.mark.program("mbsync")
async def test_mbsync_by_starttls(place: Place, pair: Pair, program: Program, tmp_path: Path) -> None:
    """fetches by STARTTLS"""
    maildirs, settings = tmp_path / "mail", tmp_path / "mbsyncrc"
    maildirs.mkdir()
    settings.write_text(
        f"IMAPAccount waypost\nHost localhost\nPort {place.imap.port}\nUser {pair.reader.address}\n"
        f'Pass "{pair.reader.password}"\nSSLType STARTTLS\nCertificateFile {place.ca_file}\n\n'
        f"IMAPStore far\nAccount waypost\n\nMaildirStore near\nPath {maildirs}/\nInbox {maildirs}/INBOX\n\n"
        "Channel inbox\nFar :far:\nNear :near:\nCreate Near\nSync Pull\nSyncState *\n"
    )
    message = letter(pair.sender.address, pair.reader.address, subject="by STARTTLS")
    await pair.reader.wait_for(await pair.sender.send(pair.reader, message=message))
    await run(program("mbsync"), "-c", settings, "-a")
    file = file_of(maildirs / "INBOX", "by STARTTLS")
    assert content_of(file.read_bytes()) == whole("by STARTTLS")


@pytest.mark.program("offlineimap")
async def test_offlineimap(place: Place, pair: Pair, program: Program, tmp_path: Path) -> None:
    """synchronises all folders both ways: new messages, flags, removals and new folders from both sides"""
    settings = tmp_path / "offlineimaprc"
    settings.write_text(
        f"[general]\naccounts = waypost\nmetadata = {tmp_path}/state\nui = basic\n\n"
        "[Account waypost]\nlocalrepository = near\nremoterepository = far\nutf8foldernames = yes\n\n"
        f"[Repository near]\ntype = Maildir\nlocalfolders = {tmp_path}/mail\nsep = /\n\n"
        f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {place.imaps.port}\n"
        f"remoteuser = {pair.reader.address}\nremotepass = {pair.reader.password}\n"
        f"ssl = yes\nsslcacertfile = {place.ca_file}\n"
    )
    offlineimap = program("offlineimap")
    await both_ways(
        pair, Local(tmp_path / "mail", "Köln"), lambda: run(offlineimap, "-c", settings, "-o", home=tmp_path)
    )
