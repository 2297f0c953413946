"""What the capabilities promise, asked over TLS of the real processes: each by its RFC."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.imap_client import ImapClient
from tests.harness.mail import User
from tests.harness.organisation import Organisation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

NESTED = (
    b"From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <j@example.org>\r\nTo: dave@example.test\r\n"
    b"Subject: =?utf-8?b?w5xiZXIgYWxsZXM=?=\r\nDate: Sun, 01 Mar 2020 23:30:00 -0800\r\n"
    b"Message-ID: <nested@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=FC=DFe aus K=F6ln\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\n\r\n"
    b"From: a@example.net\r\nSubject: inner\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode("Brücke".encode()) + b"\r\n--x--\r\n"
)


@pytest.fixture
def dave(organisation: Organisation) -> User:
    return organisation.user("dave@example.test")


@pytest_asyncio.fixture(loop_scope="module")
async def client(organisation: Organisation, dave: User) -> AsyncIterator[ImapClient]:
    """With INBOX selected, which has two messages."""
    trust = ssl.create_default_context(cafile=str(organisation.ca_file))
    made = await ImapClient.open("t", organisation.endpoint("access", "imaps"), trust, dave)
    await made.select("INBOX")
    await made.ok(b"UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
    await made.ok(b"EXPUNGE")
    await made.ok(b'APPEND INBOX ($Work) " 1-Mar-2020 23:30:00 -0800"', NESTED)
    await made.ok(b"APPEND INBOX (\\Seen)", b"From: b@example.net\r\nSubject: plain\r\n\r\nplain text\r\n")
    yield made
    await made.close()


async def untagged(client: ImapClient, text: str) -> list[str]:
    return [line.decode() for line in (await client.ok(text.encode())).untagged]


async def test_esearch_and_searchres(client: ImapClient) -> None:
    """RFC 4731, RFC 5182."""
    assert await untagged(client, "SEARCH RETURN (MIN MAX COUNT ALL) ALL") == [
        f'* ESEARCH (TAG "t{client.count}") MIN 1 MAX 2 ALL 1:2 COUNT 2'
    ]
    await client.ok(b"SEARCH RETURN (SAVE) SEEN")
    assert [line.split(" (")[0] for line in await untagged(client, "FETCH $ (FLAGS)")] == ["* 2 FETCH"]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("SUBJECT alles", "1"),
        ('FROM "müller"', "1"),
        ('BODY "grüße aus köln"', "1"),
        ('BODY "brücke"', "1"),
        ("SUBJECT inner", ""),
        ('TEXT "inner"', "1"),
        ("KEYWORD $Work", "1"),
        ("ON 1-Mar-2020", "1"),
        ("SENTON 1-Mar-2020", "1"),
        ("SENTBEFORE 1-Mar-2020", ""),
        ("SINCE 2-Mar-2020", "2"),
        ("YOUNGER 3600", "2"),
        ("OLDER 3600", "1"),
        ("LARGER 300 NOT SEEN", "1"),
        ("OR SEEN SUBJECT alles", "1 2"),
        ("HEADER Message-ID nested@example.org", "1"),
        ("SAVEDSINCE 1-Jan-2024", "1 2"),
        ("MODSEQ 1", "1 2"),
    ],
)
async def test_search_sees_words_dates_and_every_part(client: ImapClient, key: str, found: str) -> None:
    """RFC 3501 6.4.4, RFC 5032, RFC 7162 3.1.5, RFC 8514: in the charset, in the zone of the date."""
    literal = re.search('"(.*[^\\x00-\\x7f].*)"', key)
    text = f"SEARCH CHARSET UTF-8 {key}"
    if literal is not None:
        answer = await client.ok(text[: text.index('"')].rstrip().encode(), literal[1].encode())
    else:
        answer = await client.ok(text.encode())
    [line] = [each.decode() for each in answer.untagged if each.startswith(b"* SEARCH")]
    assert re.sub(r" \(MODSEQ \d+\)", "", line).removeprefix("* SEARCH").strip() == found


async def test_an_unknown_charset_is_named(client: ImapClient) -> None:
    answer = await client.ask(b"SEARCH CHARSET X-KLINGON TEXT a")
    assert (answer.status, answer.code.split(" ")[0]) == ("NO", "BADCHARSET")


async def test_list_extended_with_status_children_and_special_use(client: ImapClient) -> None:
    """RFC 5258, RFC 5819, RFC 6154, RFC 8438."""
    await client.ok(b"CREATE Parent/Child/Grandchild")
    listed = await untagged(client, 'LIST "" (INBOX Parent%) RETURN (CHILDREN STATUS (MESSAGES SIZE UNSEEN))')
    assert '* LIST (\\HasNoChildren) "/" INBOX' in listed
    assert '* LIST (\\HasChildren) "/" Parent' in listed
    size = len(NESTED) + len(b"From: b@example.net\r\nSubject: plain\r\n\r\nplain text\r\n")
    assert f"* STATUS INBOX (MESSAGES 2 SIZE {size} UNSEEN 1)" in listed
    special = await untagged(client, 'LIST (SPECIAL-USE) "" *')
    assert {line.rpartition(" ")[2] for line in special} == {"Archive", "Drafts", "Junk", "Sent", "Trash"}
    subscribed = await untagged(client, 'LIST (SUBSCRIBED) "" * RETURN (SUBSCRIBED)')
    assert all("\\Subscribed" in line for line in subscribed)
    await client.ok(b"RENAME Parent Eltern")
    names = {line.rpartition(" ")[2] for line in await untagged(client, 'LIST "" Eltern*')}
    assert names == {"Eltern", "Eltern/Child", "Eltern/Child/Grandchild"}
    for name in (b"Eltern/Child/Grandchild", b"Eltern/Child", b"Eltern"):
        await client.ok(b"DELETE " + name)


async def test_names_beyond_ascii_in_both_forms(client: ImapClient) -> None:
    """RFC 3501 5.1.3, RFC 6855 3."""
    await client.ok(b"CREATE &ZeVnLIqe-")
    assert '* LIST (\\HasNoChildren) "/" &ZeVnLIqe-' in await untagged(client, 'LIST "" *')
    await client.ok(b"UNSELECT")
    client.left()
    assert await untagged(client, "ENABLE UTF8=ACCEPT") == ["* ENABLED UTF8=ACCEPT"]
    assert '* LIST (\\HasNoChildren) "/" "日本語"' in await untagged(client, 'LIST "" *')
    await client.ok('DELETE "日本語"'.encode())


async def test_objectid_savedate_and_internaldate(client: ImapClient) -> None:
    """RFC 8474, RFC 8514: a copy is the same message in another place."""
    [first] = await untagged(client, "FETCH 1 (EMAILID THREADID SAVEDATE INTERNALDATE)")
    assert 'INTERNALDATE " 1-Mar-2020 23:30:00 -0800"' in first
    assert re.search(r'SAVEDATE "[ \d]\d-\w{3}-\d{4} ', first)
    email_id = re.search(r"EMAILID \((\S+)\)", first)
    assert email_id
    await client.ok(b"COPY 1 Archive")
    mailbox = re.compile(rb"\[MAILBOXID \((\S+)\)\]")
    status = await untagged(client, "STATUS Archive (MAILBOXID)")
    answer = await client.ok(b"EXAMINE Archive")
    [found] = [match[1].decode() for line in answer.untagged if (match := mailbox.search(line))]
    assert f"MAILBOXID ({found})" in status[0]
    assert any(f"EMAILID ({email_id[1]})" in line for line in await untagged(client, "FETCH * (EMAILID)"))


async def test_binary_exact_partial_fetch(client: ImapClient) -> None:
    """RFC 3501 6.4.5."""
    await client.ok(
        b"FETCH 1 (BODY.PEEK[] BODY.PEEK[]<10.20> BODY.PEEK[2.1] BODY.PEEK[2.HEADER.FIELDS (SUBJECT)])"
    )
    [(_, found)] = client.fetched
    assert found[b"BODY[]"] == NESTED
    assert found[b"BODY[]<10>"] == NESTED[10:30]
    assert base64.b64decode(found[b"BODY[2.1]"]).decode() == "Brücke"
    assert found[b"BODY[2.HEADER.FIELDS (SUBJECT)]"] == b"Subject: inner\r\n\r\n"


async def test_an_append_above_the_limit_is_refused_before_it_is_sent(client: ImapClient) -> None:
    """RFC 7889: the limit is announced."""
    [capability] = await untagged(client, "CAPABILITY")
    limit = int(re.search(r"APPENDLIMIT=(\d+)", capability)[1])  # type: ignore[index]
    answer = await client.ask(b"APPEND INBOX {%d}" % (limit + 1))
    assert (answer.status, answer.code) == ("NO", "TOOBIG")


async def test_logon_with_an_initial_response(organisation: Organisation, dave: User) -> None:
    """RFC 4959."""
    trust = ssl.create_default_context(cafile=str(organisation.ca_file))
    endpoint = organisation.endpoint("access", "imaps")
    first = await ImapClient.open("s", endpoint, trust, dave, log_on=False)
    response = base64.b64encode(f"\0{dave.address}\0{dave.password}".encode())
    assert "CAPABILITY" in (await first.ok(b"AUTHENTICATE PLAIN " + response)).code
    await first.close()
