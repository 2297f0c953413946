"""Libraries of Node.js: nodemailer sends, imapflow reads."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.harness.patience import patient
from tests.programs.conftest import Pair, Place
from tests.programs.letters import ATTACHMENT, ATTACHMENT_NAME, TEXT, arrived, content_of, letter, whole
from tests.programs.programs import FOLDER, run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest.mark.program("nodemailer")
async def test_nodemailer(place: Place, pair: Pair, node: Path) -> None:
    """composes and sends a text beyond ASCII with an attachment: by STARTTLS with DSN parameters, and
    several by TLS over one kept connection"""
    subjects = [f"Über nodemailer {number}" for number in range(4)]
    asked = {
        "submission": place.submission.port,
        "submissions": place.submissions.port,
        "ca_file": str(place.ca_file),
        "user": pair.sender.address,
        "password": pair.sender.password,
        "to": pair.reader.address,
        "subjects": subjects,
        "text": TEXT,
        "attachment_name": ATTACHMENT_NAME,
        "attachment": b64encode(ATTACHMENT).decode(),
    }
    output = await run(node, FOLDER / "nodemailer.mjs", stdin=json.dumps(asked).encode())
    answers = json.loads(output)
    assert [answer["accepted"] for answer in answers] == [[pair.reader.address]] * 4
    assert all(answer["response"].startswith("250 2.") for answer in answers)
    for subject in subjects:
        assert await arrived(pair.reader, subject) == whole(subject)


@pytest.mark.program("imapflow")
async def test_imapflow(place: Place, pair: Pair, node: Path) -> None:
    """waits in IDLE; reads envelope, structure, source and attachment; flags, searches, copies, moves,
    appends, removes; folders beyond ASCII; STARTTLS"""
    asked = {
        "imap": place.imap.port,
        "imaps": place.imaps.port,
        "ca_file": str(place.ca_file),
        "user": pair.reader.address,
        "password": pair.reader.password,
        "date": "2024-02-29T12:00:00.000Z",
    }
    process = await asyncio.create_subprocess_exec(
        *(node, FOLDER / "imapflow.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        seen = await asyncio.wait_for(_talk(process, asked, pair), patient(60))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert content_of(b64decode(seen.pop("source"))) == whole("Grüße per imapflow")
    attachment = seen.pop("attachment")
    assert (attachment["name"], b64decode(attachment["content"])) == (ATTACHMENT_NAME, ATTACHMENT)
    seen["flags"] = [flag for flag in seen["flags"] if flag != "\\Recent"]
    status = seen.pop("status")
    assert (status["messages"], status["uidNext"], status["unseen"]) == (1, 2, 1)
    assert seen == {
        "starttls": True,
        "special": ["\\Archive", "\\Drafts", "\\Inbox", "\\Junk", "\\Sent", "\\Trash"],
        "exists": 1,
        "subject": "Grüße per imapflow",
        "parts": ["text/plain", "application/octet-stream"],
        "flags": ["$Gelesen", "\\Seen"],
        "found": [1],
        "copied": [[1, 1]],
        "created": "Entwürfe/日本語",
        "appended": {"destination": "Entwürfe/日本語", "uid": 1},
        "moved": [[1, 2]],
        "dates": [asked["date"], seen["dates"][1]],
        "left": [2],
        "folders": ["Entwürfe"],
    }


async def _talk(process: asyncio.subprocess.Process, asked: dict[str, Any], pair: Pair) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asked).encode())
    process.stdin.close()
    assert await process.stdout.readline() == b"waiting\n"
    message = letter(pair.sender.address, pair.reader.address, subject="Grüße per imapflow")
    await pair.sender.send(pair.reader, message=message)
    answer = await process.stdout.readline()
    assert await process.wait() == 0
    result: dict[str, Any] = json.loads(answer)
    return result
