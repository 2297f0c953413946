"""Programs that read: s-nail, neomutt, fetchmail, getmail and curl."""

from __future__ import annotations

import asyncio
import mailbox
import os
import pty
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.harness.mail import User
from tests.harness.patience import patient
from tests.programs.conftest import Pair, Place, Program
from tests.programs.letters import Content, content_of, letter, whole
from tests.programs.programs import run
from tests.programs.snapshot import far_side

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest_asyncio.fixture(loop_scope="session")
async def reader(pair: Pair) -> User:
    """Has got three letters."""
    for number in range(3):
        message = letter(pair.sender.address, pair.reader.address, subject=f"Letter {number}")
        sent = await pair.sender.send(pair.reader, message=message)
        await pair.reader.wait_for(sent)
    return pair.reader


def in_box(file: Path) -> list[Content]:
    return [content_of(each.as_bytes()) for each in mailbox.mbox(file)]


@pytest.mark.program("s-nail")
async def test_s_nail_reads(place: Place, reader: User, program: Program, tmp_path: Path) -> None:
    """shows, searches, copies, moves, flags and deletes over IMAP"""
    box = tmp_path / "copies"
    output = await run(
        *(program("s-nail"), "-:/", "-S", "v15-compat", "-S", "ttycharset=utf-8", "-S", "imap-auth=login"),
        *("-S", f"tls-ca-file={place.ca_file}", "-S", "tls-ca-no-defaults", "-S", "tls-verify=strict"),
        *(
            "-f",
            f"imaps://{quote(reader.address)}:{quote(reader.password)}@localhost:{place.imaps.port}/INBOX",
        ),
        stdin=f"headers\nfrom (subject 'Letter 1')\ntype 1\ncopy 2 {box}\nflag 2\ndelete 3\nquit\n".encode(),
        home=tmp_path,
    )
    assert all(f"Letter {number}" in output for number in range(3))
    assert "Grüße aus Köln" in output
    assert in_box(box) == [whole("Letter 1")]
    side = await far_side(reader)
    assert side["INBOX"] == {"Letter 0": {"Seen"}, "Letter 1": {"Seen", "Flagged"}}


@pytest.mark.program("neomutt")
async def test_neomutt_reads(place: Place, reader: User, program: Program, tmp_path: Path) -> None:
    """searches, flags, saves into a new folder, deletes, and copies everything out"""
    box = tmp_path / "copies"
    settings = tmp_path / "neomuttrc"
    keys = (
        f"<tag-pattern>.<enter><tag-prefix><copy-message>{box}<enter><untag-pattern>.<enter>"
        "<search>~s 'Letter 0'<enter><flag-message><search>~s 'Letter 1'<enter><save-message>+Kept<enter>"
        "<search>~s 'Letter 2'<enter><delete-message><sync-mailbox><quit>"
    )
    settings.write_text(
        f'set folder="imaps://{quote(reader.address)}@localhost:{place.imaps.port}/" spoolfile="+INBOX"\n'
        f'set imap_pass="{reader.password}" ssl_force_tls=yes\n'
        f'set ssl_ca_certificates_file="{place.ca_file}" certificate_file=""\n'
        "set confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no resolve=no wait_key=no\n"
        f'set sleep_time=0 auto_tag=no mbox_type=mbox charset=utf-8\npush "{keys}"\n'
    )
    await on_terminal(program("neomutt"), "-n", "-F", settings, home=tmp_path)
    assert in_box(box) == [whole(f"Letter {number}") for number in range(3)]
    side = await far_side(reader)
    assert side["INBOX"] == {"Letter 0": {"Flagged"}}
    assert side["Kept"] == {"Letter 1": set()}


