"""The session against the real mailbox store on SQLite; several sessions at random against the truth."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clientaccess.imap.connection import ImapOptions, ImapServer
from config.model import Limits
from foundation.interfaces.directory import Credentials
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.rpc.server import RpcServer
from tests.unit.clientaccess.imap.rig import Talk
from tests.unit.mailboxstore.bench import ALICE, PLAIN, Bench, open_bench

LONG = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: alice@example.org\r\n"
    b"Subject: =?utf-8?b?w5xiZXI=?= everything\r\nDate: 01 Mar 2020 10:00:00 +0000\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=FC=DFe\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>\r\n--x--\r\n"
)


class Alice:
    async def password(self, login: str, password: str, peer: str) -> Credentials:
        return Credentials(user=ALICE, password_hash="", addresses=(ALICE.address,))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = open_bench(tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=["called", "over RPC"])
async def port(bench: Bench, request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """Of an IMAP listener that has the store in its process, or at the other end of a connection."""
    rpc = RpcServer(
        {MailboxStore: bench.store},
        authorise=lambda peer, service, method: True,
        trace_id=bench.world.entropy.identifier,
    )
    client = RpcClient(TcpTarget("127.0.0.1", await rpc.serve_tls("127.0.0.1", 0, None)))
    store = bench.store if request.param == "called" else client.interface(MailboxStore)
    options = ImapOptions(hostname="mail", tls=None, limits=Limits(), plain_logon=True)
    server = ImapServer(options, Alice(), lambda credentials: store, bench.world)
    yield await server.start("127.0.0.1", 0, False)
    await server.stop(1)
    await client.close()
    await rpc.stop()


async def append(talk: Talk, content: bytes, arguments: str = "INBOX") -> bytes:
    return (await talk.ask(b"APPEND %b {%d+}\r\n%b" % (arguments.encode(), len(content), content)))[-1]


async def test_a_mailbox_from_its_first_use(bench: Bench, port: int) -> None:
    talk = await Talk.open(port)
    listed = await talk.ask('LIST "" *')
    assert b'* LIST (\\HasNoChildren) "/" INBOX' in listed
    assert b'* LIST (\\HasNoChildren \\Sent) "/" Sent' in listed
    assert b"APPENDUID" in await append(talk, PLAIN)
    assert b"APPENDUID" in await append(talk, LONG, 'INBOX (\\Seen work) "01-Mar-2020 23:30:00 -0200"')
    await talk.ask("SELECT INBOX")
    assert (await talk.ask("FETCH 2 (INTERNALDATE RFC822.SIZE FLAGS BODY.PEEK[])"))[0] == (
        b'* 2 FETCH (INTERNALDATE " 1-Mar-2020 23:30:00 -0200" RFC822.SIZE %d FLAGS (\\Seen work \\Recent) '
        b"BODY[] {%d}\r\n%b)" % (len(LONG), len(LONG), LONG)
    )
    assert b"=?utf-8?b?w5xiZXI=?= everything" in (await talk.ask("FETCH 2 ENVELOPE"))[0]
    assert b'"multipart"' not in (await talk.ask("FETCH 1 BODY"))[0]
    assert (await talk.ask("FETCH 2 BODY.PEEK[1]"))[0] == b"* 2 FETCH (BODY[1] {9}\r\nGr=FC=DFe)"
    searches = {
        "SUBJECT {5+}\r\n\u00dcber": b" 2",
        "BODY {6+}\r\nGrüß": b" 2",
        "ON 1-Mar-2020": b" 2",
        "SENTBEFORE 2-Jan-2021": b" 2",
        "SINCE 2-Mar-2020": b" 1",
        "KEYWORD work": b" 2",
        "UNSEEN": b" 1",
        "OR FROM alice BODY noon": b" 1",
        "HEADER Message-ID one@": b" 1",
        f"LARGER {len(PLAIN)}": b" 2",
    }
    for search, found in searches.items():
        assert (await talk.ask("SEARCH CHARSET UTF-8 " + search))[0] == b"* SEARCH" + found, search
    talk.close()


async def test_changes_and_folders(bench: Bench, port: int) -> None:
    talk, other = await Talk.open(port), await Talk.open(port, select="INBOX")
    for _ in range(4):
        await bench.append()
    await talk.ask("SELECT INBOX")
    assert (await talk.ask("STORE 1 +FLAGS (\\Flagged)"))[0] == b"* 1 FETCH (FLAGS (\\Flagged \\Recent))"
    told = await other.ask("NOOP")
    assert told[:2] == [b"* 4 EXISTS", b"* 4 RECENT"]
    assert (await talk.ask("UID MOVE 2:3 Archive"))[0].startswith(b"* OK [COPYUID ")
    assert (await other.ask("NOOP"))[:2] == [b"* 2 EXPUNGE", b"* 2 EXPUNGE"]
    assert (await talk.ask("COPY 1 Outbox"))[-1].count(b" NO [CANNOT]")
    assert (await append(talk, PLAIN, "Outbox")).count(b" NO [CANNOT]")
    assert (await append(talk, PLAIN, "nosuch")).count(b" NO [TRYCREATE]")
    assert (await append(talk, b"m" * (1024 * 1024 + 1))).count(b" NO [")
    assert (await talk.ask("CREATE a/&AMQ-"))[-1].count(b" OK ")
    assert (await talk.ask("RENAME a b"))[-1].endswith(b" OK Renamed")
    assert b'* LIST (\\HasNoChildren) "/" b/&AMQ-' in await talk.ask('LIST "" *')
    await talk.ask("SELECT b/&AMQ-")
    await other.ask("DELETE b/&AMQ-")
    assert (await talk.ask("NOOP"))[0].startswith(b"* BYE")
    other.close()


async def test_idle_is_told_by_the_store(bench: Bench, port: int) -> None:
    talk = await Talk.open(port, select="INBOX")
    talk.send(b"a IDLE\r\n")
    assert await talk.response() == b"+ idling"
    await bench.append()
    assert await talk.response() == b"* 1 EXISTS"
    talk.close()


async def test_large_messages_through(bench: Bench, port: int) -> None:
    talk = await Talk.open(port)
    large = PLAIN + b"0123456789abcde\n" * 50_000
    assert b"APPENDUID" in await append(talk, large)
    await talk.ask("SELECT INBOX")
    assert (await talk.ask("FETCH 1 BODY.PEEK[]"))[0].endswith(large + b")")
    assert b" BAD " in await append(talk, large, "INBOX (\\Nosuch)")
    tail = b"APPEND INBOX {%d+}\r\n%b trailing" % (len(large), large)
    assert b" BAD " in (await talk.ask(tail))[-1]
    assert b" NO [CANNOT]" in await append(talk, large + b"\0")
    assert b" NO [TRYCREATE]" in await append(talk, large, "nosuch")
    assert b"* 1 EXISTS" in await talk.ask("SELECT INBOX")
    talk.close()


class Belief:
    """What a client believes of its mailbox from what it was told (RFC 3501 5.2, 7.4)."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.flags: list[frozenset[bytes] | None] = []
        self.uids: list[int] = []

    async def open(self) -> None:
        await self.take("SELECT INBOX", self.talk.ask("SELECT INBOX"))

    async def do(self, command: str) -> None:
        await self.take(command, self.talk.ask(command))

    async def take(self, command: str, asked: object) -> None:
        responses = await asked  # type: ignore[misc]
        for response in responses:
            self.hear(response, command)
        assert b" BAD " not in responses[-1], (command, responses)

    def hear(self, response: bytes, command: str) -> None:
        numbered = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)", response)
        if numbered is None:
            return
        number, what = int(numbered[1]), numbered[2]
        if what == b"EXISTS":
            assert number >= len(self.flags), "only EXPUNGE makes a mailbox shorter"
            self.flags += [None] * (number - len(self.flags))
            self.uids += [0] * (number - len(self.uids))
        elif what == b"EXPUNGE":
            assert not command.startswith(("FETCH", "STORE", "SEARCH")), command
            del self.flags[number - 1], self.uids[number - 1]
        else:
            found = re.search(rb"FLAGS \(([^)]*)\)", response)
            if found:
                self.flags[number - 1] = frozenset(found[1].split()) - {b"\\Recent"}
            uid = re.search(rb"UID (\d+)", response)
            if uid:
                assert self.uids[number - 1] in (0, int(uid[1])), "a number means one message"
                self.uids[number - 1] = int(uid[1])


