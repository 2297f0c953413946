"""Half-right input at random on a live session: an answer for each command, no error nobody foresaw."""

from __future__ import annotations

import logging
import random

import pytest

from tests.unit.clientaccess.imap.conftest import SIMPLE
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk

WORDS = (
    b'1 2 1:* * $ 0 99 1,3 INBOX Sent nosuch "" "a b" "&" % (FLAGS) (UID) BODY[] BODY.PEEK[1] '
    b"BODY[1.HEADER]<0.9> BODY[HEADER.FIELDS (To)] ALL FULL FLAGS +FLAGS -FLAGS.SILENT (\\Seen) "
    b"(work) () (\\Deleted) ENVELOPE SEEN NEW OR NOT SUBJECT RETURN (MIN) (SAVE) (COUNT) "
    b"(UNCHANGEDSINCE 3) (CHANGEDSINCE 1) (MESSAGES RECENT) (STATUS (SIZE)) CONDSTORE UTF8=ACCEPT "
    b"(CONDSTORE) {3+}\r\nabc {0+}\r\n BODYSTRUCTURE RFC822.TEXT CHARSET UTF-8 UID MODSEQ"
).split(b" ")
NOISE = b'\0\x80"({\\*]'
VERBS = (
    b"SELECT INBOX,EXAMINE INBOX,SELECT,FETCH 1,FETCH,UID FETCH 1:*,STORE 1,UID STORE 1:*,SEARCH,"
    b"UID SEARCH,COPY 1,MOVE 1,UID COPY 1:*,EXPUNGE,UID EXPUNGE 1:*,CLOSE,UNSELECT,NOOP,CHECK,"
    b"CREATE,DELETE,RENAME,SUBSCRIBE,LSUB,LIST,STATUS INBOX,STATUS,APPEND INBOX,ENABLE,ID NIL,"
    b"NAMESPACE,CAPABILITY,IDLE\r\nDONE\r\nx NOOP"
).split(b",")


def a_command(chance: random.Random) -> bytes:
    words = [chance.choice(WORDS) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))]
    command = b" ".join([chance.choice(VERBS), *words])
    if chance.random() < 0.1:
        cut = chance.randrange(len(command))
        command = command[:cut] + bytes([chance.choice(NOISE)]) + command[cut:]
    return command


@pytest.mark.parametrize("seed", range(12))
async def test_half_right_commands(
    seed: int, store: MemoryStore, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    chance = random.Random(seed)
    for _ in range(3):
        store.deliver(SIMPLE)
    talk = await Talk.open(port, select="INBOX")
    for _ in range(60):
        command = a_command(chance)
        await talk.ask("NOOP")  # a good command now and then
        responses = await talk.ask(command)
        assert responses[-1], command
        assert b"SERVERBUG" not in responses[-1], command
    assert not caplog.records
    assert (await talk.ask("LOGOUT"))[-1].endswith(b"OK Logged out")