async def on_terminal(*command: str | Path, home: Path) -> None:
    """Runs a program that wants a terminal, until it ends."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    shown = bytearray()

    def read() -> None:
        try:
            shown.extend(os.read(ours, 65536))
        except OSError:  # nobody has the other side any more
            asyncio.get_running_loop().remove_reader(ours)

    asyncio.get_running_loop().add_reader(ours, read)
    try:
        code = await asyncio.wait_for(process.wait(), patient(30))
    except TimeoutError:
        process.kill()
        raise AssertionError(shown[-2000:].decode("utf-8", "replace")) from None
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
    assert code == 0, shown[-2000:].decode("utf-8", "replace")


@pytest.mark.program("fetchmail")
@pytest.mark.parametrize("keep", [True, False], ids=["keep", "take"])
async def test_fetchmail(place: Place, reader: User, program: Program, tmp_path: Path, keep: bool) -> None:
    """fetches what is new; keeps it on the server, or takes it away"""
    settings, spool = tmp_path / "fetchmailrc", tmp_path / "spool"
    spool.mkdir()
    settings.write_text(
        f"poll localhost service {place.imaps.port} protocol imap timeout {patient(30):.0f}\n"
        f'  username "{reader.address}" password "{reader.password}"\n'
        f'  ssl sslcertck sslcertfile "{place.ca_file}" sslproto "TLS1.2+"\n'
        f'  {"keep" if keep else "nokeep"} no rewrite no mimedecode pass8bits mda "cat > {spool}/$$"\n'
    )
    settings.chmod(0o600)
    await run(
        program("fetchmail"), "-f", settings, "--nosyslog", "--pidfile", tmp_path / "pid", home=tmp_path
    )
    fetched = [content_of(file.read_bytes()) for file in spool.iterdir()]
    assert sorted(fetched, key=lambda each: each.subject) == [whole(f"Letter {n}") for n in range(3)]
    kept = {f"Letter {number}": {"Seen"} for number in range(3)} if keep else {}
    assert (await far_side(reader))["INBOX"] == kept


@pytest.mark.program("getmail")
async def test_getmail(place: Place, reader: User, program: Program, pair: Pair, tmp_path: Path) -> None:
    """fetches every folder once, and at the next run only what is new"""
    spool = tmp_path / "spool"
    spool.mkdir()
    (tmp_path / "getmailrc").write_text(
        "[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = localhost\n"
        f"port = {place.imaps.port}\nusername = {reader.address}\npassword = {reader.password}\n"
        f"ca_certs = {place.ca_file}\nmailboxes = ALL\n"
        "[destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n"
        f'arguments = ("-c", "cat > {spool}/$$")\n'
        "[options]\nread_all = false\ndelivered_to = false\nreceived = false\n"
    )

    async def get() -> list[Content]:
        await run(program("getmail"), f"--getmaildir={tmp_path}", home=tmp_path)
        found = [content_of(file.read_bytes()) for file in spool.iterdir()]
        for file in spool.iterdir():
            file.unlink()
        return sorted(found, key=lambda each: each.subject)

    assert await get() == [whole(f"Letter {number}") for number in range(3)]
    message = letter(pair.sender.address, reader.address, subject="Letter 3")
    await reader.wait_for(await pair.sender.send(reader, message=message))
    assert await get() == [whole("Letter 3")]


@pytest.mark.program("curl")
async def test_curl_reads(place: Place, reader: User, program: Program, tmp_path: Path) -> None:
    """lists, searches, fetches whole messages and parts, appends, flags and expunges by URL"""
    curl = program("curl")

    async def get(path: str, *options: str | Path) -> str:
        return await run(
            *(curl, "-sS", "--cacert", place.ca_file, "--user", f"{reader.address}:{reader.password}"),
            *(f"imaps://localhost:{place.imaps.port}/{path}", *options),
        )

    assert '* LIST (\\HasNoChildren) "/" INBOX\r\n' in await get("", "-X", 'LIST "" *')
    assert await get("INBOX", "-X", 'SEARCH SUBJECT "letter 1"') == "* SEARCH 2\r\n"
    assert content_of((await get("INBOX;UID=2")).encode()) == whole("Letter 1")
    assert (await get("INBOX;UID=2;SECTION=1")).startswith("Grüße aus Köln")
    file = tmp_path / "letter"
    file.write_bytes(letter("curl@example.net", reader.address, subject="appended").as_bytes())
    await get("Drafts", "-T", file)
    assert content_of((await get("Drafts;UID=1")).encode()) == whole("appended")
    assert r"(FLAGS (\Deleted \Seen" in await get("INBOX", "-X", r"STORE 2 +FLAGS (\Deleted)")
    assert await get("INBOX", "-X", "EXPUNGE") == "* 2 EXPUNGE\r\n"
    assert set((await far_side(reader))["INBOX"]) == {"Letter 0", "Letter 2"}
