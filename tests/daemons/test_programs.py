"""Mail programs as people have them, unchanged, against the real servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.mail import User, compose
from tests.harness.organisation import Organisation
from tests.harness.patience import patient

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

Program = Callable[[str], Path]


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


async def run(*command: str | Path, stdin: bytes = b"") -> str:
    """Output of a program that has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(stdin), patient(60))
    text = output.decode("utf-8", "replace")
    assert process.returncode == 0, text
    return text


async def test_swaks_by_starttls(
    organisation: Organisation, alice: User, bob: User, program: Program
) -> None:
    swaks = program("swaks")
    endpoint = organisation.endpoint("access", "submission")
    for mechanism in ("PLAIN", "LOGIN"):
        subject = f"swaks {mechanism}"
        output = await run(
            swaks,
            *("--server", endpoint.host, "--port", str(endpoint.port), "--tls"),
            *("--auth", mechanism, "--auth-user", alice.address, "--auth-password", alice.password),
            *("--from", alice.address, "--to", bob.address, "--header", f"Subject: {subject}"),
        )
        assert "250" in output
        await bob.wait_until("INBOX", lambda box, subject=subject: box.with_header("Subject", subject))


async def test_swaks_by_tls_from_the_first_byte(
    organisation: Organisation, alice: User, bob: User, program: Program
) -> None:
    endpoint = organisation.endpoint("access", "submissions")
    await run(
        program("swaks"),
        *("--server", endpoint.host, "--port", str(endpoint.port), "--tls-on-connect"),
        *("--auth", "PLAIN", "--auth-user", alice.address, "--auth-password", alice.password),
        *("--from", alice.address, "--to", bob.address, "--header", "Subject: swaks tls"),
    )
    await bob.wait_until("INBOX", lambda box: box.with_header("Subject", "swaks tls"))


async def test_swaks_from_outside_with_pipelining(
    organisation: Organisation, bob: User, program: Program
) -> None:
    endpoint = organisation.endpoint("hub-a", "smtp")
    await run(
        program("swaks"),
        *("--server", endpoint.host, "--port", str(endpoint.port), "--pipeline"),
        *("--from", "stranger@example.net", "--to", bob.address, "--header", "Subject: swaks pipeline"),
    )
    await bob.wait_until("INBOX", lambda box: box.with_header("Subject", "swaks pipeline"))


async def test_msmtp_verifies_the_certificate_and_sends(
    organisation: Organisation, alice: User, bob: User, program: Program, tmp_path: Path
) -> None:
    endpoint = organisation.endpoint("access", "submission")
    settings = tmp_path / "msmtprc"
    settings.write_text(
        f"account default\nhost {endpoint.host}\nport {endpoint.port}\ntls on\ntls_starttls on\n"
        f"tls_trust_file {organisation.ca_file}\nauth plain\nuser {alice.address}\n"
        f"password {alice.password}\nfrom {alice.address}\n"
    )
    settings.chmod(0o600)
    message = compose(alice.address, bob.address, subject="msmtp")
    await run(program("msmtp"), "-C", settings, bob.address, stdin=message.as_bytes())
    await bob.wait_until("INBOX", lambda box: box.with_header("Subject", "msmtp"))


async def test_mbsync_fetches_the_mailbox_and_takes_changes_back(
    organisation: Organisation, alice: User, bob: User, program: Program, tmp_path: Path
) -> None:
    mbsync = program("mbsync")
    sent = [await alice.send(bob, subject=f"mbsync {number}") for number in range(3)]
    for each in sent:
        await bob.wait_for(each)
    endpoint = organisation.endpoint("access", "imaps")
    maildir = tmp_path / "mail"
    maildir.mkdir()
    settings = tmp_path / "mbsyncrc"
    settings.write_text(
        f"IMAPAccount waypost\nHost localhost\nPort {endpoint.port}\nUser {bob.address}\n"
        f'Pass "{bob.password}"\nSSLType IMAPS\nCertificateFile {organisation.ca_file}\n\n'
        "IMAPStore far\nAccount waypost\n\n"
        f"MaildirStore near\nPath {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync All\nExpunge Both\n"
        "SyncState *\n"
    )
    await run(mbsync, "-c", settings, "-a")
    fetched = [file for folder in ("new", "cur") for file in (maildir / "INBOX" / folder).iterdir()]
    wanted = {each.message_id.encode() for each in sent}
    by_id = {each: file for each in wanted for file in fetched if each in file.read_bytes()}
    assert set(by_id) == wanted
    removed, seen = by_id[sent[0].message_id.encode()], by_id[sent[1].message_id.encode()]
    removed.unlink()
    target = maildir / "INBOX" / "cur" / f"{seen.name.partition(':')[0]}:2,S"
    os.rename(seen, target)
    await run(mbsync, "-c", settings, "-a")
    assert await bob.count(sent[0]) == 0

    def flags(box: object) -> bytes:
        connection = box.connection  # type: ignore[attr-defined]
        _, numbers = connection.search(None, "HEADER", "Message-ID", f'"<{sent[1].message_id}>"')
        return connection.fetch(numbers[0].decode(), "(FLAGS)")[1][0]

    assert rb"\Seen" in await bob.look("INBOX", flags)


async def test_curl_as_the_lines_of_waypost_up_use_it(
    organisation: Organisation, alice: User, bob: User, program: Program
) -> None:
    curl = program("curl")
    submissions, imaps = (organisation.endpoint("access", each) for each in ("submissions", "imaps"))
    message = b"From: alice@example.test\r\nTo: bob@example.test\r\nSubject: curl\r\n\r\nHello from curl\r\n"
    await run(
        *(curl, "-sS", "--cacert", organisation.ca_file, f"smtps://{submissions}"),
        *("--user", f"{alice.address}:{alice.password}", "--mail-from", alice.address),
        *("--mail-rcpt", bob.address, "--upload-file", "-"),
        stdin=message,
    )
    await bob.wait_until("INBOX", lambda box: box.with_header("Subject", "curl"))
    output = await run(
        *(curl, "-sS", "--cacert", organisation.ca_file, f"imaps://{imaps}/INBOX"),
        *("--user", f"{bob.address}:{bob.password}", "-X", "SEARCH SUBJECT curl"),
    )
    assert output.startswith("* SEARCH ")
