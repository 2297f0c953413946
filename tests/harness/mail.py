"""A user's mail program: submits with smtplib, reads with imaplib, waits by IDLE. Blocking work goes to
threads."""

from __future__ import annotations

import asyncio
import imaplib
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import make_msgid
from typing import TypeVar

from config.model import Endpoint
from tests.harness.patience import POLL_SECONDS, patient

T = TypeVar("T")

FETCHED_AT_ONCE = 500
"""Messages named in one command, whose line is bounded."""


@dataclass(frozen=True)
class Sent:
    message_id: str
    """Without angle brackets."""
    refused: dict[str, tuple[int, bytes]]
    """Recipients that were refused at RCPT, with the reply."""


def compose(sender: str, *to: str, subject: str = "Test", body: str = "Hello\n") -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    message["Message-ID"] = make_msgid(domain="test.example")
    message.set_content(body)
    return message


def on_the_wire(message: EmailMessage) -> bytes:
    """Its octets with CRLF; otherwise as the policy of the message has it."""
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


class User:
    """A user with a password, and the ports of the Client Access server they use."""

    def __init__(
        self, address: str, password: str, submission: Endpoint, imaps: Endpoint, trust: ssl.SSLContext
    ) -> None:
        self.address = address
        self.password = password
        self._submission = submission
        self._imaps = imaps
        self._trust = trust

    def __repr__(self) -> str:
        return self.address

    async def send(
        self,
        *to: User | str,
        message: EmailMessage | None = None,
        subject: str = "Test",
        sender: str | None = None,
        mail_options: tuple[str, ...] = (),
        rcpt_options: tuple[str, ...] = (),
    ) -> Sent:
        """Submits with STARTTLS and authentication; returns after the 250. Raises smtplib.SMTPException."""
        addresses = [str(each) for each in to]
        message = message or compose(self.address, *addresses, subject=subject)
        refused = await asyncio.to_thread(
            self._send, message, sender or self.address, addresses, mail_options, rcpt_options
        )
        return Sent(str(message["Message-ID"]).strip("<>"), refused)

    async def wait_for(self, sent: Sent, folder: str = "INBOX", seconds: float = 10) -> bytes:
        """The message with the Message-ID of `sent` once it is in the folder. Raises AssertionError."""
        found = await self.wait_until(folder, lambda box: box.find(sent.message_id), seconds)
        return found[0]

    async def wait_until(self, folder: str, look: Callable[[Box], list[T]], seconds: float = 10) -> list[T]:
        """What `look` finds in the folder, once it finds something; woken by IDLE."""
        return await asyncio.to_thread(self._wait_until, folder, look, time.monotonic() + patient(seconds))

    async def messages(self, folder: str = "INBOX") -> list[bytes]:
        """All messages in a folder."""
        return await self.look(folder, lambda box: box.all())

    async def count(self, sent: Sent, folder: str = "INBOX") -> int:
        return len(await self.look(folder, lambda box: box.find(sent.message_id)))

    async def look(self, folder: str, look: Callable[[Box], T]) -> T:
        def work() -> T:
            with self.imap() as connection:
                return look(Box(connection, folder))

        return await asyncio.to_thread(work)

    @contextmanager
    def smtp(self, authenticated: bool = True) -> Iterator[smtplib.SMTP]:
        """Blocking: use it in a thread when the servers run in this process."""
        with smtplib.SMTP(self._submission.host, self._submission.port, timeout=patient(30)) as connection:
            connection.starttls(context=self._trust)
            connection.ehlo()
            if authenticated:
                connection.login(self.address, self.password)
            yield connection

    @contextmanager
    def imap(self) -> Iterator[imaplib.IMAP4_SSL]:
        """Blocking; logged on."""
        connection = imaplib.IMAP4_SSL(
            self._imaps.host, self._imaps.port, ssl_context=self._trust, timeout=patient(30)
        )
        try:
            response = f"\0{self.address}\0{self.password}".encode()  # LOGIN is ASCII in imaplib
            connection.authenticate("PLAIN", lambda _: response)
            yield connection
        finally:
            connection.shutdown()

    def _send(
        self,
        message: EmailMessage,
        sender: str,
        to: list[str],
        mail_options: tuple[str, ...],
        rcpt_options: tuple[str, ...],
    ) -> dict[str, tuple[int, bytes]]:
        with self.smtp() as connection:
            return connection.sendmail(sender, to, on_the_wire(message), mail_options, rcpt_options)

    def _wait_until(self, folder: str, look: Callable[[Box], list[T]], deadline: float) -> list[T]:
        last: object = "nothing there"
        while time.monotonic() < deadline:
            try:
                with self.imap() as connection:
                    box = Box(connection, folder)
                    while time.monotonic() < deadline:
                        if found := look(box):
                            return found
                        box.idle(deadline - time.monotonic())
            except (OSError, imaplib.IMAP4.error) as error:  # a server is away; the deadline bounds it
                last = error
                time.sleep(POLL_SECONDS)
        raise AssertionError(f"{self.address} waited in vain for a message in {folder}: {last}")


class Box:
    """A selected folder."""

    def __init__(self, connection: imaplib.IMAP4, folder: str) -> None:
        self.connection = connection
        status, answer = connection.select(folder)
        if status != "OK":
            raise imaplib.IMAP4.error(f"SELECT {folder}: {answer!r}")
        connection.response("EXISTS")

    def find(self, message_id: str) -> list[bytes]:
        """Messages with this Message-ID."""
        return self.fetch(self._search("HEADER", "Message-ID", f'"<{message_id}>"'))

    def with_header(self, name: str, text: str) -> list[bytes]:
        return self.fetch(self._search("HEADER", name, f'"{text}"'))

    def all(self) -> list[bytes]:
        return self.fetch(self._search("ALL"))

    def fetch(self, numbers: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for start in range(0, len(numbers), FETCHED_AT_ONCE):
            page = b",".join(numbers[start : start + FETCHED_AT_ONCE]).decode()
            _, answer = self.connection.fetch(page, "(BODY.PEEK[])")
            found += [part[1] for part in answer if isinstance(part, tuple)]
        return found

    def idle(self, seconds: float) -> None:
        """Returns when the server tells of a change, or after so long (RFC 2177; imaplib has it from 3.14
        on)."""
        connection = self.connection
        if connection.response("EXISTS")[1] != [None]:  # told with the answer to an earlier command
            return
        connection.send(b"IDLE1 IDLE\r\n")
        told = False
        while not self._line().startswith(b"+"):
            told = True
        connection.sock.settimeout(max(seconds, 0.01))
        try:
            while not told:
                told = bool(self._line())
        except TimeoutError:
            return
        connection.sock.settimeout(patient(30))
        connection.send(b"DONE\r\n")
        while not self._line().startswith(b"IDLE1 "):
            pass

    def _line(self) -> bytes:
        line: bytes = self.connection.readline()
        if not line:
            raise imaplib.IMAP4.abort("the connection was closed in IDLE")
        return line

    def _search(self, *criteria: str) -> list[bytes]:
        status, answer = self.connection.search(None, *criteria)
        if status != "OK":
            raise imaplib.IMAP4.error(f"SEARCH {criteria}: {answer!r}")
        return re.findall(rb"\d+", answer[0] or b"")