def a_command(chance: random.Random, count: int) -> str:
    number = chance.randint(1, count) if count else 0
    flag = chance.choice(["\\Seen", "\\Flagged", "\\Deleted", "\\Deleted", "work"])
    commands = [
        "NOOP",
        f"APPEND INBOX ({flag}) {{3+}}\r\nx\r\n",
        "APPEND INBOX {3+}\r\nx\r\n",
        "EXPUNGE",
    ]
    if number:
        sign = chance.choice(["+", "-", ""])
        commands += [
            f"STORE {number}:* {sign}FLAGS ({flag})",
            f"UID STORE {number}:{number + 5} {sign}FLAGS ({flag})",
            f"FETCH {number} (FLAGS UID)",
            f"FETCH 1:{number} (UID RFC822.SIZE FLAGS)",
            f"FETCH {number} (UID BODY[])",
            "UID FETCH 1:* (FLAGS)",
            f"SEARCH {number}:* UNSEEN",
            f"COPY {number} INBOX",
            f"MOVE {number} INBOX",
            f"UID EXPUNGE 1:{number * 3}",
        ]
    return chance.choice(commands)


@pytest.mark.parametrize("seed", range(6))
async def test_sessions_at_random_believe_the_truth(bench: Bench, port: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        await bench.append()
    beliefs = [Belief(await Talk.open(port)) for _ in range(3)]
    for belief in beliefs:
        await belief.open()

    async def live(belief: Belief, own: random.Random) -> None:
        for _ in range(60):
            await belief.do(a_command(own, len(belief.flags)))

    await asyncio.gather(*(live(belief, random.Random(chance.random())) for belief in beliefs))
    for belief in beliefs:
        await belief.do("NOOP")
    truth = [
        (record.uid, frozenset(flag_names(record.flags) | set(record.keywords)))
        for record in await bench.records()
    ]
    for belief in beliefs:
        heard = list(belief.flags)
        await belief.do("UID FETCH 1:* (FLAGS)")
        assert [uid for uid, _ in truth] == belief.uids
        for (_, flags), told in zip(truth, heard, strict=True):
            assert told is None or told == {flag.encode() for flag in flags}
        belief.talk.close()


def flag_names(bits: int) -> set[str]:
    names = {1: "\\Seen", 2: "\\Answered", 4: "\\Flagged", 8: "\\Deleted", 16: "\\Draft"}
    return {name for bit, name in names.items() if bits & bit}
