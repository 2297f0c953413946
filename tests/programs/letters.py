"""A letter with what mail programs stumble over: letters beyond ASCII, dots, an attachment of every octet."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from tests.harness.mail import Box, User

TEXT = "Grüße aus Köln: 1 € für ein Stück 🧭\n.a dot at the start\n..two\n\n.\nEnd\n"
ATTACHMENT = bytes(range(256)) * 256
ATTACHMENT_NAME = "every octet.bin"


@dataclass(frozen=True)
class Content:
    """What a person sees of a message."""

    subject: str
    text: str
    attachments: dict[str, bytes]


def letter(sender: str, *to: str, subject: str, utf8: bool = False) -> EmailMessage:
    """With 8-bit text and an attachment of 64 KiB; `utf8`: the header is UTF-8, too (RFC 6532)."""
    message = EmailMessage(policy=email.policy.SMTPUTF8 if utf8 else email.policy.SMTP)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="programs.example")
    message.set_content(TEXT, cte="8bit")
    message.add_attachment(
        ATTACHMENT, maintype="application", subtype="octet-stream", filename=ATTACHMENT_NAME
    )
    return message


def content_of(message: bytes) -> Content:
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    body = parsed.get_body(("plain",))
    assert body is not None
    text = str(body.get_content()).replace("\r\n", "\n")
    attachments = {
        str(part.get_filename()): part.get_payload(decode=True) for part in parsed.iter_attachments()
    }
    return Content(str(parsed["Subject"]), text, attachments)  # type: ignore[arg-type]


def whole(subject: str) -> Content:
    """The letter's content."""
    return Content(subject, TEXT, {ATTACHMENT_NAME: ATTACHMENT})


async def arrived(reader: User, subject: str, folder: str = "INBOX") -> Content:
    """The one message with this subject, once it is in the folder."""

    def look(box: Box) -> list[Content]:
        return [content for each in box.all() if (content := content_of(each)).subject == subject]

    [found] = await reader.wait_until(folder, look, 15)
    return found
