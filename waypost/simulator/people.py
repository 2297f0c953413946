"""The people: users who write and read, and strangers who write to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from waypost.simulator.journal import Journal
from waypost.simulator.ledger import ATTEMPT_HEADER, Attempt, Ledger, Seen, attempt_of
from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.wire import ImapWire, SmtpWire, Vanished, WrongAnswer, dotted

TRIES_MAX = 5
AGAIN_SECONDS = (2.0, 40.0)
REFRESH_SECONDS = 240.0
STEPS = ("connected", "mail", "recipients", "content", "end")


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    tls: Any = None


@dataclass(frozen=True)
class Draft:
    """A message somebody means to send."""

    at: float
    sender: str
    recipients: tuple[str, ...]
    body_bytes: int
    bcc: bool = False
    hidden: tuple[str, ...] = ()
    probe: bool = False


class Writer:
    """Hands in messages until it has read a 250, as mail programs do."""

    def __init__(
        self,
        loop: SimulatedLoop,
        journal: Journal,
        ledger: Ledger,
        random: Random,
        nonsense_share: float,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._ledger = ledger
        self._random = random
        self._nonsense_share = nonsense_share

    async def send(
        self, machine: str, draft: Draft, server: Callable[[], Server], logon: tuple[str, str] | None
    ) -> Attempt:
        """All tries of one message; returns the last."""
        random = self._random
        message_id = f"{random.getrandbits(48):012x}@{draft.sender.partition('@')[2]}"
        for number in range(1, TRIES_MAX + 1):
            attempt = self._attempt(draft, message_id, number, logon is not None)
            await self._hand_in(machine, attempt, server(), logon)
            attempt.ended_at = self._loop.time()
            self._journal.note(
                machine,
                f"attempt {attempt.name} to {','.join(attempt.recipients[:4])}: "
                f"{attempt.answer} {attempt.reply}",
            )
            if attempt.answer == "accepted" or (not attempt.accepted and attempt.reply.startswith("5")):
                break
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))
        return attempt

    def _attempt(self, draft: Draft, message_id: str, number: int, inside: bool) -> Attempt:
        name = f"{message_id.partition('@')[0]}.{number}"
        content = _content(draft, message_id, name, self._random)
        attempt = Attempt(
            name,
            message_id,
            draft.sender,
            draft.recipients,
            content,
            inside,
            self._loop.time(),
            probe=draft.probe,
        )
        self._ledger.attempts[name] = attempt
        return attempt

    async def _hand_in(
        self, machine: str, attempt: Attempt, server: Server, logon: tuple[str, str] | None
    ) -> None:
        random = self._random
        vanish = ""
        if not attempt.probe and random.random() < self._nonsense_share:
            vanish = random.choice(STEPS)
        patience = random.choice((8.0, 60.0, 300.0))
        wire: SmtpWire | None = None
        try:
            wire = await SmtpWire.open(server.host, server.port, server.tls, patience)
            await self._talk(wire, attempt, logon, vanish)
        except Vanished:
            self._journal.fault("client vanishes", machine, f"{attempt.name} at {vanish}")
        except WrongAnswer as answer:
            attempt.reply = answer.text
            if attempt.answer == "sending":
                attempt.answer = "refused"
        except (OSError, TimeoutError, ValueError) as error:
            attempt.reply = attempt.reply or f"{type(error).__name__}"
        finally:
            if attempt.answer == "sending":
                attempt.answer = "refused"
            if wire is not None:
                wire.abort() if vanish else wire.close()

    async def _talk(
        self, wire: SmtpWire, attempt: Attempt, logon: tuple[str, str] | None, vanish: str
    ) -> None:
        code, greeting = await wire.reply()
        if code != 220:
            raise WrongAnswer(greeting)
        await wire.command("EHLO client.test", 250)
        if logon is not None:
            await wire.logon(*logon)
        _vanish(vanish, "connected")
        await wire.command(f"MAIL FROM:<{attempt.sender}>", 250)
        _vanish(vanish, "mail")
        accepted = []
        for recipient in attempt.recipients:
            try:
                await wire.command(f"RCPT TO:<{recipient}>", 250)
                accepted.append(recipient)
            except WrongAnswer as answer:
                attempt.refused[recipient] = answer.text
                attempt.reply = answer.text
        attempt.accepted = tuple(accepted)
        _vanish(vanish, "recipients")
        if not accepted:
            return
        await wire.command("DATA", 354)
        data = dotted(attempt.content)
        if vanish == "content":
            wire.write(data[: len(data) // 2])
            raise Vanished
        wire.write(data)
        attempt.answer = "unknown"
        _vanish(vanish, "end")
        code, attempt.reply = await wire.reply()
        if code == 250:
            attempt.answer = "accepted"
        elif 500 <= code < 600:
            attempt.answer = "refused"


def _vanish(wanted: str, step: str) -> None:
    if wanted == step:
        raise Vanished


def _content(draft: Draft, message_id: str, name: str, random: Random) -> bytes:
    shown = [recipient for recipient in draft.recipients if recipient not in draft.hidden]
    lines = [
        f"From: <{draft.sender}>",
        f"To: {', '.join(f'<{recipient}>' for recipient in shown[:20])}",
        *([f"Bcc: {', '.join(f'<{recipient}>' for recipient in draft.hidden)}"] if draft.hidden else []),
        f"Subject: message {name}",
        f"Message-ID: <{message_id}>",
        "Date: Sun, 15 Jun 2025 15:06:40 +0000",
        f"{ATTEMPT_HEADER}: {name}",
        "",
    ]
    body = ["Hello", ".", "..dots", "From the start"]
    size = 0
    while size < draft.body_bytes:
        body.append(random.randbytes(30).hex())
        size += 62
    return "\r\n".join([*lines, *body, ""]).encode()


class Reader:
    """A mail program that shows one user's inbox: waits in IDLE, fetches what it is told of, removes some."""

    def __init__(
        self,
        loop: SimulatedLoop,
        journal: Journal,
        ledger: Ledger,
        random: Random,
        user: str,
        password: str,
        server: Server,
        expunge_share: float,
    ) -> None:
        self.user = user
        self.known: dict[tuple[int, int], str] = {}
        """Attempt by UID validity and UID, of all that it was ever shown."""
        self.idle = False
        self.removes = True
        self._loop = loop
        self._journal = journal
        self._ledger = ledger
        self._random = random
        self._password = password
        self._server = server
        self._expunge_share = expunge_share
        self._wire: ImapWire | None = None

    async def run(self) -> None:
        """Until cancelled; connects again whenever the connection is gone."""
        while True:
            try:
                self._wire = await ImapWire.open(self._server.host, self._server.port, self._server.tls, 60.0)
                await self._session(self._wire)
            except (OSError, TimeoutError, WrongAnswer, ValueError) as error:
                self._journal.note(self.user, f"reading ends: {type(error).__name__} {error}"[:150])
            finally:
                self.idle = False
                if self._wire is not None:
                    self._wire.abort()
                    self._wire = None
            await asyncio.sleep(self._random.uniform(0.5, 6.0))

    def reconnect(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    async def _session(self, wire: ImapWire) -> None:
        await wire.response()
        await wire.command(f'LOGIN "{self.user}" "{self._password}"')
        answers = await wire.command("SELECT INBOX")
        text = b"".join(answer.line for answer in answers)
        validity = int(_number(rb"UIDVALIDITY (\d+)", text))
        exists = int(_number(rb"\* (\d+) EXISTS", text))
        last = 0
        if exists:
            last = await self._fetch(wire, validity, 1, "found")
        while True:
            told = await self._idle(wire)
            last = await self._fetch(wire, validity, last + 1, "told" if told else "found")

    async def _idle(self, wire: ImapWire) -> bool:
        """Returns True when told of something, False to look by itself."""
        if wire.told:
            return True
        tag = wire.send("IDLE")
        while not (await wire.response()).line.startswith(b"+"):
            pass
        self.idle = True
        try:
            while not wire.told:
                response = await wire.response(REFRESH_SECONDS)
                if response.line.startswith(b"* BYE"):
                    raise ConnectionResetError("the server says good-bye")
        except TimeoutError:
            pass
        finally:
            self.idle = False
        told = wire.told
        wire.write(b"DONE\r\n")
        await wire.until(tag)
        return told

    async def _fetch(self, wire: ImapWire, validity: int, first: int, how: Any) -> int:
        """Everything from a UID on; returns the last UID known."""
        last = first - 1
        removable = []
        wire.told = False
        for answer in await wire.command(f"UID FETCH {first}:* (UID BODY.PEEK[])"):
            if b" FETCH " not in answer.line or not answer.literals:
                continue
            uid = int(_number(rb"UID (\d+)", answer.line))
            if uid < first:  # RFC 3501 6.4.8: n:* always has the last message
                continue
            content = answer.literals[0]
            attempt = attempt_of(content)
            seen = Seen(self.user, validity, uid, attempt, content, self._loop.time(), how)
            before = self.known.get((validity, uid))
            if before is not None and before != attempt:
                self._ledger.violations.append(
                    f"{self.user}: UID {uid} was {before or 'a report'}, now is {attempt}"
                )
            self.known[validity, uid] = attempt
            self._ledger.seen.append(seen)
            self._journal.note(self.user, f"sees UID {uid} {attempt or 'report'} ({how})")
            last = max(last, uid)
            if attempt and self.removes and self._random.random() < self._expunge_share:
                removable.append(seen)
        for seen in removable:
            await wire.command(f"UID STORE {seen.uid} +FLAGS.SILENT (\\Deleted)")
            self._ledger.expunged.append(seen)
            await wire.command(f"UID EXPUNGE {seen.uid}")
            self._journal.note(self.user, f"removed UID {seen.uid}")
        return last


def _number(pattern: bytes, text: bytes) -> bytes:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no {pattern!r} in {text[:100]!r}")
    return found[1]
