"""The list of mailboxes (RFC 3501 6.3; RFC 5258, 5819, 6154)."""

from __future__ import annotations

from tests.unit.clientaccess.imap.conftest import SIMPLE
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk


async def test_list(store: MemoryStore, talk: Talk) -> None:
    store._make("Work/Ä")
    store._make("Work")
    assert await talk.ask('LIST "" *') == [
        b'* LIST (\\HasNoChildren) "/" INBOX',
        b'* LIST (\\HasNoChildren) "/" Outbox',
        b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
        b'* LIST (\\HasNoChildren \\Trash) "/" Trash',
        b'* LIST (\\HasChildren) "/" Work',
        b'* LIST (\\HasNoChildren) "/" Work/&AMQ-',
        b"t2 OK Listed",
    ]
    assert len(await talk.ask('LIST "" %')) == 6
    assert await talk.ask("LIST Work/ %") == [b'* LIST (\\HasNoChildren) "/" Work/&AMQ-', b"t4 OK Listed"]
    assert await talk.ask('LIST "" inbox') == [b'* LIST (\\HasNoChildren) "/" INBOX', b"t5 OK Listed"]
    assert await talk.ask('LIST "" "&"') == [b"t6 OK Listed"]


async def test_list_of_nothing_tells_the_delimiter(talk: Talk) -> None:
    assert (await talk.ask('LIST "" ""'))[0] == b'* LIST (\\Noselect) "/" ""'


async def test_list_special_use_and_status(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE, "Sent")
    assert await talk.ask('LIST (SPECIAL-USE) "" * RETURN (STATUS (MESSAGES RECENT))') == [
        b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
        b"* STATUS Sent (MESSAGES 1 RECENT 1)",
        b'* LIST (\\HasNoChildren \\Trash) "/" Trash',
        b"* STATUS Trash (MESSAGES 0 RECENT 0)",
        b"t2 OK Listed",
    ]


async def test_list_of_several_patterns(talk: Talk) -> None:
    assert len(await talk.ask('LIST "" (INBOX "Se%")')) == 3


async def test_subscriptions(store: MemoryStore, talk: Talk) -> None:
    for name in ("Work/Deep", "Gone/Deep", "INBOX"):
        await talk.ask(f"SUBSCRIBE {name}")
    store._make("Work")
    store._make("Work/Deep")
    assert await talk.ask('LSUB "" *') == [
        b'* LSUB () "/" INBOX',
        b'* LSUB (\\Noselect) "/" Gone/Deep',
        b'* LSUB () "/" Work/Deep',
        b"t5 OK Listed",
    ]
    assert await talk.ask('LSUB "" %') == [
        b'* LSUB () "/" INBOX',
        b'* LSUB (\\Noselect) "/" Gone',
        b'* LSUB (\\Noselect) "/" Work',
        b"t6 OK Listed",
    ]
    assert await talk.ask('LIST (SUBSCRIBED) "" *') == [
        b'* LIST (\\Subscribed \\HasNoChildren) "/" INBOX',
        b'* LIST (\\Subscribed \\NonExistent \\HasNoChildren) "/" Gone/Deep',
        b'* LIST (\\Subscribed \\HasNoChildren) "/" Work/Deep',
        b"t7 OK Listed",
    ]
    assert await talk.ask('LIST (SUBSCRIBED RECURSIVEMATCH) "" Work') == [
        b'* LIST (\\HasChildren) "/" Work ("CHILDINFO" ("SUBSCRIBED"))',
        b"t8 OK Listed",
    ]
    listed = await talk.ask('LIST "" % RETURN (SUBSCRIBED)')
    assert b'* LIST (\\Subscribed \\HasNoChildren) "/" INBOX' in listed
    await talk.ask("UNSUBSCRIBE INBOX")
    assert len(await talk.ask('LSUB "" *')) == 3


async def test_status(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE)
    box = store.boxes["INBOX"]
    items = "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT MAILBOXID"
    assert (await talk.ask(f"STATUS inbox ({items})"))[0] == (
        b"* STATUS INBOX (MESSAGES 1 RECENT 1 UIDNEXT 2 UIDVALIDITY %d UNSEEN 1 DELETED 0 SIZE %d "
        b"HIGHESTMODSEQ 2 APPENDLIMIT 37748736 MAILBOXID (%b))"
        % (box.uid_validity, len(SIMPLE), box.folder_id.encode())
    )
    assert (await talk.ask("STATUS nosuch (MESSAGES)"))[-1].startswith(b"t3 NO [NONEXISTENT]")


async def test_create_delete_rename(store: MemoryStore, talk: Talk) -> None:
    assert (await talk.ask("CREATE a/b/"))[-1].startswith(b"t2 OK [MAILBOXID (id-")
    assert {"a", "a/b"} <= set(store.boxes)
    assert (await talk.ask("CREATE a"))[-1].startswith(b"t3 NO [ALREADYEXISTS]")
    assert (await talk.ask("RENAME a c"))[-1] == b"t4 OK Renamed"
    assert "c/b" in store.boxes
    assert (await talk.ask("DELETE c"))[-1] == b"t5 OK Deleted"
    assert b'* LIST (\\Noselect \\HasChildren) "/" c' in await talk.ask('LIST "" c')
    assert (await talk.ask("SELECT c"))[-1].startswith(b"t7 NO [NONEXISTENT]")
    assert (await talk.ask("DELETE nosuch"))[-1].startswith(b"t8 NO [NONEXISTENT]")
    assert (await talk.ask("DELETE inbox"))[-1].startswith(b"t9 NO [CANNOT]")
    for count, wrong in enumerate((b'"a//b"', b'"&"', b'"a*"', b'""', b"{2+}\r\na\x01"), 10):
        assert (await talk.ask(b"CREATE " + wrong))[-1].startswith(b"t%d NO [CANNOT]" % count)


async def test_create_for_a_special_use(store: MemoryStore, talk: Talk) -> None:
    assert (await talk.ask("CREATE d (USE (\\Drafts))"))[-1].startswith(b"t2 OK")
    assert store.boxes["d"].role == "drafts"
    for count, use in enumerate(("\\Drafts", "\\Flagged", "\\Junk \\Archive"), 3):
        assert (await talk.ask(f"CREATE e (USE ({use}))"))[-1].startswith(b"t%d NO [USEATTR]" % count)


async def test_names_are_utf8_once_enabled(store: MemoryStore, talk: Talk) -> None:
    store._make("Ä b")
    assert b'* LIST (\\HasNoChildren) "/" "&AMQ- b"' in await talk.ask('LIST "" *')
    await talk.ask("ENABLE UTF8=ACCEPT")
    assert '* LIST (\\HasNoChildren) "/" "Ä b"'.encode() in await talk.ask('LIST "" *')
    assert (await talk.ask('SELECT "Ä b"'))[-1].startswith(b"t5 OK")


async def test_deleting_the_selected_mailbox_closes_it(store: MemoryStore, talk: Talk) -> None:
    store._make("a")
    await talk.ask("SELECT a")
    assert (await talk.ask("DELETE a"))[0].startswith(b"* OK [CLOSED]")
    assert (await talk.ask("FETCH 1 FLAGS"))[-1].startswith(b"t4 BAD")
