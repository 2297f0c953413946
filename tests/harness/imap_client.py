"""A small IMAP client of its own, which keeps a Belief: to hold what servers tell against what is true."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.model import Endpoint
from tests.harness.imap_model import Belief, Broken
from tests.harness.mail import User
from tests.harness.patience import patient

_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_TOKEN = re.compile(rb'[()]|"(?:[^"\\]|\\.)*"|[^\s()"\[]+(?:\[[^\]]*\](?:<\d+>)?)?')
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|RECENT|EXPUNGE|FETCH)\b ?(.*)", re.DOTALL)
_CODE = re.compile(rb"\[([A-Z-]+)(?: ([^\]]*))?\]")


class Gone(Exception):
    """The server said BYE, or closed the connection."""


@dataclass(frozen=True)
class Answer:
    status: str
    code: str
    """Response code with its arguments, empty if none."""
    text: bytes
    untagged: tuple[bytes, ...]


@dataclass(frozen=True)
class Command:
    text: bytes
    literal: bytes | None = None

    @property
    def hides_expunge(self) -> bool:
        """RFC 3501 7.4.1: while it is answered, message numbers stay."""
        return self.text.split(b" ", 1)[0] in (b"FETCH", b"STORE", b"SEARCH")


def parsed(line: bytes, literals: Sequence[bytes]) -> list[Any]:
    """Lists, strings and atoms of a response; literals in their places."""
    rest, stack = iter(literals), [[]]  # type: ignore[var-annotated]
    for token in _TOKEN.findall(line):
        if token == b"(":
            stack.append([])
        elif token == b")":
            done = stack.pop()
            stack[-1].append(done)
        elif token == b"{}":
            stack[-1].append(next(rest))
        elif token.startswith(b'"'):
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", token[1:-1]))
        else:
            stack[-1].append(token)
    return stack[0]


@dataclass
class ImapClient:
    name: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    belief: Belief | None = None
    folder: str = ""
    fetched: list[tuple[int, dict[bytes, Any]]] = field(default_factory=list)
    """FETCH responses of the last command: message number, items."""
    transcript: deque[str] = field(default_factory=lambda: deque(maxlen=60))
    _running: list[Command] = field(default_factory=list)
    count: int = 0
    """Commands so far: the last one's tag is the name and this."""

    @classmethod
    async def open(
        cls, name: str, endpoint: Endpoint, trust: ssl.SSLContext, user: User, *, log_on: bool = True
    ) -> ImapClient:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=trust, limit=2**20)
        client = cls(name, reader, writer)
        await client._response()
        if log_on:
            await client.ok(b'LOGIN "%b" "%b"' % (user.address.encode(), user.password.encode()))
        return client

    async def close(self) -> None:
        self.writer.close()

    # --- commands ---

    async def ok(self, text: bytes, literal: bytes | None = None) -> Answer:
        answer = await self.ask(text, literal)
        if answer.status != "OK":
            raise Broken(f"{self.name}: {text[:80]!r} was refused: {answer.text!r}")
        return answer

    async def ask(self, text: bytes, literal: bytes | None = None) -> Answer:
        [answer] = await self.pipeline(Command(text, literal))
        return answer

    async def pipeline(self, *commands: Command) -> list[Answer]:
        """Sends all of them at once; their answers in this order. Raises Gone, Broken."""
        tags = []
        for command in commands:
            self.count += 1
            tag = b"%s%d" % (self.name.encode(), self.count)
            tags.append(tag)
            self._say(tag + b" " + command.text)
            self.writer.write(tag + b" " + command.text)
            if command.literal is not None:
                self.writer.write(b" {%d+}\r\n" % len(command.literal) + command.literal)
            self.writer.write(b"\r\n")
        self._running = list(commands)
        self.fetched = []
        answers, untagged = [], []
        try:
            for tag in tags:
                while True:
                    line, literals = await self._response()
                    if line.startswith(tag + b" "):
                        break
                    untagged.append(line)
                    self._untagged(line, literals)
                answers.append(_answer(line[len(tag) + 1 :], tuple(untagged)))
                untagged = []
                self._running.pop(0)
        finally:
            self._running = []
        return answers

    async def select(self, folder: str, read_only: bool = False) -> bool:
        """False: there is no such folder, and none is selected."""
        self.belief, self.folder = Belief(), folder
        verb = b"EXAMINE" if read_only else b"SELECT"
        if (await self.ask(b'%b "%b"' % (verb, folder.encode()))).status == "OK":
            return True
        self.left()
        return False

    def left(self) -> None:
        """No folder is selected any more."""
        self.belief, self.folder = None, ""

    async def idle(self, enough: Callable[[], bool], seconds: float) -> None:
        """Waits in IDLE until it was told enough, or for so long (RFC 2177)."""
        tag = b"%sI" % self.name.encode()
        self._say(tag + b" IDLE")
        self.writer.write(tag + b" IDLE\r\n")
        timer = asyncio.get_running_loop().call_later(seconds, self.writer.write, b"DONE\r\n")
        if await self._listen(tag, enough):
            timer.cancel()
            self.writer.write(b"DONE\r\n")
            await self._listen(tag, lambda: False)

    async def _listen(self, tag: bytes, enough: Callable[[], bool]) -> bool:
        """True when enough was told, False when IDLE was left."""
        while True:
            line, literals = await self._response()
            if line.startswith(tag + b" "):
                return False
            if not line.startswith(b"+"):
                self._untagged(line, literals)
            if enough():
                return True

    # --- responses ---

    async def _response(self) -> tuple[bytes, list[bytes]]:
        """One response; literals are taken out and leave `{}`."""
        text, literals = b"", []
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), patient(30))
            except TimeoutError:
                raise Broken(f"{self.name}: no answer; last: {self.told()}") from None
            except (ConnectionError, ssl.SSLError) as error:
                raise Gone(str(error)) from error
            if not line.endswith(b"\r\n"):
                raise Gone("closed")
            size = _LITERAL.search(line)
            if size is None:
                break
            literals.append(await self.reader.readexactly(int(size[1])))
            text += line[: size.start()] + b"{}"
        text += line[:-2]
        self._say(text)
        if text.startswith(b"* BYE"):
            raise Gone(text.decode())
        return text, literals

    def _untagged(self, line: bytes, literals: Sequence[bytes]) -> None:
        if (numbered := _NUMBERED.match(line)) is not None:
            number, what = int(numbered[1]), numbered[2]
            if self.belief is None:
                raise Broken(f"{line!r} while no folder is selected")
            if what == b"EXISTS":
                self.belief.exists(number)
            elif what == b"EXPUNGE":
                if self._running and all(command.hides_expunge for command in self._running):
                    raise Broken(f"EXPUNGE while {self._running[0].text!r} is answered")
                self.belief.expunge(number)
            elif what == b"FETCH":
                self._fetch(number, parsed(numbered[3], literals)[0])
        elif (code := _CODE.match(line.removeprefix(b"* OK "))) is not None and self.belief is not None:
            if code[1] == b"UIDVALIDITY":
                self.belief.uid_validity = int(code[2])
            elif code[1] == b"UIDNEXT":
                self.belief.uid_next = int(code[2])
            elif code[1] == b"CLOSED":
                self._closed()

    def _closed(self) -> None:
        """RFC 7162 3.2.11: what follows is of the next mailbox, if one is being selected."""
        if self._running and self._running[0].text.startswith((b"SELECT", b"EXAMINE")):
            self.belief = Belief()
        else:
            self.left()

    def _fetch(self, number: int, values: list[Any]) -> None:
        items = dict(zip(values[::2], values[1::2], strict=True))
        assert self.belief is not None
        flags = [flag.decode() for flag in items[b"FLAGS"]] if b"FLAGS" in items else None
        uid = int(items[b"UID"]) if b"UID" in items else None
        modseq = int(items[b"MODSEQ"][0]) if b"MODSEQ" in items else None
        self.belief.fetch(number, uid, flags, modseq)
        self.fetched.append((number, items))

    # --- the story ---

    def _say(self, line: bytes) -> None:
        self.transcript.append(line[:160].decode("utf-8", "replace"))

    def told(self) -> str:
        return "\n".join(self.transcript)


def _answer(rest: bytes, untagged: tuple[bytes, ...]) -> Answer:
    status, _, text = rest.partition(b" ")
    code = _CODE.match(text)
    return Answer(status.decode(), code[0][1:-1].decode() if code else "", text, untagged)
